// The decorators with little to them: throttle, metrics, readonly, cache.
#include <gtest/gtest.h>
#include <thread>

#include "store/mem/mem_store.h"
#include "store/wrap/cache.h"
#include "store/wrap/fault.h"
#include "store/wrap/metrics.h"
#include "store/wrap/readonly.h"
#include "store/wrap/throttle.h"

namespace varve::store {
namespace {

using namespace std::chrono_literals;

Context bounded() {
  return Context{}.with_deadline(20s);
}
std::string text(Store& s, const Key& key, Range range = {}) {
  auto bytes = get_bytes(s, bounded(), key, 1 << 24, range);
  return bytes ? std::string(as_text(*bytes)) : "<" + bytes.error().describe() + ">";
}

TEST(Throttle, BothWaysStayBelowTheRate) {
  auto store = with_throttle(std::make_shared<MemStore>(), [] { return 1'000'000; });
  const std::string body(50'000, 'x');
  auto begin = SteadyClock::now();
  for (const char* key : {"a", "b", "c"}) ASSERT_TRUE(put_bytes(*store, bounded(), key, as_bytes(body)));
  EXPECT_GE(SteadyClock::now() - begin, 100ms);  // the third waits for the first two
  begin = SteadyClock::now();
  EXPECT_EQ(text(*store, "a"), body);
  EXPECT_GE(SteadyClock::now() - begin, 50ms);  // for the third put
  std::this_thread::sleep_for(200ms);           // not saved up: two bodies still take the time of one
  begin = SteadyClock::now();
  ASSERT_TRUE(put_bytes(*store, bounded(), "d", as_bytes(body)));
  ASSERT_TRUE(put_bytes(*store, bounded(), "e", as_bytes(body)));
  EXPECT_GE(SteadyClock::now() - begin, 50ms);
}

TEST(Throttle, WaitingEndsWithTheDeadline) {
  auto store = with_throttle(std::make_shared<MemStore>(), [] { return 10; });
  ASSERT_TRUE(put_bytes(*store, bounded(), "a", as_bytes("0123456789012345678901234567890123456789")));
  const auto begin = SteadyClock::now();
  auto late = put_bytes(*store, Context{}.with_deadline(50ms), "b", as_bytes("x"));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kUnreachable);
  EXPECT_LT(SteadyClock::now() - begin, 3s);
}

TEST(Metrics, CountsCallsBytesAndFailures) {
  auto faulty = std::make_shared<FaultStore>(std::make_shared<MemStore>());
  auto metrics = std::make_shared<Metrics>();
  auto store = with_metrics(faulty, metrics);
  ASSERT_TRUE(put_bytes(*store, bounded(), "a", as_bytes("12345")));
  EXPECT_FALSE(put_bytes(*store, bounded(), "a", as_bytes("12345")));
  EXPECT_EQ(text(*store, "a", {1, 3}), "234");
  EXPECT_FALSE(store->head(bounded(), "absent"));
  ASSERT_TRUE(store->list(bounded(), "", "", 10));
  faulty->set_policy(fault_at(
      1, {.what = Fault::What::kFail, .error = transient_error(), .delay = std::chrono::milliseconds(20)}));
  EXPECT_FALSE(remove_one(*store, bounded(), "a"));
  const MetricsSnapshot s = metrics->snapshot();
  EXPECT_EQ(s.of(CallKind::kPut).calls, 2u);
  EXPECT_EQ(s.of(CallKind::kPut).bytes, 5u);
  EXPECT_EQ(s.of(CallKind::kPut).failures, 0u) << "a taken key is an answer";
  EXPECT_EQ(s.of(CallKind::kGet).bytes, 3u);
  EXPECT_EQ(s.of(CallKind::kHead).calls, 1u);
  EXPECT_EQ(s.of(CallKind::kList).bytes, 1u);
  EXPECT_EQ(s.of(CallKind::kRemove).failures, 1u);
  EXPECT_GE(s.of(CallKind::kRemove).longest, 20ms);
  EXPECT_GE(s.of(CallKind::kRemove).total, s.of(CallKind::kRemove).longest);
  EXPECT_EQ(s.of(CallKind::kExtend).calls, 0u);
  EXPECT_STREQ(call_name(CallKind::kExtend), "extend");
}

TEST(ReadOnly, RefusesEveryChange) {
  auto mem = std::make_shared<MemStore>();
  ASSERT_TRUE(put_bytes(*mem, bounded(), "a", as_bytes("x")));
  auto store = with_readonly(mem);
  for (const auto& refused :
       {put_bytes(*store, bounded(), "b", as_bytes("x")), remove_one(*store, bounded(), "a"),
        store->extend_retention(bounded(), "a", now() + 1h)}) {
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kDenied);
    EXPECT_FALSE(refused.error().hint.empty());
  }
  EXPECT_EQ(text(*store, "a"), "x");
  EXPECT_TRUE(store->head(bounded(), "a"));
  EXPECT_EQ(store->list(bounded(), "", "", 10)->objects.size(), 1u);
}

class CacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* key : {"a", "b", "c"}) ASSERT_TRUE(put_bytes(*mem, bounded(), key, as_bytes(body(key))));
    ASSERT_TRUE(put_bytes(*mem, bounded(), "large", as_bytes(std::string(5000, 'l'))));
  }
  static std::string body(const std::string& key) { return std::string(1000, key[0]); }
  size_t gets() {
    size_t n = 0;
    for (const StoreCall& c : faulty->calls()) n += c.kind == CallKind::kGet;
    return n;
  }
  std::shared_ptr<MemStore> mem = std::make_shared<MemStore>();
  std::shared_ptr<FaultStore> faulty = std::make_shared<FaultStore>(mem);
  std::shared_ptr<CacheStore> store = with_cache(faulty, {.most_bytes = 3000, .most_each = 1500});
};

TEST_F(CacheTest, AsksOnceForWhatIsSmall) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(text(*store, "a"), body("a"));
    EXPECT_EQ(text(*store, "a", {10, 5}), "aaaaa");
    EXPECT_EQ(text(*store, "a", {2000, 5}), "");
    EXPECT_EQ(text(*store, "large").size(), 5000u);
    EXPECT_EQ(text(*store, "large", {0, 4000}).size(), 4000u);
  }
  EXPECT_EQ(gets(), 3u + 3u + 3u);
  EXPECT_EQ(store->stats().hits, 6u);
}

TEST_F(CacheTest, HoldsItsBoundAndDropsTheLeastUsed) {
  (void)text(*store, "a");
  (void)text(*store, "b");
  (void)text(*store, "a");
  (void)text(*store, "c");  // drops b
  EXPECT_LE(store->stats().bytes, 3000u);
  EXPECT_EQ(store->stats().entries, 2u);
  const size_t before = gets();
  (void)text(*store, "a");
  EXPECT_EQ(gets(), before);
  (void)text(*store, "b");
  EXPECT_EQ(gets(), before + 1);
}

TEST_F(CacheTest, RemovalAndReplacementForget) {
  (void)text(*store, "a");
  (void)text(*store, "a", {0, 10});
  ASSERT_TRUE(remove_one(*store, bounded(), "a"));
  EXPECT_NE(text(*store, "a").find("there is no a"), std::string::npos);
  (void)text(*store, "b");
  ASSERT_TRUE(put_bytes(*store, bounded(), "b", as_bytes("new"), {.mode = PutMode::kUnconditional}));
  EXPECT_EQ(text(*store, "b"), "new");
}

TEST_F(CacheTest, FailuresAndShortBodiesAreNotKept) {
  faulty->set_policy(fault_at(1, {.what = Fault::What::kShortBody, .bytes = 10}));
  EXPECT_NE(text(*store, "a"), body("a"));
  EXPECT_EQ(text(*store, "a"), body("a"));
  EXPECT_EQ(store->get(bounded(), "b", {}, [](ByteView) -> Result<> { return fail(Code::kDamaged, "no"); })
                .error()
                .code,
            Code::kDamaged);
  EXPECT_EQ(store->stats().entries, 1u);
  EXPECT_FALSE(store->head(bounded(), "absent"));
}

}  // namespace
}  // namespace varve::store
