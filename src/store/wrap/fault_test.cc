#include "store/wrap/fault.h"

#include <gtest/gtest.h>

#include "store/mem/mem_store.h"

namespace varve::store {
namespace {

using What = Fault::What;

class FaultStoreTest : public ::testing::Test {
 protected:
  Result<> put(const Key& key) { return put_bytes(store, ctx, key, as_bytes("0123456789")); }
  bool there(const Key& key) { return *exists(*mem, ctx, key); }
  Context ctx;
  std::shared_ptr<MemStore> mem = std::make_shared<MemStore>();
  FaultStore store{mem};
};

TEST_F(FaultStoreTest, RecordsTheCalls) {
  ASSERT_TRUE(put("a"));
  (void)store.list(ctx, "pre", "", 1);
  const std::vector<Key> two = {"a", "b"};
  (void)store.remove(ctx, two);
  auto calls = store.calls();
  ASSERT_EQ(calls.size(), 3u);
  EXPECT_EQ(calls[0].kind, CallKind::kPut);
  EXPECT_EQ(calls[0].bytes, 10u);
  EXPECT_EQ(calls[1].key, "pre");
  EXPECT_EQ(calls[2].bytes, 2u);
  EXPECT_EQ(calls[2].index, 3u);
  store.clear_calls();
  EXPECT_TRUE(store.calls().empty());
}

TEST_F(FaultStoreTest, TheNthCallFails) {
  store.set_policy(fault_at(2, {.what = What::kFail, .error = transient_error()}));
  EXPECT_TRUE(put("a"));
  EXPECT_FALSE(put("b"));
  EXPECT_TRUE(put("c"));
  EXPECT_FALSE(there("b"));
}

TEST_F(FaultStoreTest, ALostReplyIsCarriedOut) {
  store.set_policy(fault_at(1, {.what = What::kLoseReply, .error = transient_error()}));
  EXPECT_EQ(put("a").error().retry, Retry::kTransient);
  EXPECT_TRUE(there("a"));
}

TEST_F(FaultStoreTest, BodiesEndEarly) {
  ASSERT_TRUE(put("a"));
  for (What what : {What::kCutBody, What::kShortBody}) {
    store.set_policy(fault_at(1, {.what = what, .error = transient_error(), .bytes = 4}));
    std::string got;
    auto done = store.get(ctx, "a", {}, [&](ByteView piece) -> Result<> {
      got += as_text(piece);
      return {};
    });
    EXPECT_EQ(got, "0123");
    EXPECT_EQ(done.has_value(), what == What::kShortBody);
  }
}

TEST_F(FaultStoreTest, NothingHappensAfterAKill) {
  store.set_policy(killed_at(2));
  EXPECT_TRUE(put("a"));
  EXPECT_EQ(put("b").error().code, Code::kInterrupted);
  EXPECT_FALSE(store.head(ctx, "a"));
  EXPECT_FALSE(there("b"));
  store.set_policy(killed_at(1, true));
  EXPECT_FALSE(put("c"));
  EXPECT_FALSE(put("d"));
  EXPECT_TRUE(there("c"));
  EXPECT_FALSE(there("d"));
}

TEST_F(FaultStoreTest, FullStoresStillRemove) {
  ASSERT_TRUE(put("a"));
  store.set_policy(full_from(1));
  EXPECT_EQ(put("b").error().code, Code::kNoSpace);
  EXPECT_TRUE(remove_one(store, ctx, "a"));
}

TEST_F(FaultStoreTest, PoliciesForSomeCallsCountOnlyThose) {
  store.set_policy(
      only(CallKind::kPut, only_keys("m/", fault_at(2, {.what = What::kFail, .error = transient_error()}))));
  EXPECT_TRUE(put("m/1"));
  EXPECT_TRUE(put("x"));
  EXPECT_FALSE(store.head(ctx, "m/2"));
  EXPECT_FALSE(put("m/2"));
  EXPECT_TRUE(put("m/3"));
}

TEST_F(FaultStoreTest, ASeedRepeatsItself) {
  auto failures = [&](uint64_t seed) {
    store.set_policy(fault_randomly(0.3, seed, {.what = What::kFail, .error = transient_error()}));
    std::string out;
    for (int i = 0; i < 200; ++i) out += store.list(ctx, "", "", 1) ? '.' : 'x';
    return out;
  };
  const std::string one = failures(1);
  EXPECT_EQ(one, failures(1));
  EXPECT_NE(one, failures(2));
  EXPECT_NEAR(static_cast<double>(std::count(one.begin(), one.end(), 'x')), 60, 35);
}

}  // namespace
}  // namespace varve::store
