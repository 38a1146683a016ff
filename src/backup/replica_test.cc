// One repository in two stores, each of which has lost something: what both have between them restores
// exactly, and what neither has intact is refused.
#include <algorithm>

#include "backup/copy.h"
#include "backup/source_for_test.h"
#include "store/wrap/fallback.h"
#include "store/wrap/fault.h"

namespace varve::backup {
namespace {

using store::FaultStore;
using store::MemStore;

class Replicas : public ::testing::Test {
 protected:
  void SetUp() override {
    app_.backup();
    app_.pass(Seconds(10));
    app_.change(6);
    const std::string base = app_.begin_epoch();
    app_.commit(2);
    spare_.push_back(app_.commit(1));
    spare_.push_back(app_.merge(2));
    app_.pass(Seconds(10));
    app_.backup(base, true);
    app_.commit(2);
    app_.mark();
    Progress progress;
    auto copied = copy({}, t_.mem, other_, {}, progress);
    ASSERT_TRUE(copied) << copied.error().describe();
    ASSERT_TRUE(copied->problems.empty());
    for (const std::string& key : t_.names())
      if (!key.starts_with("pins/") && !key.starts_with("events/")) keys_.push_back(key);
    main_sound_ = t_.mem->snapshot();
    other_sound_ = other_->snapshot();
  }

  static void put(MemStore& s, const std::string& key, ByteView bytes) {
    ASSERT_TRUE(store::put_bytes(s, {}, key, bytes, {.mode = store::PutMode::kUnconditional}));
  }
  void flip(MemStore& s, const std::string& key) const {
    Buffer bytes = *store::get_bytes(s, {}, key, 1 << 30);
    bytes[bytes.size() / 2] ^= std::byte{2};
    put(s, key, bytes);
  }
  void heal() {
    t_.mem->restore(main_sound_);
    other_->restore(other_sound_);
  }

  // Everything that was ever stored, exact.
  Result<> restore_all(const store::StorePtr& main) const {
    const auto both = store::with_fallback(main, {other_});
    TRY_ASSIGN(const repo::RepositoryPtr repo, t_.open(both));
    TRY_ASSIGN(const SourceState state, load_source(*repo, {}, "app"));
    for (const auto& u : state.backups.unreadable)
      return fail(Code::kDamaged, fmt::format("{}: {}", u.key, u.error.describe()));
    if (state.backups.manifests.size() != app_.backups().size())
      return fail(Code::kNotFound, "a backup is not listed");
    for (const auto& [id, expected] : app_.backups()) {
      TRY_ASSIGN(const Databases got, app_.restore(repo, id));
      if (got != expected) return fail(Code::kInternal, "another state than was backed up: " + id);
    }
    for (const auto& [txn, expected] : app_.states()) {
      TRY_ASSIGN(const Databases got, app_.restore(repo, state, txn));
      if (got != expected) return fail(Code::kInternal, "another state than was committed");
    }
    return {};
  }
  void expect_all(const std::string& what, const store::StorePtr& main = nullptr) {
    const auto done = restore_all(main ? main : t_.mem);
    EXPECT_TRUE(done) << what << ": " << done.error().describe();
  }

  repo::TestRepository t_;
  TestSource app_{t_.repo, "app", 1};
  std::shared_ptr<MemStore> other_ = std::make_shared<MemStore>("other");
  std::vector<std::string> keys_, spare_;
  MemStore::Snapshot main_sound_, other_sound_;
};

TEST_F(Replicas, EachObjectDamagedInTurn) {
  for (const std::string& key : keys_) {
    flip(*t_.mem, key);
    expect_all(key + " with a bit flipped");
    heal();
    const Buffer bytes = t_.bytes(key);
    for (size_t at : {size_t{0}, size_t{9}, bytes.size() - 30, bytes.size() - 1}) {
      Buffer bad = bytes;
      bad[at] ^= std::byte{1};
      put(*t_.mem, key, bad);
      expect_all(fmt::format("{} with byte {} changed", key, at));
    }
    heal();
    for (size_t size : {size_t{0}, bytes.size() / 2, bytes.size() - 1}) {
      put(*t_.mem, key, ByteView(bytes).first(size));
      expect_all(fmt::format("{} cut to {}", key, size));
    }
    heal();
    put(*t_.mem, key, [&] {
      Buffer longer = bytes;
      longer.push_back(std::byte{0});
      return longer;
    }());
    expect_all(key + " with a byte more");
    heal();
    ASSERT_TRUE(store::remove_one(*t_.mem, {}, key));
    expect_all(key + " gone");
    heal();
  }
}

TEST_F(Replicas, EachObjectUnreadableInTurn) {
  for (const std::string& key : keys_) {
    for (const Error& error : {store::transient_error(), Error{Code::kIo, "a bad sector, said the test"},
                               Error{Code::kDenied, "not yours, said the test"}}) {
      const auto main = std::make_shared<FaultStore>(t_.mem);
      main->set_policy(store::only_keys(key, [&](const store::StoreCall& call) {
        const bool get = call.kind == store::CallKind::kGet || call.kind == store::CallKind::kHead;
        return store::Fault{.what = get ? store::Fault::What::kFail : store::Fault::What::kNone,
                            .error = error};
      }));
      expect_all(key + ": " + error.message, main);
    }
    const auto cut = std::make_shared<FaultStore>(t_.mem);
    cut->set_policy(store::only_keys(key, [](const store::StoreCall&) {
      return store::Fault{.what = store::Fault::What::kShortBody, .error = {}, .bytes = 7};
    }));
    expect_all(key + ": short bodies", cut);
  }
}

TEST_F(Replicas, TheFirstIsAwayFromAnyCallOn) {
  const auto counting = std::make_shared<FaultStore>(t_.mem);
  expect_all("sound", counting);
  const size_t calls = counting->calls().size();
  for (size_t n = 1; n <= calls; n += 1 + n / 20) {
    const auto main = std::make_shared<FaultStore>(t_.mem);
    main->set_policy([n](const store::StoreCall& call) {
      return store::Fault{.what = call.index < n ? store::Fault::What::kNone : store::Fault::What::kFail,
                          .error = store::transient_error()};
    });
    expect_all(fmt::format("away from call {} on", n), main);
  }
}

TEST_F(Replicas, AllOfTheFirstIsGone) {
  t_.mem->restore({});
  expect_all("an empty first");
}

TEST_F(Replicas, EachHasLostOther) {
  for (size_t i = 0; i < keys_.size(); ++i) {
    for (size_t j = 0; j < keys_.size(); j += 1 + (i + j) % 3) {
      if (i == j) continue;
      flip(*t_.mem, keys_[i]);
      if (j % 2) {
        flip(*other_, keys_[j]);
      } else {
        ASSERT_TRUE(store::remove_one(*other_, {}, keys_[j]));
      }
      expect_all(fmt::format("{} here, {} there", keys_[i], keys_[j]));
      heal();
    }
  }
  // Half of everything here, the other half there.
  for (size_t i = 0; i < keys_.size(); ++i) flip(i % 2 ? *other_ : *t_.mem, keys_[i]);
  expect_all("every second object");
}

// What is named below sources/*/log/ costs no state where a backup stands at its end, or another piece has
// it.
bool is_spare(const std::string& key, const std::vector<std::string>& spare) {
  return key.find("/mark-") != key.npos || std::find(spare.begin(), spare.end(), key) != spare.end();
}

TEST_F(Replicas, WhatNeitherHasIntactIsRefused) {
  for (const std::string& key : keys_) {
    if (is_spare(key, spare_)) continue;
    flip(*t_.mem, key);
    flip(*other_, key);
    const auto done = restore_all(t_.mem);
    ASSERT_FALSE(done) << key;
    EXPECT_NE(done.error().code, Code::kInternal) << key << ": " << done.error().describe();
    EXPECT_NE(done.error().describe().find(key), std::string::npos)
        << "it is named: " << key << ": " << done.error().describe();
    heal();
  }
}

TEST_F(Replicas, ForeignObjectsAreNoReplacement) {
  repo::TestRepository foreign;
  TestSource strange(foreign.repo, "app", 7);
  strange.backup();
  const std::string pack = foreign.names("packs/").front();
  for (const std::string& key : keys_) {
    if (!key.starts_with("packs/")) continue;
    flip(*t_.mem, key);
    put(*other_, key, foreign.bytes(pack));
    const auto done = restore_all(t_.mem);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Code::kDamaged) << done.error().describe();
    heal();
  }
}

TEST_F(Replicas, WhatCameFromWhereIsCounted) {
  const std::string pack = t_.names("packs/").front();
  flip(*t_.mem, pack);
  const auto both = store::with_fallback(t_.mem, {other_});
  auto repo = t_.open(both);
  ASSERT_TRUE(repo);
  for (const auto& [id, expected] : app_.backups()) EXPECT_TRUE(app_.restore(*repo, id));
  EXPECT_EQ(both->uses()[0].objects, 1u);
  EXPECT_EQ(both->uses()[0].store, "mem://other");
}

}  // namespace
}  // namespace varve::backup
