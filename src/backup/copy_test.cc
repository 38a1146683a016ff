// A copy is whole at every instant, and so is what a run that was cut leaves.
#include "backup/copy.h"

#include <set>

#include "backup/copy_lag.h"
#include "backup/source_for_test.h"
#include "backup/verify.h"
#include "repo/collect.h"
#include "repo/config.h"
#include "repo/copy_pin.h"
#include "repo/events.h"
#include "repo/hold.h"
#include "store/wrap/fault.h"

namespace varve::backup {
namespace {

using store::FaultStore;
using store::MemStore;

CopyReport run_copy(const store::StorePtr& from, const store::StorePtr& to, const CopyOptions& options = {}) {
  Progress progress;
  auto report = copy({}, from, to, options, progress);
  EXPECT_TRUE(report) << report.error().describe();
  return report.value_or(CopyReport{});
}

std::string text_of(const CopyReport& r) {
  std::string out;
  for (const auto& p : r.problems)
    out += fmt::format("\n  {} {} at {}: {}", p.kind, p.object, p.at, p.message);
  return out;
}

VerifyReport run_verify(const repo::RepositoryPtr& repo) {
  Progress progress;
  auto report = verify(repo, {}, {}, progress);
  EXPECT_TRUE(report) << report.error().describe();
  return report.value_or(VerifyReport{});
}

std::set<std::string> names(const MemStore& store) {
  std::set<std::string> out;
  for (const auto& [key, object] : store.snapshot()) out.insert(key);
  return out;
}

// As somebody does who takes every copy for ended.
void remove_copy_pins(store::Store& at_copy) {
  const auto copies = repo::list_copies({}, at_copy);
  ASSERT_TRUE(copies);
  for (const auto& c : *copies) EXPECT_TRUE(store::remove_one(at_copy, {}, repo::copy_key(c.id)));
}

bool is_left_alone(const std::string& key) {
  return key.starts_with("pins/") || key.starts_with("leases/") || key.starts_with("gc/") ||
         key.starts_with("copies/") || key.starts_with("probe/");
}

// Two sources, one of them followed, with a hold and an event; and what must come back from a copy of it.
class Copy : public ::testing::TestWithParam<bool> {
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
INSTANTIATE_TEST_SUITE_P(Key, Copy, ::testing::Bool(),
                         [](const auto& i) { return i.param ? "with" : "without"; });

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

TEST_P(Copy, DamagedAtTheOriginal) {
  const auto sound = t_.mem->snapshot();
  for (const auto& [key, object] : sound) {
    if (is_left_alone(key) || key == "varve.json") continue;
    t_.mem->restore(sound);
    to_ = std::make_shared<MemStore>("copy");
    Buffer bytes = t_.bytes(key);
    bytes[bytes.size() / 2] ^= std::byte{4};
    t_.overwrite(key, bytes);
    const CopyReport r = run_copy(t_.mem, to_, options());
    if (key.find("/mark-") == key.npos) {
      ASSERT_FALSE(r.problems.empty()) << key;
      bool named = false;
      for (const auto& p : r.problems) named = named || (p.object == key && p.kind == "damaged");
      EXPECT_TRUE(named) << key << text_of(r);
    }
    EXPECT_FALSE(names(*to_).contains(key)) << key;
    if (key.starts_with("keys/")) continue;  // the only one: it is not opened again
    // What is there of backups is whole, and the others came.
    auto repo = open_copy();
    ASSERT_TRUE(repo) << repo.error().describe();
    size_t backups = 0;
    for (TestSource* source : {&app_, &shop_}) {
      const auto ids = repo::list_backup_ids(**repo, {}, source->name());
      ASSERT_TRUE(ids);
      for (const std::string& id : *ids) {
        auto back = source->restore(*repo, id);
        EXPECT_TRUE(back) << key << ": " << back.error().describe();
        ++backups;
      }
    }
    if (key.find("/backups/") != key.npos) {
      EXPECT_EQ(backups, 3u);
    } else if (!key.starts_with("packs/")) {
      EXPECT_EQ(backups, 4u);
    } else if (keyed()) {
      EXPECT_GE(backups, 1u);
      EXPECT_LT(backups, 4u);
    } else {
      EXPECT_EQ(backups, 0u) << "without the key it cannot be told which need it";
      EXPECT_FALSE(r.notes.empty());
    }
    // Mended, the rest follows.
    t_.mem->restore(sound);
    copy_all();
    expect_sound(true);
  }
}

TEST_P(Copy, AMissingPack) {
  // Of a source without a log: where a log's base is lost, its log is copied for the backups that stand on
  // it, and stands without it at the copy too.
  const auto backups = repo::load_manifests(*t_.repo, {}, shop_.name());
  ASSERT_TRUE(backups);
  const std::string pack = repo::pack_key(backups->manifests.back().packs.back().id);
  ASSERT_TRUE(store::remove_one(*t_.mem, {}, pack));
  const CopyReport r = run_copy(t_.mem, to_, options());
  if (!keyed()) return;  // cannot be noticed
  ASSERT_EQ(r.problems.size(), 1u) << text_of(r);
  EXPECT_EQ(r.problems[0].object, pack);
  EXPECT_EQ(r.problems[0].kind, "missing");
  EXPECT_FALSE(r.problems[0].affects.empty());
  expect_sound(false);
}

// A store that stores something else than it was given, once in a while.
class Lossy : public store::Forward {
 public:
  Lossy(store::StorePtr inner, uint64_t at) : Forward(std::move(inner)), left_(at) {}
  Result<> put(const Context& ctx, const store::Key& key, store::Body body,
               const store::PutOptions& options) override {
    if (key.starts_with("copies/") || --left_ != 0) return inner().put(ctx, key, body, options);
    struck = key;
    Buffer bytes;
    for (const ByteView& part : body) append(bytes, part);
    bytes[bytes.size() / 2] ^= std::byte{1};
    return store::put_bytes(inner(), ctx, key, bytes, options);
  }
  std::string struck;

 private:
  std::atomic<uint64_t> left_;
};

TEST_P(Copy, VerifiedOnArrival) {
  const size_t all = copy_all().objects;
  for (uint64_t n = 1; n < all; n += 3) {
    to_ = std::make_shared<MemStore>("copy");
    const auto lossy = std::make_shared<Lossy>(to_, n);
    const CopyReport r = run_copy(t_.mem, lossy, options());
    ASSERT_EQ(r.problems.size(), 1u) << text_of(r);
    EXPECT_EQ(r.problems[0].object, lossy->struck);
    EXPECT_EQ(r.problems[0].at, "mem://copy");
    EXPECT_FALSE(names(*to_).contains(lossy->struck)) << "it must not pass for a good one";
    copy_all();
    expect_sound(true);
  }
}

TEST_P(Copy, DeepFindsWhatWasDamagedAtEitherAndRepairs) {
  copy_all();
  const auto sound = to_->snapshot();
  const auto original = t_.mem->snapshot();
  CopyOptions deep = options();
  deep.deep = true;
  EXPECT_TRUE(run_copy(t_.mem, to_, deep).problems.empty());
  for (const auto& [key, object] : sound) {
    if (key == "varve.json" || key.find("/holds/") != key.npos || key.find("/mark-") != key.npos) continue;
    SCOPED_TRACE(key);
    Buffer bytes = t_.bytes(key);
    bytes[bytes.size() / 2] ^= std::byte{4};
    // At the copy.
    ASSERT_TRUE(store::put_bytes(*to_, {}, key, bytes, {.mode = store::PutMode::kUnconditional}));
    const CopyReport found = run_copy(t_.mem, to_, deep);
    ASSERT_EQ(found.problems.size(), 1u) << text_of(found);
    EXPECT_EQ(found.problems[0].object, key);
    EXPECT_EQ(found.problems[0].at, "mem://copy");
    CopyOptions repair = deep;
    repair.repair = true;
    const CopyReport repaired = run_copy(t_.mem, to_, repair);
    EXPECT_TRUE(repaired.problems.empty()) << text_of(repaired);
    EXPECT_EQ(repaired.repaired, 1u);
    EXPECT_EQ(*store::get_bytes(*to_, {}, key, 1 << 30), t_.bytes(key));
    // At the original: the copy is left as it is.
    t_.overwrite(key, bytes);
    const CopyReport other = run_copy(t_.mem, to_, repair);
    ASSERT_EQ(other.problems.size(), 1u) << text_of(other);
    EXPECT_EQ(other.problems[0].at, t_.mem->describe());
    EXPECT_NE(*store::get_bytes(*to_, {}, key, 1 << 30), bytes);
    t_.mem->restore(original);
  }
  expect_sound(true);
}

TEST_P(Copy, ACutShortObjectAtTheCopyIsNoticedWithoutDeep) {
  copy_all();
  std::string piece;
  for (const std::string& key : names(*to_))
    if (key.find("/log/") != key.npos && key.find("/mark-") == key.npos) piece = key;
  const Buffer bytes = t_.bytes(piece);
  ASSERT_TRUE(
      store::put_bytes(*to_, {}, piece, ByteView(bytes).first(40), {.mode = store::PutMode::kUnconditional}));
  CopyOptions o = options();
  EXPECT_EQ(run_copy(t_.mem, to_, o).problems.size(), 1u);
  o.repair = true;
  EXPECT_EQ(run_copy(t_.mem, to_, o).repaired, 1u);
  expect_sound(true);
}

TEST_P(Copy, LockedForAsLongAsWasPromised) {
  CopyOptions o = options();
  o.retain = std::chrono::days(10);
  to_->set_clock([] { return now() - std::chrono::days(5); });
  EXPECT_TRUE(run_copy(t_.mem, to_, o).problems.empty());
  for (const auto& [key, object] : to_->snapshot()) {
    if (key.find("/holds/") != key.npos || key.find("/mark-") != key.npos) continue;
    ASSERT_TRUE(object.retain_until) << key;
    EXPECT_GT(*object.retain_until, now() + std::chrono::days(10)) << key;
  }
  to_->set_clock({});
  shop_.pass(Seconds(60));
  shop_.change(1);
  shop_.backup(shop_.backups().begin()->first);
  const auto counting = std::make_shared<FaultStore>(to_);
  const CopyReport r = run_copy(t_.mem, counting, o);
  EXPECT_EQ(r.backups, 1u);
  bool packs = false, manifest = false, keys = false;
  for (const auto& call : counting->calls()) {
    if (call.kind != store::CallKind::kExtend) continue;
    packs = packs || call.key.starts_with("packs/");
    manifest = manifest || call.key.find("/backups/") != call.key.npos;
    keys = keys || call.key.starts_with("keys/");
  }
  EXPECT_EQ(packs, keyed()) << "those that the new backup shares with the old one";
  EXPECT_TRUE(manifest);
  EXPECT_TRUE(keys);
  expect_sound(true);

  class Unable : public store::Forward {
   public:
    using Forward::Forward;
    store::Capabilities capabilities() const override { return {}; }
  };
  Progress progress;
  auto refused = copy({}, t_.mem, std::make_shared<Unable>(to_), o, progress);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnsupported);
}

// --- collections at the copy ---

TEST_P(Copy, KeepsOutOfTheWayOfCollections) {
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
TEST_P(Copy, WhatWasCondemnedThereIsPardoned) {
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

TEST_P(Copy, ItsPinTakenAwayItBeginsAnew) {
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

TEST_P(Copy, ItsPinTakenAwayJustThenTheBackupIsWithdrawn) {
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

TEST_P(Copy, WhatExpiresAndIsCollectedMeanwhileIsPassedOver) {
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

TEST_P(Copy, AnEpochThatBeginsMeanwhileWaits) {
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

TEST_P(Copy, AnUnreachableStoreEndsItAndItGoesOn) {
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
