#include "repo/collect.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "repo/collect_for_test.h"
#include "repo/collection_plan.h"
#include "repo/format.pb.h"
#include "repo/lease.h"
#include "repo/wire.h"
#include "store/wrap/fault.h"

namespace varve::repo {
namespace {

using std::chrono::hours;
using testing::HasSubstr;

TEST_F(CollectTest, CondemnsThenRemovesWhatNobodyNeeds) {
  const PackId kept = backup("b1"), gone = backup("b2"), lost = orphan();
  EXPECT_EQ(run().packs_condemned, 1u);
  expire("b2");
  CollectReport second = run();  // the first plan is due, and b2's pack is condemned
  EXPECT_EQ(second.packs_removed, 1u);
  EXPECT_EQ(second.bytes_removed, 4u);
  EXPECT_EQ(second.packs_condemned, 1u);
  EXPECT_EQ(second.packs_live, 1u);
  EXPECT_FALSE(there(lost));
  EXPECT_TRUE(there(gone));
  EXPECT_EQ(run().packs_removed, 1u);
  EXPECT_FALSE(there(gone));
  EXPECT_TRUE(there(kept));
  const CollectReport idle = run();
  EXPECT_EQ(idle.packs_condemned + idle.packs_removed, 0u);
  EXPECT_FALSE(idle.next_due);
  EXPECT_TRUE(t.names("pins/").empty()) << "its own pin is gone";
}

// A store where puts have left something.
class Cluttered : public store::Forward {
 public:
  using Forward::Forward;
  Result<uint64_t> remove_unfinished(const Context&, Seconds age) override {
    asked.push_back(age);
    if (failure) return fail(Error(*failure));
    return 3;
  }
  std::vector<Seconds> asked;
  std::optional<Error> failure;
};

TEST_F(CollectTest, CleansAwayWhatUnfinishedPutsLeft) {
  const auto cluttered = std::make_shared<Cluttered>(t.mem);
  const RepositoryPtr repo = *t.open(cluttered);
  EXPECT_EQ(collect(*repo, {}, {.dry_run = true})->unfinished_removed, 0u);
  EXPECT_TRUE(cluttered->asked.empty());
  EXPECT_EQ(collect(*repo, {}, {})->unfinished_removed, 3u);
  EXPECT_EQ(collect(*repo, {}, {.unfinished = Seconds(5)})->unfinished_removed, 3u);
  EXPECT_EQ(cluttered->asked, (std::vector<Seconds>{hours(24), Seconds(5)}));
  // It may not be allowed to: that is told, and the rest is done.
  cluttered->failure = Error{Code::kDenied, "no right to list uploads"};
  const PackId lost = orphan();
  auto r = collect(*repo, {}, {.now = true});
  ASSERT_TRUE(r) << r.error().describe();
  EXPECT_FALSE(there(lost));
  ASSERT_EQ(r->problems.size(), 1u);
  EXPECT_THAT(r->problems[0], HasSubstr("no right to list uploads"));
  cluttered->failure = Error{Code::kUnsupported, "a store that has no such thing"};
  EXPECT_TRUE(collect(*repo, {}, {})->problems.empty());
}

TEST(CollectOnDisk, RemovesWhatNobodyNeedsAndTheRestStays) {
  auto dir = os::TempDir::create();
  ASSERT_TRUE(dir);
  const std::string key = generate_key_file();
  auto local = store::LocalStore::open(dir->path() / "r", true);
  ASSERT_TRUE(local);
  auto repo = Repository::create({}, *local, file_key(key), {});
  ASSERT_TRUE(repo) << repo.error().describe();
  auto w = TestWriter::begin(*repo);
  ASSERT_TRUE(w);
  std::vector<PackId> packs;
  for (int i = 0; i < 50; ++i) packs.push_back(*w->write_pack());
  const std::vector<PackId> kept(packs.begin(), packs.begin() + 20);
  ASSERT_TRUE(w->commit("b1", kept));
  ASSERT_TRUE(collect(**repo, {}, kAtOnce));
  auto again = Repository::open({}, *store::LocalStore::open(dir->path() / "r", false), file_key(key));
  ASSERT_TRUE(again);
  auto r = collect(**again, {}, kAtOnce);
  ASSERT_TRUE(r) << r.error().describe();
  EXPECT_EQ(r->packs_removed, 30u);
  for (const PackId& id : packs)
    EXPECT_EQ(pack_is_there(**local, id), std::find(kept.begin(), kept.end(), id) != kept.end());
  EXPECT_TRUE(load_manifest(**again, {}, "app", "b1"));
}

TEST_F(CollectTest, WaitsForTheGrace) {
  const PackId lost = orphan();
  const CollectReport first = run({.grace = hours(72)});
  EXPECT_EQ(first.packs_condemned, 1u);
  EXPECT_EQ(first.bytes_condemned, 4u);
  ASSERT_TRUE(first.next_due);
  EXPECT_GT(*first.next_due, now() + hours(71));
  const CollectReport again = run({.grace = hours(72)});
  EXPECT_EQ(again.packs_removed + again.packs_condemned, 0u) << "condemned once";
  EXPECT_EQ(again.next_due, first.next_due);
  EXPECT_TRUE(there(lost));
}

TEST_F(CollectTest, SparesThePacksOfWorkUnderWay) {
  TestWriter w = writer();
  const PackId fresh = *w.write_pack();
  EXPECT_EQ(run().packs_spared_for_pins, 1u);
  EXPECT_TRUE(list_plans(*t.repo, {})->empty());
  EXPECT_TRUE(w.commit("b1", {fresh}));
}

TEST_F(CollectTest, APlanWaitsForWorkThatBeganBeforeIt) {
  const PackId lost = orphan();
  TestWriter w = writer();
  EXPECT_EQ(run().packs_condemned, 1u);
  EXPECT_EQ(run().plans_waiting_for_pins, 1u);
  EXPECT_TRUE(there(lost));
  ASSERT_TRUE(w.pin.release({}));
  TestWriter later = writer();
  EXPECT_EQ(run().packs_removed, 1u) << "work that began after it reads it";
}

TEST_F(CollectTest, AnOldPinIsToldAndHoldsNothingUp) {
  const WriterId old = foreign_pin(hours(24 * 8)), young = foreign_pin(hours(24 * 6));
  const PackId of_old = pack_id(old, 0), of_young = pack_id(young, 0);
  for (const PackId& id : {of_old, of_young})
    ASSERT_TRUE(store::put_bytes(*t.mem, {}, pack_key(id), as_bytes("data")));
  const CollectReport r = run();
  EXPECT_EQ(r.packs_spared_for_pins, 1u);
  EXPECT_EQ(r.packs_condemned, 1u);
  ASSERT_EQ(r.old_pins.size(), 1u);
  EXPECT_THAT(r.old_pins[0], HasSubstr(old.hex()));
  EXPECT_THAT(r.old_pins[0], HasSubstr("elsewhere"));
  EXPECT_TRUE(r.stale_pins_removed.empty()) << "nobody here knows whether it is dead";
  EXPECT_EQ(run().plans_waiting_for_pins, 1u) << "for the young one";
  ASSERT_TRUE(store::remove_one(*t.mem, {}, pin_key(young)));
  run();
  EXPECT_FALSE(there(of_old));
  EXPECT_TRUE(there(of_young));
}

TEST_F(CollectTest, ThePinOfADeadProcessGoes) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  const os::ProcessIdentity self = os::self_identity();
  const WriterId writer = foreign_pin(hours(1));
  format::Pin pin;
  pin.set_writer(writer.hex());
  pin.set_host(self.host);
  pin.set_boot(self.boot);
  pin.set_pid(child);
  pin.set_process_started(1);
  t.overwrite(pin_key(writer), *t.repo->seal_object("pin", pin_key(writer), serialize(pin)));
  ASSERT_TRUE(store::put_bytes(*t.mem, {}, pack_key(pack_id(writer, 0)), as_bytes("data")));
  const auto before = t.names();
  EXPECT_EQ(run({.grace = Seconds(0), .dry_run = true}).stale_pins_removed.size(), 1u);
  EXPECT_EQ(t.names(), before);
  const CollectReport r = run();
  ASSERT_EQ(r.stale_pins_removed.size(), 1u);
  EXPECT_THAT(r.stale_pins_removed[0], HasSubstr(writer.hex()));
  EXPECT_TRUE(t.names("pins/").empty());
  EXPECT_EQ(r.packs_condemned, 1u);
}

TEST_F(CollectTest, DryRunChangesNothing) {
  const PackId lost = orphan();
  ASSERT_TRUE(store::put_bytes(*t.mem, {}, "probe/x", as_bytes("x")));
  auto before = t.names();
  EXPECT_EQ(run({.grace = Seconds(0), .dry_run = true}).packs_condemned, 1u);
  EXPECT_EQ(t.names(), before);
  const CollectReport all = run({.now = true, .dry_run = true});
  EXPECT_EQ(all.packs_removed, 1u);
  EXPECT_EQ(all.bytes_removed, 4u);
  EXPECT_EQ(all.objects_removed, 1u);
  EXPECT_EQ(t.names(), before);
  run();
  before = t.names();
  EXPECT_EQ(run({.grace = Seconds(0), .dry_run = true}).packs_removed, 1u);
  EXPECT_EQ(t.names(), before);
  EXPECT_TRUE(there(lost));
}

TEST_F(CollectTest, AnythingUnreadableStopsEverything) {
  const PackId lost = orphan();
  backup("b1");
  run();  // the plan for `lost` is due from now on
  const auto expect_stopped = [&](const store::Key& name) {
    const Buffer good = t.bytes(name);
    t.overwrite(name, as_bytes("rot"));
    for (const CollectOptions& options : {kAtOnce, CollectOptions{.now = true}}) {
      auto r = collect(*t.repo, {}, options);
      ASSERT_FALSE(r) << name;
      EXPECT_EQ(r.error().code, Code::kDamaged) << name << ": " << r.error().describe();
      EXPECT_THAT(r.error().describe(), HasSubstr(name));
    }
    EXPECT_TRUE(there(lost)) << name;
    t.overwrite(name, good);
  };
  expect_stopped(manifest_key("app", "b1"));
  expect_stopped(t.names("gc/").front());
  const store::Key pin = pin_key(foreign_pin(hours(1)));
  expect_stopped(pin);
  ASSERT_TRUE(store::remove_one(*t.mem, {}, pin));
  ASSERT_TRUE(store::put_bytes(*t.mem, {}, "sources/app/backups/b1.tmp/odd", as_bytes("what is this")));
  EXPECT_FALSE(collect(*t.repo, {}, kAtOnce));
  EXPECT_TRUE(there(lost));
  ASSERT_TRUE(store::remove_one(*t.mem, {}, "sources/app/backups/b1.tmp/odd"));
  run();
  EXPECT_FALSE(there(lost));
}

TEST_F(CollectTest, PardonsWhatCameBackIntoUse) {
  const PackId wanted = orphan(), lost = orphan();
  run();
  // As a writer that did not read the plan would leave it, had it been killed before it looked again.
  Manifest m = manifest_over("app", "b1", {wanted});
  m.writer = std::string(24, '0');
  ASSERT_TRUE(t.repo->put_object({}, "manifest", manifest_key("app", "b1"), encode(m)));
  const CollectReport r = run();
  EXPECT_EQ(r.packs_pardoned, 1u);
  EXPECT_EQ(r.packs_removed, 1u);
  EXPECT_TRUE(there(wanted));
  auto plans = list_plans(*t.repo, {});
  ASSERT_TRUE(plans);
  ASSERT_EQ(plans->size(), 1u);
  EXPECT_EQ(plans->front().removed_packs, std::vector<PackId>{lost});
  EXPECT_TRUE(read_condemned(*t.repo, {})->packs.contains(wanted))
      << "pardoned, and still not to be built on";
}

TEST_F(CollectTest, NowNeedsProofThatNobodyElseWrites) {
  const PackId lost = orphan();
  TestWriter w = writer();
  auto refused = collect(*t.repo, {}, {.now = true});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kConflict);
  EXPECT_THAT(refused.error().message, HasSubstr(w.pin.writer().hex()));
  EXPECT_TRUE(t.names("gc/").empty());
  ASSERT_TRUE(w.pin.release({}));
  auto lease = Lease::take(t.repo, {}, "app", "follow", hours(1));
  EXPECT_EQ(collect(*t.repo, {}, {.now = true}).error().code, Code::kConflict);
  ASSERT_TRUE(lease->release({}));
  EXPECT_TRUE(there(lost));
  const CollectReport r = run({.now = true});
  EXPECT_EQ(r.packs_condemned, 1u);
  EXPECT_EQ(r.packs_removed, 1u);
  EXPECT_FALSE(there(lost));
}

TEST_F(CollectTest, NowGivesWayToWorkThatBeginsMeanwhile) {
  const PackId lost = orphan();
  auto hooked = std::make_shared<store::FaultStore>(t.mem);
  auto repo = t.open(hooked);
  std::optional<TestWriter> w;
  hooked->set_policy([&](const store::StoreCall& call) {
    if (!w && call.kind == store::CallKind::kPut && call.key.starts_with("gc/")) w.emplace(writer());
    return store::Fault{};
  });
  auto r = collect(**repo, {}, {.grace = hours(72), .now = true});
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, Code::kConflict);
  EXPECT_TRUE(there(lost));
  EXPECT_EQ(list_plans(*t.repo, {})->size(), 1u) << "condemned all the same";
  ASSERT_TRUE(w->pin.release({}));
  EXPECT_EQ(run({.now = true}).packs_removed, 1u);
}

TEST_F(CollectTest, RemovesTheLeftoversOfAProbeAndNothingElseByName) {
  ASSERT_TRUE(store::put_bytes(*t.mem, {}, "probe/x", as_bytes("x")));
  run();
  EXPECT_EQ(run().objects_removed, 1u);
  EXPECT_TRUE(t.names("probe/").empty());
  CollectionPlan forged;
  forged.id = "20200101-000000-00000000";
  forged.objects = {"varve.json"};
  ASSERT_TRUE(put_plan(*t.repo, {}, forged));
  EXPECT_EQ(collect(*t.repo, {}, kAtOnce).error().code, Code::kDamaged);
  EXPECT_EQ(t.names("varve.json").size(), 1u);
}

TEST_F(CollectTest, PacksUnderRetentionAreTriedAgain) {
  const PackId locked = orphan(), lost = orphan();
  const Timestamp until = now() + hours(24);
  ASSERT_TRUE(t.mem->extend_retention({}, pack_key(locked), until));
  run();
  CollectReport r = run();
  EXPECT_EQ(r.packs_removed, 1u);
  EXPECT_EQ(r.packs_retained, 1u);
  EXPECT_FALSE(there(lost));
  EXPECT_FALSE(list_plans(*t.repo, {})->front().done);
  t.mem->set_clock([until] { return until + Seconds(1); });
  r = run();
  EXPECT_EQ(r.packs_removed, 1u);
  EXPECT_FALSE(there(locked));
  EXPECT_EQ(list_plans(*t.repo, {})->front().removed_packs.size(), 2u) << "also what an earlier run removed";
}

TEST_F(CollectTest, TellsOfPacksThatAreMissing) {
  const PackId pack = backup("b1");
  ASSERT_TRUE(store::remove_one(*t.mem, {}, pack_key(pack)));
  ASSERT_TRUE(store::put_bytes(*t.mem, {}, "packs/zz/what", as_bytes("x")));
  const CollectReport r = run();
  EXPECT_THAT(r.problems, testing::UnorderedElementsAre(HasSubstr(pack.hex()), HasSubstr("packs/zz/what")));
}

TEST_F(CollectTest, IsCutAtEveryCallAndBegunAgain) {
  for (uint64_t n = 1;; ++n) {
    for (bool reply_lost : {false, true}) {
      TestRepository fresh(Encryption::kNone);
      auto w = TestWriter::begin(fresh.repo);
      const PackId kept = *w->write_pack();
      ASSERT_TRUE(w->commit("b1", {kept}));
      auto v = TestWriter::begin(fresh.repo);
      const PackId lost = *v->write_pack();
      ASSERT_TRUE(v->pin.release({}));
      ASSERT_TRUE(collect(*fresh.repo, {}, kAtOnce));
      auto cut = std::make_shared<store::FaultStore>(fresh.mem);
      auto repo = fresh.open(cut);
      cut->set_policy(store::killed_at(n, reply_lost));
      if (collect(**repo, {}, kAtOnce)) {
        EXPECT_GT(n, 10u);
        return;
      }
      for (const store::Key& pin : fresh.names("pins/")) ASSERT_TRUE(store::remove_one(*fresh.mem, {}, pin));
      auto again = collect(*fresh.repo, {}, kAtOnce);
      ASSERT_TRUE(again) << n << ": " << again.error().describe();
      EXPECT_FALSE(pack_is_there(*fresh.mem, lost)) << n;
      EXPECT_TRUE(pack_is_there(*fresh.mem, kept)) << n;
      EXPECT_EQ(list_plans(*fresh.repo, {})->front().removed_packs, std::vector<PackId>{lost}) << n;
    }
  }
}

// --- the records ---

class RecordsTest : public CollectTest {
 protected:
  // A plan of long ago over `packs`, carried out.
  void finished(const std::string& id, const std::vector<PackId>& packs) {
    CollectionPlan plan;
    plan.id = id;
    plan.created = plan.not_before = now() - hours(24 * 40);
    plan.packs = packs;
    ASSERT_TRUE(put_plan(*t.repo, {}, plan));
    ASSERT_TRUE(put_done(*t.repo, {}, {id, packs, {}, {}}));
  }
};

TEST_F(RecordsTest, GoWhenNobodyCanNeedThem) {
  finished("20200101-000000-00000000", {pack_id({}, 1)});
  run();
  EXPECT_TRUE(list_plans(*t.repo, {})->front().closed);
  run();
  EXPECT_TRUE(t.names("gc/").empty());
}

TEST_F(RecordsTest, StayForWhoeverBeganBefore) {
  finished("20200101-000000-00000000", {pack_id({}, 1)});
  TestWriter w = writer();
  run();
  run();
  run();
  EXPECT_EQ(list_plans(*t.repo, {})->size(), 1u);
  TestWriter later = writer();
  ASSERT_TRUE(w.pin.release({}));
  run();
  EXPECT_TRUE(t.names("gc/").empty()) << "whoever began later cannot know what is gone";
}

TEST_F(RecordsTest, StayWhileAManifestNeedsWhatIsGone) {
  const PackId gone = backup("b1");
  ASSERT_TRUE(store::remove_one(*t.mem, {}, pack_key(gone)));
  finished("20200101-000000-00000000", {gone});
  for (int i = 0; i < 3; ++i) run();
  EXPECT_EQ(list_plans(*t.repo, {})->size(), 1u);
  TestWriter w = writer();
  EXPECT_EQ(w.commit("b2", {gone}).error().code, Code::kConflict) << "nothing can be built on it";
}

TEST_F(RecordsTest, APlanIsReadOnce) {
  const PackId first = pack_id({}, 1), second = pack_id({}, 2);
  finished("20200101-000000-00000000", {first});
  const auto known = read_condemned(*t.repo, {});
  ASSERT_TRUE(known);
  t.overwrite(collection_key("20200101-000000-00000000", kPlanPart.name), as_bytes("not a plan"));
  finished("20200102-000000-00000000", {second});
  EXPECT_FALSE(read_condemned(*t.repo, {}));
  const auto all = read_condemned(*t.repo, {}, *known);
  ASSERT_TRUE(all) << all.error().describe();
  EXPECT_TRUE(all->packs.contains(first) && all->packs.contains(second));
}

TEST_F(RecordsTest, YoungOnesStay) {
  orphan();
  for (int i = 0; i < 5; ++i) run();
  EXPECT_EQ(list_plans(*t.repo, {})->size(), 1u);
}

TEST_F(RecordsTest, WhatADropLeftIsRemoved) {
  ASSERT_TRUE(put_done(*t.repo, {}, {"20200101-000000-00000000", {}, {}, {}}));
  ASSERT_TRUE(put_closed(*t.repo, {}, "20200101-000000-00000000", {}));
  EXPECT_TRUE(list_plans(*t.repo, {})->empty());
  run();
  EXPECT_TRUE(t.names("gc/").empty());
}

}  // namespace
}  // namespace varve::repo
