// The content of a manifest.
#include "repo/manifest.h"

#include "fuzz.h"

using namespace varve;

FUZZ_TARGET(input) {
  auto m = repo::decode_manifest(input);
  if (!m) {
    FUZZ_CHECK(m.error().code == Code::kDamaged);
    return;
  }
  // What later code relies on.
  FUZZ_CHECK(repo::check_name(m->id) && repo::check_name(m->source));
  FUZZ_CHECK(m->segment_pages > 0);
  for (const auto& pack : m->packs) FUZZ_CHECK(m->find_pack(pack.id) == &pack);
  uint64_t files = 0;
  for (const auto& table : m->tables) {
    FUZZ_CHECK(m->find_pack(table.place.pack) != nullptr);
    files += table.files;
  }
  FUZZ_CHECK(files == m->files);
  FUZZ_CHECK(!to_rfc3339(m->moment).empty());
  const Buffer again = repo::encode(*m);
  auto back = repo::decode_manifest(again);
  FUZZ_CHECK(back && repo::encode(*back) == again);
}
