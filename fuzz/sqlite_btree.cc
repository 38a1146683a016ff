// The pages of a SQLite database before and after a commit, as a damaged disk or a hostile file would have
// them. Input: how many pages of 512 bytes the first state has, then both states.
#include <unordered_set>

#include "engine/sqlite/btree.h"
#include "engine/sqlite/schema_text.h"
#include "fuzz.h"

using namespace varve;
using namespace varve::engine::sqlite;

namespace {

constexpr uint32_t kPageSize = 512;
constexpr size_t kMaxPages = 200;

struct State {
  Buffer bytes;
  mutable uint64_t reads = 0;

  explicit State(ByteView from) : bytes(to_buffer(from.first(from.size() / kPageSize * kPageSize))) {
    if (bytes.empty()) return;
    // A header that passes, so that what is behind it is reached.
    std::memcpy(bytes.data(), "SQLite format 3\0\x02\x00", 18);
    bytes[20] = std::byte{0};
    std::memcpy(&bytes[21], "\x40\x20\x20", 3);
  }
  uint64_t pages() const { return bytes.size() / kPageSize; }
  ByteView page(uint32_t number) const {
    return ByteView(bytes).subspan((number - 1) * size_t{kPageSize}, kPageSize);
  }
  PageSource source() const {
    return [this](uint32_t number) -> Result<ByteView> {
      ++reads;
      if (number == 0 || number > pages()) return fail(Code::kDamaged, "no such page");
      return page(number);
    };
  }
};

}  // namespace

FUZZ_TARGET(input) {
  (void)parse_header(input);
  (void)find_created_name(as_text(input));
  if (input.size() < 1 + 2 * kPageSize || input.size() > kMaxPages * kPageSize) return;
  const size_t first_size = std::min<size_t>(std::to_integer<size_t>(input[0]) * kPageSize, input.size() - 1);
  const State before(input.subspan(1, first_size)), after(input.subspan(1 + first_size));
  std::vector<uint32_t> written;
  for (uint32_t p = 1; p <= after.pages(); ++p) {
    const bool same =
        p <= before.pages() && std::memcmp(before.page(p).data(), after.page(p).data(), kPageSize) == 0;
    if (!same) written.push_back(p);
  }
  auto tracker = TableTracker::build(before.source(), before.pages(), kPageSize);
  FUZZ_CHECK(tracker);
  static const std::unordered_set<std::string> kKinds{"insert",     "update",      "delete", "create_table",
                                                      "drop_table", "alter_table", "vacuum", "commit"};
  const auto apply = [&](const State& from, const State& to) {
    for (const auto& change : tracker->apply(written, to.pages(), from.source(), to.source())) {
      FUZZ_CHECK(kKinds.contains(change.kind));
    }
  };
  apply(before, after);
  apply(after, after);
  // The work is bounded by the pages there are, whatever they claim.
  FUZZ_CHECK(before.reads + after.reads < 300'000);
}
