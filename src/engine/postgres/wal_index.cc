#include "engine/postgres/wal_index.h"

#include <algorithm>

#include "crypto/crypto.h"

namespace varve::engine::postgres {
namespace {

Fragment fragment(ByteView kept, uint64_t size) {
  return {.bytes = to_buffer(kept.first(std::min(kept.size(), Fragment::kMaxKept))), .size = size};
}

}  // namespace

struct WalIndexBuilder::State {
  explicit State(const PieceIdentity& i)
      : identity(i),
        reader({.lsn = i.start,
                .segment_size = i.segment_size,
                .system = i.system,
                .timeline = i.timeline,
                .version = i.version}),
        fold(i.block_size),
        end(i.start) {}

  PieceIdentity identity;
  WalReader reader;
  WalFold fold;
  crypto::Hasher hasher;
  Lsn end;
  Lsn first_previous = 0;
};

WalIndexBuilder::WalIndexBuilder(const PieceIdentity& identity) : state_(std::make_unique<State>(identity)) {}
WalIndexBuilder::~WalIndexBuilder() = default;

void WalIndexBuilder::feed(ByteView bytes) {
  State& s = *state_;
  s.hasher.update(bytes);
  s.end += bytes.size();
  // Our visitor never fails.
  std::ignore = s.reader.feed(bytes, [&s](const WalRecord& record) -> Result<> {
    if (s.first_previous == 0) s.first_previous = record.previous;
    s.fold.apply(s.reader.version(), record);
    return {};
  });
}

WalIndex WalIndexBuilder::finish() && {
  State& s = *state_;
  WalIndex out;
  out.identity = s.identity;
  out.end = s.end;
  out.identity.version = s.reader.version();
  out.digest = s.hasher.finish();
  out.head = fragment(s.reader.head(), s.reader.head_size());
  out.head_dropped = s.reader.head_dropped();
  out.began_with_zeros = s.reader.began_with_zeros();
  out.stop = s.reader.stop();
  out.first_record = s.reader.first_record();
  // The head may end just where the piece does, so that the next record is known but not here.
  if (!out.first_record && !out.stop) out.first_record = s.reader.next_record();
  if (out.first_record) {
    out.first_previous = s.first_previous;
    out.last_record = s.reader.last_record();
    out.next_record = *s.reader.next_record();
    out.tail = fragment(s.reader.pending(), s.reader.pending_size());
  }
  out.part = std::move(s.fold).finish();
  return out;
}

WalIndex build_index(const PieceIdentity& identity, ByteView bytes) {
  WalIndexBuilder builder(identity);
  builder.feed(bytes);
  return std::move(builder).finish();
}

}  // namespace varve::engine::postgres
