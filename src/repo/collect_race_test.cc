// Writers, collectors, an expiry and somebody who removes pins at will, their store calls interleaved at
// random, with long sleeps and sudden deaths. Whatever the order: a backup that was reported done has all its
// packs.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <map>
#include <thread>

#include "repo/stepped_store_for_test.h"
#include "repo/writer_for_test.h"

namespace varve::repo {
namespace {

struct World {
  TestRepository t{Encryption::kNone};
  std::mutex mutex;
  std::map<std::string, std::vector<PackId>> accepted;  // reported done, and not expired
  int conflicts = 0, deaths = 0;
  uint64_t removed = 0;
};

// Backups that build on the newest, some of which end in the middle.
void write_backups(World& world, const RepositoryPtr& repo, SteppedStore& through, const std::string& name,
                   Random random) {
  for (int i = 0; i < 8; ++i) {
    if (pick(random, 16) == 0) through.die_after(static_cast<int>(pick(random, 20)));
    const std::string id = fmt::format("{}-{}", i, name);
    auto outcome = [&]() -> Result<Manifest> {
      TRY_ASSIGN(TestWriter writer, TestWriter::begin(repo));
      TRY_ASSIGN(const ManifestList all, load_manifests(*repo, {}, "app"));
      std::vector<PackId> needed;
      if (!all.manifests.empty()) {
        for (const PackInfo& pack : all.manifests[pick(random, all.manifests.size())].packs)
          if (pick(random, 3) > 0) needed.push_back(pack.id);
      }
      TRY_ASSIGN(const PackId own, writer.write_pack());
      needed.push_back(own);
      return writer.commit(id, needed);
    }();
    std::lock_guard lock(world.mutex);
    if (outcome) {
      for (const PackInfo& pack : outcome->packs) world.accepted[id].push_back(pack.id);
    } else if (outcome.error().code == Code::kConflict) {
      ++world.conflicts;
    } else {
      EXPECT_EQ(outcome.error().code, Code::kInterrupted) << outcome.error().describe();
      ++world.deaths;
      return;
    }
  }
}

void run_collections(World& world, const RepositoryPtr& repo, Random random, Seconds keep_records) {
  for (int i = 0; i < 12; ++i) {
    CollectOptions options{.grace = Seconds(0), .keep_records = keep_records};
    options.now = pick(random, 4) == 0;
    auto report = collect(*repo, {}, options);
    std::lock_guard lock(world.mutex);
    if (report) {
      world.removed += report->packs_removed;
    } else {
      EXPECT_EQ(report.error().code, Code::kConflict) << report.error().describe();
    }
  }
}

void expire_backups(World& world, const RepositoryPtr& repo, Random random) {
  for (int i = 0; i < 40; ++i) {
    auto ids = list_backup_ids(*repo, {}, "app");
    if (!ids || ids->empty()) continue;
    const std::string id = (*ids)[pick(random, ids->size())];
    {
      std::lock_guard lock(world.mutex);
      if (world.accepted.erase(id) == 0) continue;  // its writer has not reported yet: not ours to judge
    }
    EXPECT_TRUE(store::remove_one(repo->store(), {}, manifest_key("app", id)));
  }
}

// Takes writers for dead, rightly or not.
void remove_pins(const RepositoryPtr& repo, Random random) {
  for (int i = 0; i < 40; ++i) {
    auto pins = list_pins(*repo, {});
    if (!pins || pins->empty()) continue;
    const PinInfo& pin = (*pins)[pick(random, pins->size())];
    if (pin.what == "backup") {
      EXPECT_TRUE(store::remove_one(repo->store(), {}, pin_key(pin.writer)));
    }
  }
}

void expect_whole(World& world, uint32_t seed) {
  for (const auto& [id, packs] : world.accepted) {
    EXPECT_TRUE(load_manifest(*world.t.repo, {}, "app", id)) << "seed " << seed << ": " << id;
    for (const PackId& pack : packs)
      EXPECT_TRUE(pack_is_there(*world.t.mem, pack))
          << "seed " << seed << ": " << id << " lacks " << pack.hex();
  }
}

// Either the records of collections go at once, or somebody takes writers for dead. Both together open the
// one gap that docs/format/commit.md tells of (at the end of "Records"): there it takes a sleep of 30 days,
// here a few steps would do.
void simulate(World& world, uint32_t seed) {
  const bool forgetful = seed % 2 == 0;
  constexpr size_t kWriters = 3, kCollectors = 2, kActors = kWriters + kCollectors + 2;
  Scheduler scheduler(kActors, seed);
  std::vector<std::shared_ptr<SteppedStore>> stores;
  std::vector<RepositoryPtr> repos;
  for (size_t i = 0; i < kActors; ++i) {
    scheduler.sleeps(i, i < kWriters ? 8 : i < kWriters + kCollectors ? 150 : 20);
    stores.push_back(std::make_shared<SteppedStore>(world.t.mem, scheduler, i));
    repos.push_back(nullptr);
  }
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < kActors; ++i) {
    threads.emplace_back([&, i] {
      const Random random(seed * 31 + static_cast<uint32_t>(i));
      auto repo = world.t.open(stores[i]);
      EXPECT_TRUE(repo);
      if (i < kWriters) {
        write_backups(world, *repo, *stores[i], fmt::format("w{}", i), random);
      } else if (i < kWriters + kCollectors) {
        run_collections(world, *repo, random, forgetful ? Seconds(0) : std::chrono::hours(24 * 30));
      } else if (i == kWriters + kCollectors) {
        expire_backups(world, *repo, random);
      } else if (!forgetful) {
        remove_pins(*repo, random);
      }
      scheduler.finished(i);
    });
  }
  scheduler.run();
}

TEST(CollectRace, AnAcceptedBackupIsWholeWhateverTheOrder) {
  size_t accepted = 0;
  int conflicts = 0, deaths = 0;
  uint64_t removed = 0;
  for (uint32_t seed = 1; seed <= 60 && !testing::Test::HasFailure(); ++seed) {
    World world;
    simulate(world, seed);
    expect_whole(world, seed);
    for (const store::Key& pin : world.t.names("pins/"))
      ASSERT_TRUE(store::remove_one(*world.t.mem, {}, pin));
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(collect(*world.t.repo, {}, {.grace = Seconds(0)}));
    expect_whole(world, seed);
    accepted += world.accepted.size();
    conflicts += world.conflicts;
    deaths += world.deaths;
    removed += world.removed;
  }
  // What makes the test worth running has happened.
  EXPECT_GT(accepted, 100u);
  EXPECT_GT(conflicts, 20);
  EXPECT_GT(deaths, 5);
  EXPECT_GT(removed, 50u);
}

// A writer sleeps before each call of its commit in turn, while its parent expires and a whole collection, or
// two, runs: its pin stands, or somebody took it for dead.
TEST(CollectRace, AWriterSleepsBeforeEachOfItsCalls) {
  class Hooked : public store::Forward {
   public:
    using Forward::Forward;
    int calls = 0, at = 0;
    std::function<void()> what;
    void hook() {
      if (++calls == at) what();
    }
    Result<> put(const Context& c, const store::Key& k, store::Body b, const store::PutOptions& o) override {
      hook();
      return Forward::put(c, k, b, o);
    }
    Result<uint64_t> get(const Context& c, const store::Key& k, store::Range r,
                         const store::Sink& s) override {
      hook();
      return Forward::get(c, k, r, s);
    }
    Result<store::ObjectInfo> head(const Context& c, const store::Key& k) override {
      hook();
      return Forward::head(c, k);
    }
    Result<store::ListPage> list(const Context& c, const std::string& p, const std::string& t,
                                 size_t m) override {
      hook();
      return Forward::list(c, p, t, m);
    }
  };
  int failed = 0, succeeded = 0;
  for (bool pin_stands : {true, false}) {
    for (int at = 1;; ++at) {
      TestRepository t(Encryption::kNone);
      auto parent = TestWriter::begin(t.repo);
      const PackId old = *parent->write_pack();
      ASSERT_TRUE(parent->commit("parent", {old}));
      auto hooked = std::make_shared<Hooked>(t.mem);
      auto repo = t.open(hooked);
      auto writer = TestWriter::begin(*repo);
      auto read = load_manifest(**repo, {}, "app", "parent");
      ASSERT_TRUE(read);
      hooked->calls = 0;
      hooked->at = at;
      hooked->what = [&] {
        ASSERT_TRUE(store::remove_one(*t.mem, {}, manifest_key("app", "parent")));
        if (!pin_stands) {
          ASSERT_TRUE(store::remove_one(*t.mem, {}, pin_key(writer->pin.writer())));
        }
        for (int i = 0; i < 3; ++i) ASSERT_TRUE(collect(*t.repo, {}, {.grace = Seconds(0)}));
      };
      auto own = writer->write_pack();
      ASSERT_TRUE(own);
      auto done = writer->commit("child", {old, *own});
      const bool slept = hooked->calls >= at;
      for (int i = 0; i < 3; ++i) ASSERT_TRUE(collect(*t.repo, {}, {.grace = Seconds(0)}));
      if (done) {
        ++succeeded;
        EXPECT_TRUE(pack_is_there(*t.mem, old)) << "before call " << at;
        EXPECT_TRUE(pack_is_there(*t.mem, *own)) << "before call " << at;
      } else {
        ++failed;
        EXPECT_EQ(done.error().code, Code::kConflict) << done.error().describe();
        EXPECT_FALSE(*store::exists(*t.mem, {}, manifest_key("app", "child"))) << "before call " << at;
      }
      if (!slept) break;
    }
  }
  EXPECT_GT(failed, 5);
  EXPECT_GT(succeeded, 2);
}

}  // namespace
}  // namespace varve::repo
