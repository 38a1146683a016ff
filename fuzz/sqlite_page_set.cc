// Page sets: what decodes has its pages and commits in order, and comes back from its own encoding.
#include "engine/sqlite/page_set.h"
#include "fuzz.h"

using namespace varve;

FUZZ_TARGET(input) {
  auto set = engine::sqlite::decode(input);
  if (!set) {
    FUZZ_CHECK(set.error().code == Code::kDamaged);
    return;
  }
  for (const auto& commit : set->commits) {
    FUZZ_CHECK(commit.database < set->databases.size());
    uint32_t page = 0;
    for (const auto& write : commit.writes) {
      FUZZ_CHECK(write.page > page && write.page <= commit.pages_after);
      page = write.page;
    }
  }
  const Buffer once = engine::sqlite::encode(*set);
  auto again = engine::sqlite::decode(once);
  FUZZ_CHECK(again && engine::sqlite::encode(*again) == once);
}
