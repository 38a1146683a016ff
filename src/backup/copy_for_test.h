// What the tests of copies share: a repository with two sources, what a copy of it must give back, and stores
// that do something meanwhile.
#pragma once

#include <set>

#include "backup/copy.h"
#include "backup/source_for_test.h"
#include "backup/verify.h"
#include "repo/copy_pin.h"
#include "repo/events.h"
#include "repo/hold.h"
#include "store/wrap/fault.h"

namespace varve::backup {

using store::FaultStore;
using store::MemStore;

inline CopyReport run_copy(const store::StorePtr& from, const store::StorePtr& to,
                           const CopyOptions& options = {}) {
  Progress progress;
  auto report = copy({}, from, to, options, progress);
  EXPECT_TRUE(report) << report.error().describe();
  return report.value_or(CopyReport{});
}

inline std::string text_of(const CopyReport& r) {
  std::string out;
  for (const auto& p : r.problems)
    out += fmt::format("\n  {} {} at {}: {}", p.kind, p.object, p.at, p.message);
  return out;
}

inline VerifyReport run_verify(const repo::RepositoryPtr& repo) {
  Progress progress;
  auto report = verify(repo, {}, {}, progress);
  EXPECT_TRUE(report) << report.error().describe();
  return report.value_or(VerifyReport{});
}

inline std::set<std::string> names(const MemStore& store) {
  std::set<std::string> out;
  for (const auto& [key, object] : store.snapshot()) out.insert(key);
  return out;
}

// As somebody does who takes every copy for ended.
inline void remove_copy_pins(store::Store& at_copy) {
  const auto copies = repo::list_copies({}, at_copy);
  ASSERT_TRUE(copies);
  for (const auto& c : *copies) EXPECT_TRUE(store::remove_one(at_copy, {}, repo::copy_key(c.id)));
}

inline bool is_left_alone(const std::string& key) {
  return key.starts_with("pins/") || key.starts_with("leases/") || key.starts_with("gc/") ||
         key.starts_with("copies/") || key.starts_with("probe/");
}

// Two sources, one of them followed, with a hold and an event; and what must come back from a copy of it.
class CopyCase : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    app_.backup();
    app_.pass(Seconds(10));
    app_.change(6);
    base_ = app_.begin_epoch();
    app_.commit(2);
    app_.commit(1);
    app_.merge(2);
    app_.pass(Seconds(10));
    app_.backup(base_, true);
    app_.commit(2);
    app_.mark();
    shop_.backup();
    EXPECT_TRUE(repo::place_hold(*t_.repo, {}, "shop", shop_.backups().begin()->first, "why not"));
    repo::AuditEvent event;
    event.what = "backup";
    repo::record_event(*t_.repo, {}, event);
  }

  bool keyed() const { return GetParam(); }
  CopyOptions options() const {
    CopyOptions o;
    if (keyed()) o.opened = t_.repo;
    o.patience = std::chrono::seconds(0);
    return o;
  }
  CopyReport copy_all() {
    const CopyReport r = run_copy(t_.mem, to_, options());
    EXPECT_TRUE(r.problems.empty()) << text_of(r);
    return r;
  }
  Result<repo::RepositoryPtr> open_copy() const { return t_.open(to_); }

  // Whatever it holds can be restored, and verify finds nothing.
  void expect_sound(bool all) {
    auto repo = open_copy();
    ASSERT_TRUE(repo) << repo.error().describe();
    const VerifyReport report = run_verify(*repo);
    std::string problems;
    for (const auto& p : report.problems)
      problems += fmt::format("\n  {} {} {}", p.kind, p.object, p.message);
    EXPECT_TRUE(report.problems.empty()) << problems;
    for (TestSource* source : {&app_, &shop_}) {
      auto ids = repo::list_backup_ids(**repo, {}, source->name());
      ASSERT_TRUE(ids);
      EXPECT_TRUE(!all || ids->size() == source->backups().size());
      for (const std::string& id : *ids) {
        auto back = source->restore(*repo, id);
        ASSERT_TRUE(back) << back.error().describe();
        EXPECT_TRUE(*back == source->backups().at(id)) << id;
      }
    }
    auto state = load_source(**repo, {}, "app");
    ASSERT_TRUE(state) << state.error().describe();
    for (const EpochLog& log : state->epochs) EXPECT_FALSE(log.gap) << log.epoch;
    for (const Window& w : state->windows) {
      for (uint64_t txn = w.first; txn <= w.last && !w.epoch.empty(); ++txn) {
        auto back = app_.restore(*repo, *state, txn);
        ASSERT_TRUE(back) << back.error().describe();
        EXPECT_TRUE(*back == app_.states().at(txn)) << txn;
      }
      EXPECT_TRUE(!all || w.epoch.empty() || w.epoch != app_.epoch() || w.last == app_.txn());
    }
  }

  repo::TestRepository t_;
  TestSource app_{t_.repo, "app", 1}, shop_{t_.repo, "shop", 2};
  std::string base_;
  std::shared_ptr<MemStore> to_ = std::make_shared<MemStore>("copy");
};
inline std::string key_name(const ::testing::TestParamInfo<bool>& with) {
  return with.param ? "with" : "without";
}

// Does something when the store is first asked for this.
class Meanwhile : public store::Forward {
 public:
  Meanwhile(store::StorePtr inner, store::CallKind kind, std::string prefix, std::function<void()> what)
      : Forward(std::move(inner)), kind_(kind), prefix_(std::move(prefix)), what_(std::move(what)) {}
  Result<> put(const Context& ctx, const store::Key& key, store::Body body,
               const store::PutOptions& options) override {
    see(store::CallKind::kPut, key);
    return inner().put(ctx, key, body, options);
  }
  Result<uint64_t> get(const Context& ctx, const store::Key& key, store::Range range,
                       const store::Sink& sink) override {
    see(store::CallKind::kGet, key);
    return inner().get(ctx, key, range, sink);
  }
  Result<store::ListPage> list(const Context& ctx, const std::string& prefix, const std::string& token,
                               size_t most) override {
    see(store::CallKind::kList, prefix);
    return inner().list(ctx, prefix, token, most);
  }

 private:
  void see(store::CallKind kind, const std::string& key) {
    if (kind == kind_ && key.starts_with(prefix_) && !done_.exchange(true)) what_();
  }
  const store::CallKind kind_;
  const std::string prefix_;
  const std::function<void()> what_;
  std::atomic<bool> done_{false};
};

}  // namespace varve::backup
