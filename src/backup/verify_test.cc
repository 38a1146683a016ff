// A table of mutilations: whatever is done to an object, verify names it, says what is wrong and what depends
// on it; and what it calls restorable restores exactly, what it calls broken is refused.
#include "backup/verify.h"

#include <filesystem>
#include <fstream>
#include <set>

#include "backup/source_for_test.h"
#include "repo/collection_plan.h"
#include "repo/events.h"
#include "repo/hold.h"
#include "repo/lease.h"
#include "store/wrap/fault.h"

namespace varve::backup {
namespace {

VerifyReport run_verify(const repo::RepositoryPtr& repo, const VerifyOptions& options = {}) {
  Progress progress;
  auto report = verify(repo, {}, options, progress);
  EXPECT_TRUE(report) << report.error().describe();
  if (report && report->problems.empty()) {
    EXPECT_EQ(progress.done_bytes, progress.total_bytes);
  }
  return report.value_or(VerifyReport{});
}

std::string text_of(const VerifyReport& report) {
  std::string out;
  for (const auto& p : report.problems) {
    out += fmt::format("\n  {} [{}] {}; affects", p.object, p.kind, p.message);
    for (const auto& a : p.affects) out += " " + a;
  }
  return out;
}

const VerifyProblem* problem_of(const VerifyReport& report, const std::string& object) {
  for (const auto& p : report.problems) {
    if (p.object == object) return &p;
  }
  return nullptr;
}

class Mutilation : public ::testing::TestWithParam<repo::Encryption> {
 protected:
  void SetUp() override {
    source_.backup();
    source_.pass(Seconds(10));
    source_.change(6);
    const std::string base = source_.begin_epoch();
    source_.commit(2);
    source_.commit(1);
    source_.commit(3);
    merged_ = source_.merge(2);
    source_.pass(Seconds(10));
    source_.backup(base, true);
    source_.commit(1);
    source_.commit(2);
    mark_ = source_.mark();
    other_.backup();
    auto& repo = *repository_.repo;
    ASSERT_TRUE(repo::place_hold(repo, {}, "app", base, "a test"));
    repo::AuditEvent event;
    event.what = "backup";
    for (const char* name : {"app", "other"}) {
      event.source = name;
      repo::record_event(repo, {}, event);
    }
    auto pin = repo::Pin::take(repository_.repo, {}, "app", "backup");
    ASSERT_TRUE(pin);
    auto lease = repo::Lease::take(repository_.repo, {}, "app", "follow", Seconds(600));
    ASSERT_TRUE(lease);
    repo::CollectionPlan plan;
    plan.id = "20261101-000000-gc";
    plan.created = plan.not_before = TestSource::start();
    ASSERT_TRUE(repo::put_plan(repo, {}, plan));
    sound_ = repository_.mem->snapshot();
    auto state = load_source(repo, {}, "app");
    ASSERT_TRUE(state);
    ASSERT_EQ(state->epochs.size(), 1u);
    ASSERT_FALSE(state->epochs[0].gap);
  }

  void heal() { repository_.mem->restore(sound_); }
  Buffer sound(const std::string& key) const { return to_buffer(*sound_.at(key).body); }
  std::vector<std::string> keys(const std::string& prefix = "") const {
    std::vector<std::string> out;
    for (const auto& [key, object] : sound_) {
      if (key.starts_with(prefix)) out.push_back(key);
    }
    return out;
  }
  bool is_merged(const std::string& key) const { return key == merged_; }

  // What can be had back exactly, found by trying; a wrong byte anywhere is a failure.
  std::set<std::string> exact_backups(const std::string& what) {
    std::set<std::string> out;
    for (const TestSource* source : {&source_, &other_}) {
      for (const auto& [id, content] : source->backups()) {
        auto back = source->restore(repository_.repo, id);
        if (!back) continue;
        EXPECT_TRUE(*back == content) << what << ": " << id << " came back with other content";
        out.insert(source->name() + "/" + id);
      }
    }
    return out;
  }
  std::set<uint64_t> exact_states(const std::string& what) {
    std::set<uint64_t> out;
    auto state = load_source(*repository_.repo, {}, "app");
    if (!state) return out;
    for (const auto& [txn, content] : source_.states()) {
      auto back = source_.restore(repository_.repo, *state, txn);
      if (!back) continue;
      EXPECT_TRUE(*back == content) << what << ": txn " << txn << " came back with other content";
      out.insert(txn);
    }
    return out;
  }

  // After something was done to `key`. `kinds`: empty, any will do.
  // `tried`: whether what it says of the rest is tried, too.
  void expect_found(const std::string& key, const std::string& what, const std::set<std::string>& kinds = {},
                    bool tried = true) {
    SCOPED_TRACE(what + " " + key);
    const VerifyReport report = run_verify(repository_.repo);
    const VerifyProblem* problem = problem_of(report, key);
    EXPECT_NE(problem, nullptr) << text_of(report);
    if (problem && !kinds.empty()) {
      EXPECT_TRUE(kinds.contains(problem->kind)) << text_of(report);
    }
    if (problem) {
      EXPECT_FALSE(problem->message.empty());
    }
    if (tried) expect_true(report, what + " " + key);
  }

  // What the report says can and cannot be restored is so.
  void expect_true(const VerifyReport& report, const std::string& what) {
    const auto exact = exact_backups(what);
    std::set<std::string> all;
    for (const TestSource* source : {&source_, &other_}) {
      for (const auto& [id, content] : source->backups()) all.insert(source->name() + "/" + id);
    }
    std::set<std::string> broken = all;
    for (const auto& e : exact) broken.erase(e);
    const std::set<std::string> restorable(report.restorable.begin(), report.restorable.end());
    std::set<std::string> told(report.broken.begin(), report.broken.end());
    bool way_in = true;  // what only a person without the key at hand would notice
    for (const auto& p : report.problems)
      way_in = way_in && !p.object.starts_with("keys/") && p.object != "varve.json";
    if (way_in) {
      EXPECT_EQ(restorable, exact) << text_of(report);
      for (const auto& t : told) EXPECT_TRUE(broken.contains(t)) << t;
      EXPECT_EQ(restorable.size() + told.size(), report.restorable.size() + report.broken.size());
    } else {
      EXPECT_TRUE(restorable.empty()) << text_of(report);
      return;
    }

    std::set<uint64_t> lost;
    bool merged_damaged = false, base_damaged = false;
    for (const auto& p : report.problems) {
      merged_damaged = merged_damaged || is_merged(p.object);
      for (const std::string& a : p.affects) {
        base_damaged = base_damaged || a.starts_with("app/2");
        if (!a.starts_with("app/txn:")) continue;
        uint64_t first = 0, last = 0;
        ASSERT_EQ(sscanf(a.c_str(), "app/txn:%lu-%lu", &first, &last), 2) << a;
        for (uint64_t t = first; t <= last; ++t) lost.insert(t);
      }
    }
    const auto states = exact_states(what);
    for (uint64_t t : states) EXPECT_FALSE(lost.contains(t)) << "txn " << t << text_of(report);
    if (merged_damaged || base_damaged)
      return;  // there may be a way that a restore does not choose by itself
    for (const auto& [txn, content] : source_.states())
      EXPECT_TRUE(states.contains(txn) || lost.contains(txn)) << "txn " << txn << text_of(report);
  }

  repo::TestRepository repository_{GetParam()};
  TestSource source_{repository_.repo, "app", 11}, other_{repository_.repo, "other", 12};
  std::string mark_, merged_;
  store::MemStore::Snapshot sound_;
};

TEST_P(Mutilation, ASoundRepositoryIsClean) {
  const VerifyReport report = run_verify(repository_.repo);
  EXPECT_TRUE(report.problems.empty()) << text_of(report);
  EXPECT_TRUE(report.notes.empty());
  EXPECT_EQ(report.restorable.size(), 4u);
  EXPECT_TRUE(report.broken.empty());
  EXPECT_EQ(report.unreferenced_objects, 0u);
  // Marks alone are not counted.
  EXPECT_EQ(report.objects, sound_.size() - 1);
  uint64_t bytes = 0;
  for (const auto& [key, object] : sound_) bytes += key == mark_ ? 0 : object.body->size();
  EXPECT_EQ(report.bytes, bytes);
  expect_true(report, "sound");
  EXPECT_TRUE(run_verify(repository_.repo, {.quick = true}).problems.empty());
  EXPECT_EQ(run_verify(repository_.repo, {.source = "app"}).restorable.size(), 3u);
}

TEST_P(Mutilation, ABitFlipped) {
  std::mt19937 random(1);
  for (const std::string& key : keys()) {
    const Buffer good = sound(key);
    const std::set<size_t> places{
        0, 21, good.size() / 2, good.size() - 30, good.size() - 1, random() % good.size()};
    for (size_t at : places) {
      if (at >= good.size()) continue;
      Buffer bad = good;
      bad[at] ^= static_cast<std::byte>(1u << random() % 8);
      repository_.overwrite(key, bad);
      expect_found(key, fmt::format("a bit flipped at {} of {} of", at, good.size()),
                   {"damaged", "truncated"}, at == 0 || at == good.size() / 2);
      heal();
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(Mutilation, CutShortOrLengthened) {
  for (const std::string& key : keys()) {
    const Buffer good = sound(key);
    for (size_t size : {size_t{0}, good.size() / 2, good.size() - 1}) {
      repository_.overwrite(key, ByteView(good).first(size));
      expect_found(key, fmt::format("cut to {} of {}:", size, good.size()),
                   key.starts_with("packs/") ? std::set<std::string>{"truncated"} : std::set<std::string>{},
                   size == good.size() / 2);
      heal();
    }
    Buffer longer = good;
    longer.push_back(std::byte{0});
    repository_.overwrite(key, longer);
    expect_found(key, "lengthened", {}, false);
    heal();
  }
}

TEST_P(Mutilation, Missing) {
  for (const std::string& key : keys()) {
    ASSERT_TRUE(store::remove_one(*repository_.mem, {}, key));
    const VerifyReport report = run_verify(repository_.repo);
    SCOPED_TRACE("missing " + key);
    const bool by_name = key.starts_with("packs/") || key == "varve.json" || key.starts_with("keys/") ||
                         (key.find("/log/") != std::string::npos && key != mark_ && !is_merged(key));
    if (by_name) {
      const VerifyProblem* problem = problem_of(report, key);
      EXPECT_NE(problem, nullptr) << text_of(report);
      if (problem) {
        EXPECT_EQ(problem->kind, key.find("/log/") != std::string::npos ? "gap" : "missing");
      }
      if (problem) {
        EXPECT_FALSE(problem->affects.empty());
      }
    } else {
      // A manifest that is gone whole, as by an expiry, a merged piece and a mark are not missed by anything.
      EXPECT_TRUE(report.problems.empty()) << text_of(report);
      if (key.starts_with("sources/app/backups/")) {
        heal();
        continue;
      }
    }
    expect_true(report, "missing " + key);
    heal();
  }
}

TEST_P(Mutilation, ALogWithoutItsBases) {
  for (const auto& [id, content] : source_.backups())
    ASSERT_TRUE(store::remove_one(*repository_.mem, {}, repo::manifest_key("app", id)));
  const VerifyReport report = run_verify(repository_.repo);
  const VerifyProblem* problem = problem_of(report, repo::log_prefix("app", source_.epoch()));
  ASSERT_NE(problem, nullptr) << text_of(report);
  EXPECT_EQ(problem->kind, "missing");
  EXPECT_EQ(problem->affects, std::vector<std::string>{fmt::format("app/txn:2-{}", source_.txn())});
  EXPECT_EQ(report.restorable.size(), 1u);
  EXPECT_GT(report.unreferenced_objects, 0u);  // their packs
}

TEST_P(Mutilation, Swapped) {
  for (const char* folder : {"packs/", "sources/app/backups/", "sources/app/log/", "events/"}) {
    const auto names = keys(folder);
    for (size_t i = 0; i + 1 < names.size(); ++i) {
      if (names[i + 1] == mark_) continue;
      repository_.overwrite(names[i], sound(names[i + 1]));
      repository_.overwrite(names[i + 1], sound(names[i]));
      // Packs of different size betray themselves by that.
      const std::set<std::string> kinds{"swapped", "truncated", "damaged"};
      const bool sized =
          names[i].starts_with("packs/") && sound(names[i]).size() != sound(names[i + 1]).size();
      expect_found(names[i], "swapped", sized ? kinds : std::set<std::string>{"swapped"});
      expect_found(names[i + 1], "swapped", sized ? kinds : std::set<std::string>{"swapped"});
      heal();
    }
  }
}

TEST_P(Mutilation, OfAnotherRepository) {
  repo::TestRepository foreign(GetParam());
  TestSource same(foreign.repo, "app", 11);
  same.backup();
  same.pass(Seconds(10));
  same.change(6);
  same.begin_epoch();
  same.commit(2);
  std::map<std::string, Buffer> by_role;
  for (const std::string& name : foreign.names()) {
    const std::string role = name.find("/log/") != std::string::npos ? "log" : name.substr(0, name.find('/'));
    by_role.try_emplace(role, foreign.bytes(name));
  }
  for (const std::string& key : keys()) {
    const std::string role = key.find("/log/") != std::string::npos ? "log" : key.substr(0, key.find('/'));
    auto other = by_role.find(role);
    if (other == by_role.end() || key == mark_) continue;
    repository_.overwrite(key, other->second);
    // A key object says its own name; a pack of another size is found by that.
    const bool by_other_means = role == "keys" || role == "packs";
    expect_found(key, "foreign", by_other_means ? std::set<std::string>{} : std::set<std::string>{"foreign"});
    heal();
  }
}

TEST_P(Mutilation, QuickFindsEveryChangedByteToo) {
  for (const std::string& key : keys("packs/")) {
    for (size_t at : {size_t{3}, sound(key).size() / 2, sound(key).size() - 5}) {
      Buffer bad = sound(key);
      bad[at] ^= std::byte{16};
      repository_.overwrite(key, bad);
      const VerifyReport report = run_verify(repository_.repo, {.quick = true});
      const VerifyProblem* problem = problem_of(report, key);
      ASSERT_NE(problem, nullptr) << key << text_of(report);
      EXPECT_FALSE(problem->affects.empty());
      EXPECT_FALSE(report.broken.empty());
      heal();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, Mutilation,
                         ::testing::Values(repo::Encryption::kAes256Gcm, repo::Encryption::kNone),
                         [](const auto& kind) {
                           return kind.param == repo::Encryption::kNone ? "none" : "aes256gcm";
                         });

class VerifyTest : public ::testing::Test {
 protected:
  repo::TestRepository repository_{repo::Encryption::kNone};
  TestSource source_{repository_.repo, "app", 21};
};

TEST_F(VerifyTest, OneDamagedFrameBreaksOnlyTheBackupsThatUseIt) {
  const std::string full = source_.backup();
  source_.pass(Seconds(1));
  source_.change(3);
  const std::string incremental = source_.backup(full);
  const auto m = repo::load_manifest(*repository_.repo, {}, "app", incremental);
  ASSERT_TRUE(m);
  // The pack that only the incremental wrote.
  for (const auto& p : m->packs) {
    if (repo::writer_of(p.id).hex() != m->writer) continue;
    Buffer bytes = repository_.bytes(repo::pack_key(p.id));
    bytes[100] ^= std::byte{1};
    repository_.overwrite(repo::pack_key(p.id), bytes);
    const VerifyReport report = run_verify(repository_.repo);
    ASSERT_EQ(report.problems.size(), 1u) << text_of(report);
    EXPECT_EQ(report.problems[0].affects, std::vector<std::string>{"app/" + incremental});
    EXPECT_EQ(report.restorable, std::vector<std::string>{"app/" + full});
    EXPECT_NE(report.problems[0].message.find("1 of "), std::string::npos) << report.problems[0].message;
    EXPECT_NE(report.problems[0].message.find("damaged or forged"), std::string::npos);
  }
}

TEST_F(VerifyTest, WhatInterruptedWorkLeftIsCountedNotBlamed) {
  source_.backup();
  const auto id = repo::pack_id(repo::WriterId{}, 7);
  ASSERT_TRUE(store::put_bytes(*repository_.mem, {}, repo::pack_key(id), as_bytes("left behind")));
  ASSERT_TRUE(store::put_bytes(*repository_.mem, {}, "README.txt", as_bytes("somebody's")));
  VerifyReport report = run_verify(repository_.repo);
  EXPECT_TRUE(report.problems.empty()) << text_of(report);
  EXPECT_EQ(report.unreferenced_objects, 1u);
  EXPECT_EQ(report.unreferenced_bytes, 11u);
  ASSERT_EQ(report.notes.size(), 1u);
  EXPECT_TRUE(report.notes[0].starts_with("README.txt"));
}

TEST_F(VerifyTest, APackThatACollectionTookIsCalledCondemned) {
  const std::string id = source_.backup();
  const auto m = repo::load_manifest(*repository_.repo, {}, "app", id);
  const repo::PackId victim = m->packs.front().id;
  repo::CollectionPlan plan;
  plan.id = "20261101-000000-gc";
  plan.created = plan.not_before = TestSource::start();
  plan.packs = {victim};
  ASSERT_TRUE(repo::put_plan(*repository_.repo, {}, plan));
  repo::CollectionOutcome outcome;
  outcome.id = plan.id;
  outcome.removed = {victim};
  ASSERT_TRUE(repo::put_done(*repository_.repo, {}, outcome));
  ASSERT_TRUE(store::remove_one(*repository_.mem, {}, repo::pack_key(victim)));
  const VerifyReport report = run_verify(repository_.repo);
  ASSERT_EQ(report.problems.size(), 1u) << text_of(report);
  EXPECT_EQ(report.problems[0].kind, "condemned");
  EXPECT_EQ(report.problems[0].affects, std::vector<std::string>{"app/" + id});
}

TEST_F(VerifyTest, ALogThatLostItsEndIsFoundByItsMark) {
  source_.begin_epoch();
  source_.commit(2);
  const std::string last = source_.commit(3);
  source_.mark();
  ASSERT_TRUE(store::remove_one(*repository_.mem, {}, last));
  const VerifyReport report = run_verify(repository_.repo);
  ASSERT_EQ(report.problems.size(), 1u) << text_of(report);
  EXPECT_EQ(report.problems[0].object, last);
  EXPECT_EQ(report.problems[0].kind, "gap");
  EXPECT_EQ(report.problems[0].affects, std::vector<std::string>{"app/txn:4-6"});
}

TEST_F(VerifyTest, ADamagedPieceHidesOnlyTheStatesBehindIt) {
  const std::string base = source_.begin_epoch();
  source_.commit(2);
  const std::string bad = source_.commit(2);
  source_.commit(1);
  source_.backup(base, true);
  source_.commit(1);
  Buffer bytes = repository_.bytes(bad);
  bytes[bytes.size() / 2] ^= std::byte{2};
  repository_.overwrite(bad, bytes);
  const VerifyReport report = run_verify(repository_.repo);
  ASSERT_EQ(report.problems.size(), 1u) << text_of(report);
  EXPECT_EQ(report.problems[0].affects, std::vector<std::string>{"app/txn:4-5"});
  EXPECT_EQ(report.restorable.size(), 2u);
}

TEST_F(VerifyTest, AnUnreachableStoreIsAnErrorOfTheCall) {
  source_.backup();
  auto faulty = std::make_shared<store::FaultStore>(repository_.mem);
  auto repo = repository_.open(faulty);
  ASSERT_TRUE(repo);
  faulty->clear_calls();
  Progress progress;
  ASSERT_TRUE(verify(*repo, {}, {}, progress));
  const size_t calls = faulty->calls().size();
  for (size_t n = 1; n <= calls; ++n) {
    faulty->set_policy(
        store::fault_at(n, {.what = store::Fault::What::kFail, .error = store::transient_error()}));
    auto report = verify(*repo, {}, {.workers = 1}, progress);
    ASSERT_FALSE(report) << "call " << n << " of " << calls << text_of(*report);
    EXPECT_EQ(report.error().code, Code::kUnreachable);
  }
}

TEST_F(VerifyTest, AnUnknownSource) {
  source_.backup();
  Progress progress;
  auto report = verify(repository_.repo, {}, {.source = "apq"}, progress);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Code::kNotFound);
  EXPECT_NE(report.error().hint.find("app"), std::string::npos);
}

TEST(VerifyLocal, EveryFileOfAFolder) {
  auto folder = os::TempDir::create();
  ASSERT_TRUE(folder);
  auto store = store::LocalStore::open(folder->path() / "repo", true);
  ASSERT_TRUE(store);
  auto repo = repo::Repository::create({}, *store, {}, {repo::Encryption::kNone});
  ASSERT_TRUE(repo);
  TestSource source(*repo, "app", 31);
  const std::string base = source.begin_epoch();
  source.commit(2);
  source.change();
  source.backup(base, true);
  EXPECT_TRUE(run_verify(*repo).problems.empty());
  std::vector<store::Key> keys;
  ASSERT_TRUE(store::for_each(**store, {}, "", [&](const store::ObjectInfo& o) -> Result<> {
    keys.push_back(o.key);
    return {};
  }));
  for (const std::string& key : keys) {
    const auto path = folder->path() / "repo" / key;
    const Buffer good = *store::get_bytes(**store, {}, key, 1 << 20);
    Buffer bad = good;
    bad[bad.size() / 2] ^= std::byte{32};
    for (const Buffer& content : {bad, good}) {
      ASSERT_TRUE(std::filesystem::remove(path));
      std::ofstream(path, std::ios::binary)
          .write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
      const VerifyReport report = run_verify(*repo);
      if (content == good) {
        EXPECT_TRUE(report.problems.empty()) << text_of(report);
      } else {
        EXPECT_NE(problem_of(report, key), nullptr) << key << text_of(report);
      }
    }
  }
}

}  // namespace
}  // namespace varve::backup
