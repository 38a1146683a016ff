// A writer as tests of the commit and of collection need one: packs with any content, and manifests over
// them.
#pragma once

#include "repo/collect.h"
#include "repo/repository_for_test.h"

namespace varve::repo {

inline bool pack_is_there(store::Store& store, const PackId& id) {
  return *store::exists(store, {}, pack_key(id));
}

inline Manifest manifest_over(const std::string& source, const std::string& id, std::vector<PackId> packs) {
  Manifest m;
  m.id = m.base = id;
  m.source = source;
  m.engine = "test";
  m.type = "full";
  m.segment_pages = 1;
  std::sort(packs.begin(), packs.end());
  for (const PackId& pack : packs) m.packs.push_back({pack, 4, {}});
  return m;
}

struct TestWriter {
  RepositoryPtr repo;
  Pin pin;
  uint32_t packs = 0;

  static Result<TestWriter> begin(RepositoryPtr repo, const std::string& source = "app") {
    TRY_ASSIGN(Pin pin, Pin::take(repo, {}, source, "backup"));
    return TestWriter{std::move(repo), std::move(pin)};
  }
  Result<PackId> write_pack() {
    const PackId id = pack_id(pin.writer(), packs++);
    TRY_OK(store::put_bytes(repo->store(), {}, pack_key(id), as_bytes("data")));
    return id;
  }
  Result<Manifest> commit(const std::string& id, std::vector<PackId> needed, const Context& ctx = {}) {
    Manifest m = manifest_over("app", id, std::move(needed));
    TRY_OK(commit_manifest(*repo, ctx, pin, m));
    TRY_OK(pin.release({}));
    return m;
  }
};

}  // namespace varve::repo
