#include "store/wrap/limit.h"

#include <gtest/gtest.h>
#include <latch>
#include <thread>

#include "store/mem/mem_store.h"
#include "store/wrap/fault.h"

namespace varve::store {
namespace {

using namespace std::chrono_literals;

Context bounded() {
  return Context{}.with_deadline(20s);
}

// Counts how many calls are inside at once; each stays until let go.
class Gate : public Forward {
 public:
  using Forward::Forward;
  std::atomic<int> inside = 0, most = 0;
  std::atomic<bool> open = false;
  std::atomic<bool> throttle = false;
  Result<ObjectInfo> head(const Context&, const Key& key) override {
    int n = ++inside;
    for (int seen = most; n > seen && !most.compare_exchange_weak(seen, n);) {
    }
    while (!open) std::this_thread::sleep_for(1ms);
    --inside;
    if (throttle) return fail(throttled_error());
    return ObjectInfo{.key = key};
  }
};

TEST(Limit, NoMoreThanTheLimitAtOnce) {
  auto gate = std::make_shared<Gate>(std::make_shared<MemStore>());
  auto store = with_limit(gate, {.start = 3, .least = 1, .most = 3});
  std::vector<std::jthread> threads;
  for (int i = 0; i < 10; ++i) threads.emplace_back([&] { EXPECT_TRUE(store->head(bounded(), "k")); });
  for (int i = 0; i < 1000 && gate->inside < 3; ++i) std::this_thread::sleep_for(1ms);
  std::this_thread::sleep_for(30ms);
  EXPECT_EQ(gate->inside, 3);
  gate->open = true;
  threads.clear();
  EXPECT_EQ(gate->most, 3);
}

TEST(Limit, WaitingEndsWithDeadlineAndStop) {
  auto gate = std::make_shared<Gate>(std::make_shared<MemStore>());
  auto store = with_limit(gate, {.start = 1, .least = 1, .most = 1});
  std::jthread holder([&] { EXPECT_TRUE(store->head(bounded(), "k")); });
  while (gate->inside == 0) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(store->head(Context{}.with_deadline(20ms), "k").error().code, Code::kUnreachable);
  std::stop_source source;
  Context ctx = bounded();
  ctx.stop = source.get_token();
  std::jthread stopper([&] {
    std::this_thread::sleep_for(20ms);
    source.request_stop();
  });
  EXPECT_EQ(store->head(ctx, "k").error().code, Code::kInterrupted);
  gate->open = true;
}

TEST(Limit, SuccessWidensThrottlingHalves) {
  auto faulty = std::make_shared<FaultStore>(std::make_shared<MemStore>());
  auto store = with_limit(faulty, {.start = 4, .least = 1, .most = 6});
  auto call = [&](int times) {
    for (int i = 0; i < times; ++i) (void)store->list(bounded(), "", "", 1);
  };
  call(4);
  EXPECT_EQ(store->limit(), 5u);
  call(5);
  EXPECT_EQ(store->limit(), 6u);
  call(50);
  EXPECT_EQ(store->limit(), 6u);
  faulty->set_policy(fault_at(1, {.what = Fault::What::kFail, .error = throttled_error()}));
  call(1);
  EXPECT_EQ(store->limit(), 3u);
  faulty->set_policy(fault_at(1, {.what = Fault::What::kFail, .error = transient_error()}));
  call(1);
  EXPECT_EQ(store->limit(), 3u) << "a broken connection says nothing of load";
  faulty->set_policy(fault_randomly(1, 1, {.what = Fault::What::kFail, .error = throttled_error()}));
  call(10);
  EXPECT_EQ(store->limit(), 1u);
}

TEST(Limit, ACrowdThatIsThrottledHalvesOnce) {
  auto gate = std::make_shared<Gate>(std::make_shared<MemStore>());
  auto store = with_limit(gate, {.start = 16, .least = 1, .most = 16});
  gate->throttle = true;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 16; ++i) threads.emplace_back([&] { EXPECT_FALSE(store->head(bounded(), "k")); });
    for (int i = 0; i < 5000 && gate->inside < 16; ++i) std::this_thread::sleep_for(1ms);
    gate->open = true;
  }
  EXPECT_EQ(store->limit(), 8u);
}

}  // namespace
}  // namespace varve::store
