// Copies beside collections at the copy, and beside what goes on at the original.
#include "backup/copy_for_test.h"
#include "repo/collect.h"

namespace varve::backup {
namespace {

class CopyBeside : public CopyCase {};
INSTANTIATE_TEST_SUITE_P(Key, CopyBeside, ::testing::Bool(), key_name);

// --- collections at the copy ---

TEST_P(CopyBeside, KeepsOutOfTheWayOfCollections) {
  copy_all();
  auto at_copy = *open_copy();
  // A collection under way there.
  repo::Pin gc = *repo::Pin::take(at_copy, {}, "", "gc");
  Progress progress;
  auto refused = copy({}, t_.mem, to_, options(), progress);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kConflict) << refused.error().describe();
  EXPECT_TRUE(repo::list_copies({}, *to_)->empty());
  ASSERT_TRUE(gc.release({}));
  // A backup under way there is no collection; without the key that cannot be told.
  repo::Pin writer = *repo::Pin::take(at_copy, {}, "", "backup");
  EXPECT_EQ(copy({}, t_.mem, to_, options(), progress).has_value(), keyed());
  ASSERT_TRUE(writer.release({}));

  // A copy under way.
  auto pin = repo::CopyPin::take({}, to_, t_.repo->id(), "mem://elsewhere");
  ASSERT_TRUE(pin);
  for (const bool now : {false, true}) {
    repo::CollectOptions o;
    o.now = now;
    auto collected = repo::collect(*at_copy, {}, o);
    ASSERT_FALSE(collected);
    EXPECT_EQ(collected.error().code, Code::kConflict);
  }
  repo::CollectOptions dry;
  dry.dry_run = true;
  EXPECT_TRUE(repo::collect(*at_copy, {}, dry));
  ASSERT_TRUE(pin->release({}));
  EXPECT_TRUE(repo::collect(*at_copy, {}, {}));
}

// Packs that a cut copy left, and that a collection there has condemned, are needed again by the next copy.
TEST_P(CopyBeside, WhatWasCondemnedThereIsPardoned) {
  copy_all();
  const std::string old = app_.backups().begin()->first;
  ASSERT_TRUE(store::remove_one(*to_, {}, repo::manifest_key("app", old)));  // expired there
  auto at_copy = *open_copy();
  const repo::CollectOptions at_once{.grace = Seconds(0)};
  auto condemned = repo::collect(*at_copy, {}, at_once);
  ASSERT_TRUE(condemned);
  EXPECT_GT(condemned->packs_condemned, 0u);
  copy_all();
  auto collected = repo::collect(*at_copy, {}, at_once);
  ASSERT_TRUE(collected);
  EXPECT_EQ(collected->packs_removed, 0u);
  EXPECT_EQ(collected->packs_pardoned, condemned->packs_condemned);
  expect_sound(true);
  // And removed already.
  ASSERT_TRUE(store::remove_one(*to_, {}, repo::manifest_key("app", old)));
  ASSERT_TRUE(repo::collect(*at_copy, {}, at_once));
  collected = repo::collect(*at_copy, {}, at_once);
  EXPECT_GT(collected->packs_removed, 0u);
  copy_all();
  EXPECT_EQ(repo::collect(*at_copy, {}, at_once)->packs_removed, 0u);
  expect_sound(true);
}

TEST_P(CopyBeside, ItsPinTakenAwayItBeginsAnew) {
  copy_all();
  shop_.change();
  shop_.pass(Seconds(60));
  shop_.backup();
  const auto to =
      std::make_shared<Meanwhile>(to_, store::CallKind::kPut, "packs/", [&] { remove_copy_pins(*to_); });
  EXPECT_TRUE(run_copy(t_.mem, to, options()).problems.empty());
  expect_sound(true);
  EXPECT_TRUE(repo::list_copies({}, *to_)->empty());
}

TEST_P(CopyBeside, ItsPinTakenAwayJustThenTheBackupIsWithdrawn) {
  copy_all();
  shop_.change();
  shop_.pass(Seconds(60));
  const std::string id = shop_.backup();
  const std::string key = repo::manifest_key("shop", id);
  // Every pin, always: it never comes to an end.
  class Thief : public store::Forward {
   public:
    Thief(store::StorePtr inner, std::string at) : Forward(std::move(inner)), at_(std::move(at)) {}
    Result<> put(const Context& ctx, const store::Key& k, store::Body body,
                 const store::PutOptions& options) override {
      if (k == at_) remove_copy_pins(inner());
      return inner().put(ctx, k, body, options);
    }
    std::string at_;
  };
  Progress progress;
  auto r = copy({}, t_.mem, std::make_shared<Thief>(to_, key), options(), progress);
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, Code::kConflict);
  EXPECT_FALSE(names(*to_).contains(key));
}

// --- life at the original ---

TEST_P(CopyBeside, WhatExpiresAndIsCollectedMeanwhileIsPassedOver) {
  const std::string old = app_.backups().begin()->first;
  for (const char* when : {"packs/", "keys/", "events/", "sources/app/log/"}) {
    to_ = std::make_shared<MemStore>("copy");
    const auto before = t_.mem->snapshot();
    const auto from = std::make_shared<Meanwhile>(t_.mem, store::CallKind::kList, when, [&] {
      EXPECT_TRUE(store::remove_one(*t_.mem, {}, repo::manifest_key("app", old)));
      EXPECT_TRUE(repo::collect(*t_.repo, {}, {.now = true}));
    });
    const CopyReport r = run_copy(from, to_, options());
    EXPECT_TRUE(r.problems.empty()) << when << text_of(r);
    EXPECT_GE(r.vanished, 1u) << when;
    EXPECT_FALSE(names(*to_).contains(repo::manifest_key("app", old))) << when;
    expect_sound(false);
    t_.mem->restore(before);
  }
}

TEST_P(CopyBeside, AnEpochThatBeginsMeanwhileWaits) {
  copy_all();
  app_.commit(1);
  const auto from = std::make_shared<Meanwhile>(t_.mem, store::CallKind::kList, "sources/app/log/", [&] {
    app_.pass(Seconds(60));
    app_.change();
    base_ = app_.begin_epoch();
    app_.commit(1);
    app_.mark();
  });
  EXPECT_TRUE(run_copy(from, to_, options()).problems.empty());
  expect_sound(false);
  copy_all();
  expect_sound(true);
}

TEST_P(CopyBeside, AnUnreachableStoreEndsItAndItGoesOn) {
  const auto from = std::make_shared<FaultStore>(t_.mem);
  from->set_policy(store::only_keys("packs/", [](const store::StoreCall& c) {
    return store::Fault{.what = c.index > 6 ? store::Fault::What::kFail : store::Fault::What::kNone,
                        .error = store::transient_error()};
  }));
  Progress progress;
  auto r = copy({}, from, to_, options(), progress);
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, Code::kUnreachable);
  copy_all();
  expect_sound(true);
}

TEST(CopyPin, OldOnesHoldUpNobody) {
  repo::CopyInfo info;
  info.process = os::self_identity();
  info.started = now();
  EXPECT_FALSE(repo::has_ended(info, now()));
  EXPECT_TRUE(repo::has_ended(info, now() + std::chrono::hours(25)));
  info.process.started += 1;  // another process had this number
  EXPECT_TRUE(repo::has_ended(info, now()));
}

// What is stored is frozen.
constexpr char kPin[] = R"({
  "format": 1,
  "repository": "6f0f3a5e0d3c4b1f9d0a7c5e2b1a4f60",
  "from": "file:///srv/backups",
  "host": "db1",
  "boot": "5e1f",
  "pid": 4711,
  "process_started": 123456,
  "started": "2026-11-23T14:32:05Z",
  "checksum": "9516c18ec4447e48f068936910052b7f"
}
)";

TEST(CopyPin, AsItIsStored) {
  const store::Key key = "copies/0123456789abcdef01234567";
  auto copy = repo::parse_copy_pin(key, kPin);
  ASSERT_TRUE(copy) << copy.error().describe();
  EXPECT_EQ(copy->id.hex(), "0123456789abcdef01234567");
  EXPECT_EQ(copy->repository.hex(), "6f0f3a5e0d3c4b1f9d0a7c5e2b1a4f60");
  EXPECT_EQ(copy->from, "file:///srv/backups");
  EXPECT_EQ(copy->process.pid, 4711);
  EXPECT_EQ(to_rfc3339(copy->started), "2026-11-23T14:32:05Z");
  EXPECT_EQ(repo::parse_copy_pin("copies/x", kPin).error().code, Code::kDamaged);
  std::string damaged = kPin;
  damaged[30] = 'e';
  EXPECT_EQ(repo::parse_copy_pin(key, damaged).error().code, Code::kDamaged);
}

// A collection that cannot read who copies must not go on.
TEST(CopyPin, AnUnreadableOneStopsCollections) {
  const repo::TestRepository t;
  ASSERT_TRUE(store::put_bytes(*t.mem, {}, "copies/0123456789abcdef01234567", as_bytes("?")));
  EXPECT_EQ(repo::collect(*t.repo, {}, {}).error().code, Code::kDamaged);
}

}  // namespace
}  // namespace varve::backup
