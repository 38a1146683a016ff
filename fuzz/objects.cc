// Small objects of a repository: as bytes in the store (without encryption, so that whole ones are found),
// and what every kind makes of any content.
#include "fuzz.h"
#include "repo/collect.h"
#include "repo/events.h"
#include "repo/hold.h"
#include "repo/lease.h"
#include "store/open.h"

using namespace varve;

namespace {

repo::RepositoryPtr make_repository() {
  auto store = store::open_store({}, "mem://fuzz-objects", {.create = true});
  auto repository = repo::Repository::create({}, *store, {}, {repo::Encryption::kNone});
  FUZZ_CHECK(repository);
  return *repository;
}

void read_everything(const repo::Repository& repository) {
  const repo::Repository& r = repository;
  (void)repo::list_pins(r, {});
  (void)repo::list_plans(r, {});
  (void)repo::current_lease(r, {}, "s");
  (void)repo::list_holds(r, {}, "s");
  (void)repo::list_events(r, {}, Timestamp(std::chrono::days(20000)));
  (void)repo::load_manifests(r, {}, "s");
}

}  // namespace

FUZZ_TARGET(input) {
  static const repo::RepositoryPtr repository = make_repository();
  auto opened = repository->open_object("pin", "pins/a", input);
  FUZZ_CHECK(opened || opened.error().code == Code::kDamaged);

  const std::pair<const char*, store::Key> kinds[] = {
      {"pin", "pins/000000000000000000000000"}, {"collection plan", "gc/p/plan"},
      {"collection done", "gc/p/done"},         {"collection closed", "gc/p/closed"},
      {"lease", "leases/s/0000000000000001"},   {"hold", "sources/s/holds/b"},
      {"event", "events/2024-10-05/x"},         {"manifest", "sources/s/backups/b"}};
  for (const auto& [kind, key] : kinds) FUZZ_CHECK(repository->put_object({}, kind, key, input));
  read_everything(*repository);
  for (const auto& [kind, key] : kinds) FUZZ_CHECK(store::remove_one(repository->store(), {}, key));
}
