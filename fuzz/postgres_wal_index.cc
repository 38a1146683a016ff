// Indexes of pieces of the log: what decodes comes back from its own encoding, and joins with another or is
// refused. Input: the length of the first in two bytes, then both.
#include "engine/postgres/wal_join.h"
#include "fuzz.h"

using namespace varve;
using namespace varve::engine::postgres;

namespace {

std::optional<WalIndex> read(ByteView input) {
  auto index = decode_index(input);
  if (!index) {
    FUZZ_CHECK(index.error().code == Code::kDamaged);
    return std::nullopt;
  }
  const Buffer once = encode(*index);
  auto again = decode_index(once);
  FUZZ_CHECK(again && encode(*again) == once);
  return std::move(*again);
}

}  // namespace

FUZZ_TARGET(input) {
  if (input.size() < 2) return;
  const size_t length = std::min<size_t>(load_le<uint16_t>(input.data()), input.size() - 2);
  const auto first = read(input.subspan(2, length));
  auto second = read(input.subspan(2 + length));
  if (!first) return;
  for (const Lsn from : {Lsn{0}, first->identity.start}) {
    Lsn last = 0;
    WalJoiner joiner({.from = from, .commit = [&](const Commit& commit) {
                        FUZZ_CHECK(commit.lsn >= from);
                        last = commit.lsn;
                      }});
    FUZZ_CHECK(joiner.add(*first));
    if (second) {
      second->identity = first->identity;
      second->identity.start = first->end;
      std::ignore = joiner.add(*second);
    }
  }
}
