#include "backup/expire.h"

#include <set>

#include "backup/source_for_test.h"
#include "backup/verify.h"
#include "repo/hold.h"
#include "store/wrap/forward.h"

namespace varve::backup {
namespace {

// The process ends after so many objects were removed.
class EndsAfterRemovals : public store::Forward {
 public:
  EndsAfterRemovals(store::StorePtr inner, size_t removals) : Forward(std::move(inner)), left_(removals) {}
  Result<std::vector<store::RemoveResult>> remove(const Context& ctx,
                                                  std::span<const store::Key> keys) override {
    const size_t now = std::min(left_, keys.size());
    left_ -= now;
    TRY_ASSIGN(auto out, inner().remove(ctx, keys.first(now)));
    if (now < keys.size()) return fail(Code::kInterrupted, "ended");
    return out;
  }

 private:
  size_t left_;
};

// Everything that load_source() shows must be there.
void expect_all_recoverable(const repo::RepositoryPtr& repo, const TestSource& source,
                            const std::string& when) {
  auto state = load_source(*repo, {}, source.name());
  ASSERT_TRUE(state) << when << ": " << state.error().describe();
  EXPECT_TRUE(state->backups.unreadable.empty()) << when;
  EXPECT_FALSE(state->backups.manifests.empty()) << when;
  for (const repo::Manifest& m : state->backups.manifests) {
    auto back = source.restore(repo, m.id);
    ASSERT_TRUE(back) << when << ": " << m.id << ": " << back.error().describe();
    EXPECT_TRUE(*back == source.backups().at(m.id)) << when << ": " << m.id;
  }
  for (const Window& w : state->windows) {
    if (w.epoch.empty()) continue;
    for (uint64_t txn : {w.first, (w.first + w.last) / 2, w.last}) {
      auto back = source.restore(repo, *state, txn);
      ASSERT_TRUE(back) << when << ": txn " << txn << ": " << back.error().describe();
      EXPECT_TRUE(*back == source.states().at(txn)) << when << ": txn " << txn;
    }
  }
}

void expect_clean(const repo::RepositoryPtr& repo, const std::string& when) {
  Progress progress;
  auto report = verify(repo, {}, {}, progress);
  ASSERT_TRUE(report) << when << ": " << report.error().describe();
  for (const auto& p : report->problems)
    ADD_FAILURE() << when << ": " << p.object << ": " << p.kind << ": " << p.message;
}

class ExpireTest : public ::testing::Test {
 protected:
  ExpireReport run(const plan::Retention& retention, bool dry_run = false) {
    auto report = expire(*repository_.repo, {}, "app", retention, source_.clock(), dry_run);
    EXPECT_TRUE(report) << report.error().describe();
    return report.value_or(ExpireReport{});
  }
  std::set<std::string> ids() {
    auto all = repo::list_backup_ids(*repository_.repo, {}, "app");
    return {all->begin(), all->end()};
  }
  size_t pieces() { return repository_.names("sources/app/log/").size(); }

  repo::TestRepository repository_{repo::Encryption::kNone};
  TestSource source_{repository_.repo, "app", 5};
};

TEST_F(ExpireTest, KeepsWhatThePlanSaysAndTellsWhy) {
  std::vector<std::string> made;
  for (int i = 0; i < 5; ++i) {
    source_.change();
    made.push_back(source_.backup(i ? made.back() : ""));
    source_.pass(std::chrono::hours(1));
  }
  const auto planned = run({.last = 2}, true);
  EXPECT_EQ(ids().size(), 5u);
  EXPECT_TRUE(planned.dry_run);
  EXPECT_EQ(planned.removed_backups, 3u);
  const auto done = run({.last = 2});
  EXPECT_EQ(done.removed_backups, 3u);
  EXPECT_EQ(done.removed_bytes, planned.removed_bytes);
  EXPECT_GT(done.removed_bytes, 0u);
  EXPECT_EQ(ids(), (std::set<std::string>{made[3], made[4]}));
  ASSERT_EQ(done.backups.size(), 5u);
  EXPECT_FALSE(done.backups[0].keep);
  EXPECT_EQ(done.backups[3].reasons, std::vector<std::string>{"last"});
  EXPECT_EQ(done.backups[4].reasons, (std::vector<std::string>{"newest good backup", "last"}));
  expect_all_recoverable(repository_.repo, source_, "after");
}

TEST_F(ExpireTest, AHeldBackupStays) {
  const std::string first = source_.backup();
  for (int i = 0; i < 3; ++i) {
    source_.pass(std::chrono::hours(1));
    source_.backup();
  }
  ASSERT_TRUE(repo::place_hold(*repository_.repo, {}, "app", first, "for the auditors"));
  const auto report = run({.last = 1});
  EXPECT_EQ(report.removed_backups, 2u);
  EXPECT_TRUE(ids().contains(first));
  EXPECT_EQ(report.backups[0].reasons, std::vector<std::string>{"held"});
}

TEST_F(ExpireTest, AnUnreadableManifestStopsEverything) {
  const std::string first = source_.backup();
  source_.pass(std::chrono::hours(1));
  source_.backup();
  const std::string key = repo::manifest_key("app", first);
  Buffer bytes = repository_.bytes(key);
  bytes[bytes.size() / 2] ^= std::byte{4};
  repository_.overwrite(key, bytes);
  auto report = expire(*repository_.repo, {}, "app", {.last = 1}, source_.clock(), false);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Code::kDamaged);
  EXPECT_NE(report.error().message.find(key), std::string::npos);
  EXPECT_FALSE(report.error().hint.empty());
  EXPECT_EQ(ids().size(), 2u);
}

TEST_F(ExpireTest, TheLogBeforeTheOldestBaseGoes) {
  const std::string base = source_.begin_epoch();
  for (int i = 0; i < 8; ++i) source_.commit();
  source_.merge(8);
  const std::string middle = source_.backup(base, true);
  for (int i = 0; i < 8; ++i) source_.commit();
  source_.merge(12);  // straddles the new base
  source_.pass(std::chrono::hours(1));
  const std::string last = source_.backup(middle, true);
  source_.commit();

  auto report = run({.last = 2});
  EXPECT_EQ(ids(), (std::set<std::string>{middle, last}));
  EXPECT_EQ(report.removed_pieces, 9u);
  EXPECT_EQ(pieces(), 10u);
  expect_all_recoverable(repository_.repo, source_, "after");
  expect_clean(repository_.repo, "after");
}

TEST_F(ExpireTest, TheWindowKeepsTheBaseItsLogStandsOn) {
  const std::string base = source_.begin_epoch();
  source_.commit(3);
  source_.pass(std::chrono::hours(24 * 10));
  source_.commit(3);
  source_.pass(std::chrono::hours(24));
  const std::string lone = source_.backup();
  auto report = run({.last = 1, .window = std::chrono::hours(24 * 5)});
  EXPECT_EQ(ids(), (std::set<std::string>{base, lone}));
  EXPECT_EQ(report.removed_pieces, 0u);
  ASSERT_FALSE(report.backups.empty());
  EXPECT_EQ(report.backups[0].backup, base);
  EXPECT_NE(std::find_if(report.backups[0].reasons.begin(), report.backups[0].reasons.end(),
                         [](const std::string& r) { return r.starts_with("base of the log from"); }),
            report.backups[0].reasons.end());
}

TEST_F(ExpireTest, AnEpochOfWhichNothingIsKeptGoesWholly) {
  const std::string base = source_.begin_epoch();
  for (int i = 0; i < 4; ++i) source_.commit();
  source_.merge(3);
  source_.mark();
  source_.pass(std::chrono::hours(1));
  const std::string second = source_.begin_epoch();
  source_.commit();
  auto report = run({.last = 1});
  EXPECT_EQ(ids(), std::set<std::string>{second});
  EXPECT_EQ(report.removed_pieces, 5u);
  EXPECT_EQ(pieces(), 1u);
  // The newest epoch's base stays even if newer backups stand in no log: a follower goes on from it.
  source_.pass(std::chrono::hours(1));
  const std::string lone = source_.backup();
  report = run({.last = 1});
  EXPECT_EQ(ids(), (std::set<std::string>{second, lone}));
  EXPECT_EQ(pieces(), 1u);
}

TEST_F(ExpireTest, WhatTheStoreLocksIsKeptAndSaid) {
  const std::string base = source_.begin_epoch();
  for (int i = 0; i < 4; ++i) source_.commit();
  source_.pass(std::chrono::hours(1));
  source_.begin_epoch();
  repository_.mem->set_clock([this] { return source_.clock(); });
  ASSERT_TRUE(repository_.mem->extend_retention({}, repo::manifest_key("app", base),
                                                source_.clock() + std::chrono::hours(5)));
  auto report = run({.last = 1});
  EXPECT_TRUE(ids().contains(base));
  EXPECT_EQ(report.removed_backups, 0u);
  ASSERT_EQ(report.backups[0].backup, base);
  EXPECT_TRUE(report.backups[0].keep);
  EXPECT_EQ(report.backups[0].reasons, std::vector<std::string>{"locked by the store's retention"});
  expect_all_recoverable(repository_.repo, source_, "after");
  source_.pass(std::chrono::hours(6));
  report = run({.last = 1});
  EXPECT_EQ(report.removed_backups, 1u);
  EXPECT_EQ(ids().size(), 1u);
}

TEST_F(ExpireTest, ALockedPieceKeepsItsBase) {
  const std::string base = source_.begin_epoch();
  source_.commit();
  const std::string locked = source_.commit();
  source_.commit();
  source_.pass(std::chrono::hours(1));
  source_.begin_epoch();
  repository_.mem->set_clock([this] { return source_.clock(); });
  ASSERT_TRUE(repository_.mem->extend_retention({}, locked, source_.clock() + std::chrono::hours(5)));
  auto report = run({.last = 1});
  EXPECT_TRUE(ids().contains(base));
  EXPECT_TRUE(report.backups[0].keep);
  expect_all_recoverable(repository_.repo, source_, "after");
}

// --- random histories, and an end at every removal ---

class RandomHistory {
 public:
  RandomHistory(TestSource& source, unsigned seed) : source_(source), random_(seed) {}

  void make() {
    for (int step = 0; step < 24; ++step) {
      source_.pass(std::chrono::hours(random_() % 30));
      switch (random_() % 8) {
        case 0:
          source_.change();
          remember(source_.begin_epoch());
          commits_ = 0;
          break;
        case 1:
          if (source_.epoch().empty()) source_.change();
          remember(source_.backup(some_parent(), false));
          break;
        case 2:
          if (!source_.epoch().empty()) remember(source_.backup(some_parent(), true));
          break;
        case 3:
          if (commits_ >= 3) source_.merge(2 + random_() % (commits_ - 1));
          commits_ = 0;
          break;
        case 4:
          if (!source_.epoch().empty() && commits_ > 0) source_.mark();
          break;
        default:
          if (source_.epoch().empty()) break;
          source_.commit(1 + static_cast<int>(random_() % 3));
          ++commits_;
      }
    }
    source_.pass(Seconds(1));
    remember(source_.backup());
  }

  plan::Retention retention() {
    plan::Retention r;
    r.last = random() % 4;
    r.daily = random() % 3;
    r.weekly = random() % 2;
    if (random_() % 2) r.window = std::chrono::hours(random_() % 400);
    if (r.empty()) r.last = 1;
    return r;
  }
  const std::vector<std::string>& made() const { return made_; }
  uint32_t random() { return static_cast<uint32_t>(random_()); }

 private:
  void remember(const std::string& id) {
    made_.push_back(id);
    source_.pass(Seconds(1));
  }
  std::string some_parent() {
    return made_.empty() || random_() % 3 == 0 ? "" : made_[random_() % made_.size()];
  }

  TestSource& source_;
  std::mt19937 random_;
  std::vector<std::string> made_;
  uint64_t commits_ = 0;  // single pieces since the last base or merge
};

TEST(ExpireProperty, WhateverIsShownIsRecoverableWhereverItEnds) {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    repo::TestRepository repository(repo::Encryption::kNone);
    TestSource source(repository.repo, "app", seed);
    RandomHistory history(source, seed);
    history.make();
    if (history.random() % 2) {
      const auto& made = history.made();
      ASSERT_TRUE(
          repo::place_hold(*repository.repo, {}, "app", made[history.random() % made.size()], "test"));
    }
    const plan::Retention retention = history.retention();
    const auto sound = repository.mem->snapshot();
    const std::string name = fmt::format("seed {}", seed);
    expect_all_recoverable(repository.repo, source, name + ", before");
    expect_clean(repository.repo, name + ", before");

    for (size_t removals = 0;; removals += 1 + history.random() % 3) {
      repository.mem->restore(sound);
      auto ending = repository.open(std::make_shared<EndsAfterRemovals>(repository.mem, removals));
      ASSERT_TRUE(ending);
      auto report = expire(**ending, {}, "app", retention, source.clock(), false);
      const std::string when = fmt::format("{}, ended after {} removals", name, removals);
      expect_all_recoverable(repository.repo, source, when);
      expect_clean(repository.repo, when);
      if (::testing::Test::HasFailure()) return;
      if (report) break;
      // Done again, it comes to the same as if it had not been cut off.
      auto again = expire(*repository.repo, {}, "app", retention, source.clock(), false);
      ASSERT_TRUE(again) << when << ": " << again.error().describe();
      auto idle = expire(*repository.repo, {}, "app", retention, source.clock(), false);
      ASSERT_TRUE(idle);
      EXPECT_EQ(idle->removed_backups + idle->removed_pieces, 0u) << when;
      expect_all_recoverable(repository.repo, source, when + ", again");
    }
  }
}

}  // namespace
}  // namespace varve::backup
