// A copy is whole at every instant, and so is what a run that was cut leaves.
#include "backup/copy_for_test.h"
#include "backup/copy_lag.h"
#include "repo/config.h"

namespace varve::backup {
namespace {

class Copy : public CopyCase {};
INSTANTIATE_TEST_SUITE_P(Key, Copy, ::testing::Bool(), key_name);

TEST_P(Copy, EverythingAndOnlyOnce) {
  const CopyReport first = copy_all();
  EXPECT_TRUE(first.created);
  EXPECT_EQ(first.backups, 4u);
  EXPECT_EQ(first.objects, names(*to_).size());
  std::set<std::string> expected;
  for (const std::string& key : names(*t_.mem))
    if (!is_left_alone(key)) expected.insert(key);
  EXPECT_EQ(names(*to_), expected);
  expect_sound(true);

  const auto counting = std::make_shared<FaultStore>(to_);
  const CopyReport second = run_copy(t_.mem, counting, options());
  EXPECT_FALSE(second.created);
  EXPECT_EQ(second.objects, 0u);
  EXPECT_EQ(second.bytes, 0u);
  size_t puts = 0;
  for (const auto& call : counting->calls()) {
    EXPECT_TRUE(call.kind != store::CallKind::kPut || call.key.starts_with("copies/")) << call.key;
    puts += call.kind == store::CallKind::kPut;
  }
  EXPECT_EQ(puts, 1u) << "its pin";
  EXPECT_LE(counting->calls().size(), 12u) << "listings, whatever there is";
}

TEST_P(Copy, WhatIsNewAndNothingElse) {
  copy_all();
  const auto before = names(*to_);
  app_.commit(3);
  app_.pass(Seconds(5));
  const std::string mark = app_.mark();
  shop_.pass(Seconds(60));
  shop_.change(3);
  shop_.backup(shop_.backups().begin()->first);
  const auto counting = std::make_shared<FaultStore>(t_.mem);
  const CopyReport r = run_copy(counting, to_, options());
  EXPECT_EQ(r.backups, 1u);
  EXPECT_TRUE(names(*to_).contains(mark));
  uint64_t marks = 0;
  for (const std::string& key : names(*to_)) marks += key.find("/mark-") != key.npos;
  EXPECT_EQ(marks, 1u) << "the mark replaces the one before it";
  for (const auto& call : counting->calls())
    EXPECT_FALSE(call.kind == store::CallKind::kGet && call.key != "varve.json" && before.contains(call.key))
        << call.key;
  expect_sound(true);
}

TEST_P(Copy, ItsLagIsTold) {
  const auto lag = [&](const TestSource& source) {
    const auto out = copy_lag({}, *t_.mem, *to_, source.name());
    EXPECT_TRUE(out) << out.error().describe();
    return out.value_or(CopyLag{});
  };
  EXPECT_EQ(lag(app_).missing.size(), 3u);
  EXPECT_EQ(lag(app_).copied, 0u);
  copy_all();
  EXPECT_TRUE(lag(app_).missing.empty());
  EXPECT_EQ(lag(app_).copied, app_.txn());
  const uint64_t copied = app_.txn();
  app_.commit(3);
  shop_.pass(Seconds(60));
  const std::string id = shop_.backup();
  EXPECT_EQ(lag(shop_).backups, 2u);
  EXPECT_EQ(lag(shop_).missing, std::vector<std::string>{id});
  EXPECT_EQ(lag(shop_).last, 0u) << "it has no log";
  EXPECT_EQ(lag(app_).epoch, base_);
  EXPECT_EQ(lag(app_).copied, copied);
  EXPECT_EQ(lag(app_).last, copied + 3);
}

TEST_P(Copy, ADryRunTellsAndDoesNothing) {
  CopyOptions o = options();
  o.dry_run = true;
  const CopyReport dry = run_copy(t_.mem, to_, o);
  EXPECT_TRUE(names(*to_).empty());
  const CopyReport wet = copy_all();
  EXPECT_EQ(dry.objects + 1, wet.objects) << "all but varve.json";
  EXPECT_EQ(dry.backups, wet.backups);
  EXPECT_EQ(run_copy(t_.mem, to_, o).objects, 0u);
}

TEST_P(Copy, ChosenSources) {
  CopyOptions o = options();
  o.sources = {"shop"};
  const CopyReport r = run_copy(t_.mem, to_, o);
  EXPECT_EQ(r.backups, 1u);
  auto repo = open_copy();
  ASSERT_TRUE(repo) << repo.error().describe();
  EXPECT_EQ(*repo::list_sources(**repo, {}), std::vector<std::string>{"shop"});
  const VerifyReport report = run_verify(*repo);
  EXPECT_TRUE(report.problems.empty());
  EXPECT_EQ(report.unreferenced_objects == 0, keyed()) << "with the key only the packs that it needs";
  o.sources = {"shap"};
  Progress progress;
  auto none = copy({}, t_.mem, to_, o, progress);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Code::kNotFound);
  EXPECT_EQ(none.error().hint, "did you mean shop?");
  copy_all();
  expect_sound(true);
}

TEST_P(Copy, AnotherPlaceIsRefused) {
  Progress progress;
  auto same = copy({}, t_.mem, t_.mem, options(), progress);
  ASSERT_FALSE(same);
  EXPECT_EQ(same.error().code, Code::kUsage);
  EXPECT_TRUE(repo::list_copies({}, *t_.mem)->empty());

  const repo::TestRepository other;
  auto foreign = copy({}, t_.mem, other.mem, options(), progress);
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().code, Code::kConflict);

  ASSERT_TRUE(store::put_bytes(*to_, {}, "photos/cat", as_bytes("meow")));
  auto things = copy({}, t_.mem, to_, options(), progress);
  ASSERT_FALSE(things);
  EXPECT_EQ(things.error().code, Code::kConflict);
  EXPECT_EQ(names(*to_), std::set<std::string>{"photos/cat"});
}

// A newer program may keep objects of which this one does not know.
TEST_P(Copy, ANewerOneIsNotCopiedInPart) {
  repo::Config newer = t_.repo->config();
  newer.features_write = {"something"};
  t_.overwrite("varve.json", as_bytes(repo::encode_config(newer)));
  Progress progress;
  auto refused = copy({}, t_.mem, to_, options(), progress);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnsupported);
  EXPECT_TRUE(names(*to_).empty());
}

// The first copy is no repository before its end, and never a broken one.
TEST_P(Copy, CutAtEveryPutOfTheFirstRun) {
  for (const bool reply_lost : {false, true}) {
    for (uint64_t n = 1;; ++n) {
      to_ = std::make_shared<MemStore>("copy");
      const auto cut = std::make_shared<FaultStore>(
          to_, store::only(store::CallKind::kPut, store::killed_at(n, reply_lost)));
      Progress progress;
      CopyOptions o = options();
      o.workers = 1 + n % 4;
      auto done = copy({}, t_.mem, cut, o, progress);
      if (done) break;
      ASSERT_EQ(done.error().code, Code::kInterrupted) << done.error().describe();
      if (names(*to_).contains("varve.json")) {
        expect_sound(true);
      } else if (!names(*to_).empty()) {
        auto opened = open_copy();
        ASSERT_FALSE(opened);
        EXPECT_EQ(opened.error().code, Code::kIncomplete) << opened.error().describe();
      }
      const uint64_t there = names(*to_).size();
      const CopyReport rest = copy_all();
      EXPECT_LE(rest.objects + there, names(*to_).size() + 1) << "only what was missing (and a pin)";
      if (n % 7 == 0) expect_sound(true);
      ASSERT_LT(n, 500u);
    }
    expect_sound(true);
  }
}

TEST_P(Copy, CutAtEveryPutOfALaterRun) {
  shop_.pass(Seconds(30));
  copy_all();
  const auto before = to_->snapshot();
  app_.commit(1);
  app_.merge(2);
  app_.backup(base_, true);
  app_.pass(Seconds(60));
  app_.change();
  base_ = app_.begin_epoch();
  app_.commit(1);
  app_.commit(2);
  app_.backup(base_, true);
  app_.commit(1);
  app_.mark();
  shop_.change();
  shop_.backup(shop_.backups().begin()->first);
  for (const bool reply_lost : {false, true}) {
    for (uint64_t n = 1;; ++n) {
      to_->restore(before);
      const auto cut = std::make_shared<FaultStore>(
          to_, store::only(store::CallKind::kPut, store::killed_at(n, reply_lost)));
      Progress progress;
      CopyOptions o = options();
      o.workers = 1 + n % 4;
      auto done = copy({}, t_.mem, cut, o, progress);
      SCOPED_TRACE(fmt::format("put {}{}", n, reply_lost ? ", reply lost" : ""));
      expect_sound(done.has_value());
      if (done) break;
      ASSERT_LT(n, 500u);
    }
  }
  to_->restore(before);
  copy_all();
  expect_sound(true);
}

// A merged piece at the copy without the single ones would promise moments that it cannot give.
TEST_P(Copy, SinglePiecesComeBeforeWhatWasMergedFromThem) {
  copy_all();
  for (int i = 0; i < 3; ++i) app_.commit(2);
  app_.merge(3);
  app_.commit(1);
  const auto before = to_->snapshot();
  for (uint64_t n = 2;; ++n) {  // the first put is the pin's
    to_->restore(before);
    const auto cut =
        std::make_shared<FaultStore>(to_, store::only(store::CallKind::kPut, store::killed_at(n, false)));
    Progress progress;
    const bool done = copy({}, t_.mem, cut, options(), progress).has_value();
    SCOPED_TRACE(fmt::format("put {}", n));
    expect_sound(done);
    if (done) break;
    ASSERT_LT(n, 50u);
  }
}

TEST(CopyKeys, ThoseOfAnInitThatDidNotEndStayBehind) {
  const repo::TestRepository t, other;
  for (const std::string& key : other.names("keys/"))
    ASSERT_TRUE(store::put_bytes(*t.mem, {}, key, other.bytes(key)));
  const auto to = std::make_shared<MemStore>("copy");
  EXPECT_TRUE(run_copy(t.mem, to, {}).problems.empty());
  EXPECT_EQ(names(*to).size(), 2u);
  EXPECT_TRUE(t.open(to));
}

}  // namespace
}  // namespace varve::backup
