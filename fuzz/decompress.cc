// Decompression of anything into a buffer of any size, and the way there and back.
#include "codec/codec.h"
#include "fuzz.h"

using namespace varve;

FUZZ_TARGET(input) {
  if (input.size() < 3) return;
  static codec::Decompressor decompressor;
  static codec::Compressor zstd({codec::Kind::kZstd, 1}), lz4({codec::Kind::kLz4, 1});
  const auto kind = static_cast<codec::Kind>(std::to_integer<uint8_t>(input[0]));
  const ByteView rest = input.subspan(3);
  Buffer out(load_le<uint16_t>(input.data() + 1));
  if (auto result = decompressor.decompress(kind, rest, out); !result)
    FUZZ_CHECK(result.error().code == Code::kDamaged);
  for (codec::Compressor* compressor : {&zstd, &lz4}) {
    Buffer stored, back(rest.size());
    auto how = compressor->compress(rest, stored);
    FUZZ_CHECK(how && stored.size() <= rest.size());
    FUZZ_CHECK(decompressor.decompress(*how, stored, back));
    FUZZ_CHECK(back == to_buffer(rest));
  }
}
