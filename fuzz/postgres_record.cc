// One record of the write-ahead log whose checksum is right. Input: a byte for the version, then the record
// behind its length.
#include "engine/postgres/wal_fold.h"
#include "fuzz.h"

using namespace varve;
using namespace varve::engine::postgres;

FUZZ_TARGET(input) {
  if (input.size() < 1 + kRecordHeader) return;
  const int version = 13 + std::to_integer<uint8_t>(input[0]) % 6;
  Buffer bytes = to_buffer(input.subspan(1));
  const bool prefix = (std::to_integer<uint8_t>(input[0]) & 0x80) != 0;
  store_le<uint32_t>(bytes.data(), static_cast<uint32_t>(bytes.size() + (prefix ? 100000 : 0)));
  WalRecord record;
  if (!decode_record(version, bytes, record)) return;
  record.lsn = 0x1000028;
  FUZZ_CHECK(record.whole == !prefix);
  size_t contents = record.main_data.size();
  for (const BlockRef& block : record.blocks()) contents += block.data.size() + block.image.size();
  FUZZ_CHECK(contents <= bytes.size());
  WalFold fold(8192);
  fold.apply(version, record);
  const WalPart part = std::move(fold).finish();
  for (const BlockRef& block : record.blocks())
    if (block.fork != Fork::kFreeSpace)
      FUZZ_CHECK(part.changes.changed({block.file, block.fork}, block.block));
}
