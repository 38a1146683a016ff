// Writers, an expiry and a collector at the original; a copier that now and then dies; collectors, an expiry
// and somebody who takes the copier for ended at the copy: their store calls interleaved at random. Whatever
// the order: every backup that is at the copy has all its packs there.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <thread>

#include "backup/copy.h"
#include "repo/collect.h"
#include "repo/copy_pin.h"
#include "repo/pack.h"
#include "repo/repository_for_test.h"
#include "repo/stepped_store_for_test.h"

namespace varve::backup {
namespace {

using repo::pick;
using repo::Random;
using repo::RepositoryPtr;

struct World {
  bool keyed = true;
  repo::TestRepository t{repo::Encryption::kNone};
  std::shared_ptr<store::MemStore> copy = std::make_shared<store::MemStore>("copy");
  std::mutex mutex;
  std::set<std::string> accepted;
  std::set<std::string> dead;  // pins at the copy of copiers that died
  uint64_t copied = 0, removed = 0, deaths = 0, refused = 0;
};

// A pack as small as can be.
Result<repo::PackInfo> write_pack(const repo::Repository& r, const repo::PackId& id) {
  repo::PackSealer sealer(r, id);
  codec::Compressor compressor({});
  codec::Decompressor decompressor;
  const Buffer plain = to_buffer(as_bytes(id.hex()));
  TRY_ASSIGN(auto frame,
             repo::encode_frame(sealer, compressor, decompressor, 0, repo::FrameKind::kFileTable, plain));
  repo::PackAssembler pack;
  pack.add(repo::FrameKind::kFileTable, static_cast<uint32_t>(plain.size()),
           {static_cast<uint32_t>(plain.size())}, {}, std::move(frame));
  TRY_ASSIGN(const repo::PackInfo info, pack.finish(r, id, repo::pack_key(id)));
  TRY_OK(r.store().put({}, repo::pack_key(id), pack.parts(), {}));
  return info;
}

Result<> write_backup(const RepositoryPtr& r, const std::string& id, Random& random) {
  TRY_ASSIGN(repo::Pin pin, repo::Pin::take(r, {}, "app", "backup"));
  TRY_ASSIGN(const repo::ManifestList all, repo::load_manifests(*r, {}, "app"));
  repo::Manifest m;
  m.id = m.base = id;
  m.source = "app";
  m.engine = "test";
  m.type = "full";
  m.segment_pages = 1;
  if (!all.manifests.empty()) {
    for (const repo::PackInfo& pack : all.manifests[pick(random, all.manifests.size())].packs)
      if (pick(random, 3) > 0) m.packs.push_back(pack);
  }
  TRY_ASSIGN(const repo::PackInfo own, write_pack(*r, repo::pack_id(pin.writer(), 0)));
  m.packs.push_back(own);
  std::sort(m.packs.begin(), m.packs.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  auto done = repo::commit_manifest(*r, {}, pin, m);
  TRY_OK(pin.release({}));
  return done.map([](auto) {});
}

void write_backups(World& world, const RepositoryPtr& r, const std::string& name, Random random) {
  for (int i = 0; i < 8; ++i) {
    const std::string id = fmt::format("{}-{}", i, name);
    if (write_backup(r, id, random)) {
      std::lock_guard lock(world.mutex);
      world.accepted.insert(id);
    }
  }
}

void collect_often(World& world, const RepositoryPtr& r, Random random, int times) {
  for (int i = 0; i < times; ++i) {
    repo::CollectOptions options{.grace = Seconds(0), .keep_records = Seconds(0)};
    options.now = pick(random, 4) == 0;
    auto report = repo::collect(*r, {}, options);
    std::lock_guard lock(world.mutex);
    if (report) {
      world.removed += report->packs_removed;
    } else {
      EXPECT_EQ(report.error().code, Code::kConflict) << report.error().describe();
    }
  }
}

void expire_often(const RepositoryPtr& r, Random random, int times) {
  for (int i = 0; i < times; ++i) {
    auto ids = repo::list_backup_ids(*r, {}, "app");
    if (!ids || ids->empty()) continue;
    EXPECT_TRUE(
        store::remove_one(r->store(), {}, repo::manifest_key("app", (*ids)[pick(random, ids->size())])));
  }
}

void copy_often(World& world, const store::StorePtr& a, const std::shared_ptr<repo::SteppedStore>& b,
                Random random, bool may_die) {
  for (int i = 0; i < 24; ++i) {
    const bool dies = may_die && pick(random, 3) == 0;
    if (dies) b->die_after(static_cast<int>(pick(random, 40)));
    CopyOptions options;
    options.workers = 1;
    options.patience = std::chrono::seconds(0);
    if (world.keyed) options.opened = world.t.repo->copy_in(a);
    Progress progress;
    auto done = copy({}, a, b, options, progress);
    b->die_after(-1);
    std::lock_guard lock(world.mutex);
    if (done) {
      world.copied += done->backups;
      EXPECT_TRUE(done->problems.empty()) << done->problems.front().message;
    } else if (done.error().code == Code::kConflict) {
      ++world.refused;
    } else {
      EXPECT_EQ(done.error().code, Code::kInterrupted) << done.error().describe();
      ++world.deaths;
    }
    for (const auto& [key, object] : world.copy->snapshot())
      if (key.starts_with(repo::kCopyPrefix)) world.dead.insert(key);
  }
}

// As a collection does at its beginning with those known dead; a thief does it to the living, too.
void remove_copy_pins(World& world, store::Store& at_copy, bool thief) {
  for (int i = 0; i < 60; ++i) {
    auto page = at_copy.list({}, std::string(repo::kCopyPrefix), "", 1);
    if (!page || page->objects.empty()) continue;
    const std::string key = page->objects.front().key;
    {
      std::lock_guard lock(world.mutex);
      if (!thief && !world.dead.contains(key)) continue;
    }
    EXPECT_TRUE(store::remove_one(at_copy, {}, key));
  }
}

void expect_whole(World& world, uint32_t seed) {
  const RepositoryPtr copy = world.t.repo->copy_in(world.copy);
  auto list = repo::load_manifests(*copy, {}, "app");
  ASSERT_TRUE(list);
  EXPECT_TRUE(list->unreadable.empty());
  for (const repo::Manifest& m : list->manifests) {
    // Without the key one that its writer withdrew in the end may be a shell of itself.
    if (!world.keyed && !world.accepted.contains(m.id)) continue;
    for (const repo::PackInfo& pack : m.packs)
      EXPECT_TRUE(*store::exists(*world.copy, {}, repo::pack_key(pack.id)))
          << "seed " << seed << ": " << m.id << " lacks " << pack.id.hex() << " at the copy";
  }
}

// Nobody collects where there is no repository yet: the first copy was made before.
void make_first_copy(World& world) {
  Progress progress;
  const auto made = copy({}, world.t.mem, world.copy, {}, progress);
  ASSERT_TRUE(made && made->created);
}

void simulate(World& world, uint32_t seed) {
  enum : size_t {
    kWriter,
    kOther,
    kCollector,
    kExpiry,
    kCopier,
    kCollector2,
    kCollector3,
    kExpiry2,
    kPins,
    kActors
  };
  repo::Scheduler scheduler(kActors, seed);
  const bool thief = seed % 2 == 0;
  std::vector<std::shared_ptr<repo::SteppedStore>> a, b;
  for (size_t i = 0; i < kActors; ++i) {
    scheduler.sleeps(i, i == kCopier || i == kCollector2 || i == kCollector3 ? 120 : 20);
    a.push_back(std::make_shared<repo::SteppedStore>(world.t.mem, scheduler, i));
    b.push_back(std::make_shared<repo::SteppedStore>(world.copy, scheduler, i));
  }
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < kActors; ++i) {
    threads.emplace_back([&, i] {
      const Random random(seed * 31 + static_cast<uint32_t>(i));
      const RepositoryPtr original = world.t.repo->copy_in(a[i]), copy = world.t.repo->copy_in(b[i]);
      switch (i) {
        case kWriter:
        case kOther:
          write_backups(world, original, fmt::format("w{}", i), random);
          break;
        case kCollector:
          collect_often(world, original, random, 8);
          break;
        case kExpiry:
          expire_often(original, random, 10);
          break;
        case kCopier:
          copy_often(world, a[i], b[i], random, !thief);
          break;
        case kCollector2:
        case kCollector3:
          collect_often(world, copy, random, 16);
          break;
        case kExpiry2:
          expire_often(copy, random, 16);
          break;
        default:
          remove_copy_pins(world, *b[i], thief);
      }
      scheduler.finished(i);
    });
  }
  scheduler.run();
}

TEST(CopyRace, WhatIsAtTheCopyIsWholeWhateverTheOrder) {
  uint64_t copied = 0, removed = 0, deaths = 0, refused = 0;
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    World world;
    world.keyed = seed % 3 != 0;
    make_first_copy(world);
    simulate(world, seed);
    expect_whole(world, seed);
    copied += world.copied;
    removed += world.removed;
    deaths += world.deaths;
    refused += world.refused;
    if (HasFailure()) return;
  }
  // It was a race worth the name.
  EXPECT_GT(copied, 100u);
  EXPECT_GT(removed, 100u);
  EXPECT_GT(deaths, 20u);
  EXPECT_GT(refused, 5u);
}

}  // namespace
}  // namespace varve::backup
