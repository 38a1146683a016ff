// A write-ahead log as a disk or another program may have left it. Input: one byte that says where the
// stretch begins and in what parts it comes, then the log.
#include "engine/postgres/wal_fold.h"
#include "engine/postgres/wal_reader.h"
#include "fuzz.h"

using namespace varve;
using namespace varve::engine::postgres;

FUZZ_TARGET(input) {
  if (input.empty()) return;
  const auto how = std::to_integer<uint8_t>(input[0]);
  input = input.subspan(1);
  constexpr uint32_t kSegment = 1u << 20;
  const Lsn start = kSegment + (how & 3) * kWalPage + (how & 4 ? 1000 : 0);
  WalReader reader(
      {.lsn = start, .segment_size = kSegment, .at_record = (how & 8) != 0, .version = how & 16 ? 15 : 0});
  WalFold fold(8192);
  Lsn before = 0;
  const size_t part = how & 32 ? 100 : SIZE_MAX;
  while (!input.empty()) {
    const ByteView now = input.first(std::min(part, input.size()));
    input = input.subspan(now.size());
    FUZZ_CHECK(reader.feed(now, [&](const WalRecord& record) -> Result<> {
      FUZZ_CHECK(record.lsn > before || before == 0);
      FUZZ_CHECK(record.lsn % kRecordAlignment == 0 && record.end > record.lsn);
      FUZZ_CHECK(record.whole && record.length >= kRecordHeader + record.main_data.size());
      before = record.lsn;
      fold.apply(reader.version(), record);
      return {};
    }));
  }
  if (const auto next = reader.next_record(); next && before != 0) FUZZ_CHECK(*next > before);
  const WalPart got = std::move(fold).finish();
  FUZZ_CHECK(got.extras.empty() || got.extras.rbegin()->first < got.commits.size());
}
