#include "store/wrap/retry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <set>
#include <thread>

#include "store/mem/mem_store.h"
#include "store/wrap/fault.h"

namespace varve::store {
namespace {

using namespace std::chrono_literals;
using What = Fault::What;

class RetryTest : public ::testing::Test {
 protected:
  static Context bounded() { return Context{}.with_deadline(20s); }
  Result<> put(const Key& key, std::string_view text, const Context& ctx = bounded()) {
    return put_bytes(*store, ctx, key, as_bytes(text));
  }
  std::string stored(const Key& key) {
    return std::string(as_text(*get_bytes(*mem, bounded(), key, 1 << 20)));
  }

  std::shared_ptr<MemStore> mem = std::make_shared<MemStore>();
  std::shared_ptr<FaultStore> faulty = std::make_shared<FaultStore>(mem);
  StorePtr store = with_retry(faulty, {.most_tries = 4, .random = [] { return 0.0; }});
};

TEST_F(RetryTest, WhatPassesIsTriedAgain) {
  for (const Error& error : {transient_error(), throttled_error()}) {
    const Key key = error.retry == Retry::kTransient ? "a" : "b";
    faulty->clear_calls();
    faulty->set_policy([&](const StoreCall& c) {
      return c.index <= 3 ? Fault{.what = What::kFail, .error = error} : Fault{};
    });
    ASSERT_TRUE(put(key, "x"));
    EXPECT_EQ(faulty->calls().size(), 4u);
  }
}

TEST_F(RetryTest, WhatDoesNotPassIsReturnedAtOnce) {
  faulty->set_policy(full_from(1));
  EXPECT_EQ(put("a", "x").error().code, Code::kNoSpace);
  EXPECT_EQ(faulty->calls().size(), 1u);
  EXPECT_EQ(store->head(bounded(), "absent").error().code, Code::kNotFound);
  EXPECT_EQ(faulty->calls().size(), 2u);
}

TEST_F(RetryTest, TriesAreBoundedAndTold) {
  faulty->set_policy(fault_randomly(1, 1, {.what = What::kFail, .error = transient_error()}));
  auto done = put("a", "x");
  ASSERT_FALSE(done);
  EXPECT_EQ(faulty->calls().size(), 4u);
  EXPECT_EQ(done.error().code, Code::kUnreachable);
  EXPECT_NE(done.error().describe().find("tried 4 times"), std::string::npos) << done.error().describe();
}

TEST_F(RetryTest, TheBudgetIsShared) {
  faulty->set_policy(fault_randomly(1, 1, {.what = What::kFail, .error = transient_error()}));
  Context ctx = bounded();
  ctx.retry_budget = std::make_shared<std::atomic<int>>(4);
  EXPECT_FALSE(put("a", "x", ctx));
  EXPECT_FALSE(put("b", "x", ctx));
  EXPECT_FALSE(put("c", "x", ctx));
  // 4 tries, then 2 of which the second took the last of the budget, then 1.
  EXPECT_EQ(faulty->calls().size(), 4u + 2u + 1u);
  EXPECT_EQ(*ctx.retry_budget, 0);
}

TEST_F(RetryTest, DelaysDoubleUpToABoundBelowWhichTheyAreRandom) {
  faulty->set_policy(fault_randomly(1, 1, {.what = What::kFail, .error = throttled_error()}));
  std::vector<double> randoms = {1.0, 0.5, 1.0};
  size_t asked = 0;
  store = with_retry(faulty, {.most_tries = 4, .first_delay = 20ms, .longest_delay = 50ms, .random = [&] {
                                return randoms[asked++];
                              }});
  const auto begin = SteadyClock::now();
  EXPECT_FALSE(put("a", "x"));
  EXPECT_EQ(asked, 3u);
  EXPECT_GE(SteadyClock::now() - begin, 20ms + 20ms + 50ms);
}

TEST_F(RetryTest, DeadlineAndStopEndTheWaiting) {
  faulty->set_policy(fault_randomly(1, 1, {.what = What::kFail, .error = transient_error()}));
  store = with_retry(
      faulty, {.most_tries = 4, .first_delay = 60s, .longest_delay = 60s, .random = [] { return 1.0; }});
  const auto begin = SteadyClock::now();
  auto late = put("a", "x", Context{}.with_deadline(50ms));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kUnreachable);
  EXPECT_NE(late.error().describe().find("broken by the test"), std::string::npos) << "the cause is told";
  std::stop_source source;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(50ms);
    source.request_stop();
  });
  Context ctx = bounded();
  ctx.stop = source.get_token();
  EXPECT_EQ(put("a", "x", ctx).error().code, Code::kInterrupted);
  EXPECT_LT(SteadyClock::now() - begin, 10s);
}

TEST_F(RetryTest, APutWhoseReplyWasLostIsOurs) {
  faulty->set_policy(
      only(CallKind::kPut, fault_at(1, {.what = What::kLoseReply, .error = transient_error()})));
  const std::string text(1000, 'x');
  std::vector<ByteView> pieces = {as_bytes("head"), {}, as_bytes(text), as_bytes("tail"), {}};
  EXPECT_TRUE(store->put(bounded(), "a", pieces, {}));
  EXPECT_EQ(stored("a"), "head" + text + "tail");
  faulty->set_policy(
      only(CallKind::kPut, fault_at(1, {.what = What::kLoseReply, .error = transient_error()})));
  EXPECT_TRUE(put("empty", ""));
}

TEST_F(RetryTest, APutThatLostToAnotherIsNotOurs) {
  for (std::string_view other : {"other", "mine and more", "min", ""}) {
    for (What what : {What::kFail, What::kLoseReply}) {
      mem->restore({});
      ASSERT_TRUE(put_bytes(*mem, bounded(), "a", as_bytes(other)));
      faulty->set_policy(only(CallKind::kPut, fault_at(1, {.what = what, .error = transient_error()})));
      auto done = put("a", "mine");
      ASSERT_FALSE(done) << other;
      EXPECT_EQ(done.error().code, Code::kExists);
      EXPECT_EQ(stored("a"), other);
    }
  }
  // Without an earlier try of ours, equal bytes prove nothing.
  faulty->set_policy({});
  ASSERT_TRUE(put("same", "x"));
  EXPECT_EQ(put("same", "x").error().code, Code::kExists);
}

TEST_F(RetryTest, AGetGoesOnWhereItBroke) {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += std::to_string(i) + ",";
  ASSERT_TRUE(put("a", text));
  for (What what : {What::kCutBody, What::kShortBody}) {
    for (Range range : {Range{}, Range{100, 9000}, Range{5, UINT64_MAX}}) {
      faulty->set_policy([&](const StoreCall& c) {
        return c.index <= 3 ? Fault{.what = what, .error = transient_error(), .bytes = c.index * 1000}
                            : Fault{};
      });
      std::string got;
      auto size = store->get(bounded(), "a", range, [&](ByteView piece) -> Result<> {
        got += as_text(piece);
        return {};
      });
      ASSERT_TRUE(size) << size.error().describe();
      EXPECT_EQ(*size, text.size());
      EXPECT_EQ(got, text.substr(range.offset, range.length));
    }
  }
}

TEST_F(RetryTest, AGetThatStaysShortFails) {
  ASSERT_TRUE(put("a", "0123456789"));
  faulty->set_policy(fault_randomly(1, 1, {.what = What::kShortBody, .bytes = 0}));
  auto got = get_bytes(*store, bounded(), "a", 100);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kUnreachable);
}

TEST_F(RetryTest, TheSinksFailureIsNotTheStores) {
  ASSERT_TRUE(put("a", "0123456789"));
  int calls = 0;
  auto done = store->get(bounded(), "a", {}, [&](ByteView) -> Result<> {
    ++calls;
    return fail(transient_error());
  });
  EXPECT_FALSE(done);
  EXPECT_EQ(calls, 1);
}

// Fails the removal of some keys, each as many times as told, as a bucket's bulk removal does.
class MoodyRemoval : public Forward {
 public:
  using Forward::Forward;
  std::map<Key, int> failures;
  std::vector<std::vector<Key>> asked;
  Result<std::vector<RemoveResult>> remove(const Context& ctx, std::span<const Key> keys) override {
    asked.emplace_back(keys.begin(), keys.end());
    std::vector<RemoveResult> results;
    for (const Key& key : keys) {
      if (failures[key]-- > 0) {
        results.push_back({key, fail(throttled_error())});
      } else {
        results.push_back({key, remove_one(inner(), ctx, key)});
      }
    }
    return results;
  }
};

TEST_F(RetryTest, OnlyTheKeysThatFailedAreRemovedAgain) {
  auto moody = std::make_shared<MoodyRemoval>(mem);
  store = with_retry(moody, {.most_tries = 3, .random = [] { return 0.0; }});
  for (const char* key : {"a", "b", "c", "d"}) ASSERT_TRUE(put(key, "x"));
  ASSERT_TRUE(mem->extend_retention(bounded(), "d", now() + 1h));
  moody->failures = {{"b", 1}, {"c", 9}};
  const std::vector<Key> all = {"a", "b", "c", "d", "absent"};
  auto results = store->remove(bounded(), all);
  ASSERT_TRUE(results) << results.error().describe();
  ASSERT_EQ(results->size(), 5u);
  EXPECT_TRUE((*results)[0].result);
  EXPECT_TRUE((*results)[1].result);
  EXPECT_EQ((*results)[2].result.error().retry, Retry::kThrottled);
  EXPECT_EQ((*results)[3].result.error().code, Code::kConflict);
  EXPECT_TRUE((*results)[4].result);
  using Keys = std::vector<Key>;
  EXPECT_EQ(moody->asked, (std::vector<Keys>{all, {"b", "c"}, {"c"}}));
}

TEST_F(RetryTest, AWholeRemovalThatFailsIsTriedAgain) {
  ASSERT_TRUE(put("a", "x"));
  faulty->set_policy(fault_at(1, {.what = What::kLoseReply, .error = transient_error()}));
  EXPECT_TRUE(remove_one(*store, bounded(), "a"));
  faulty->set_policy(fault_randomly(1, 1, {.what = What::kFail, .error = transient_error()}));
  EXPECT_FALSE(remove_one(*store, bounded(), "a"));
  EXPECT_FALSE(store->list(bounded(), "", "", 10));
  EXPECT_FALSE(store->head(bounded(), "a"));
}

}  // namespace
}  // namespace varve::store
