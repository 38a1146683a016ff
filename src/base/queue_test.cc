#include "base/queue.h"

#include <atomic>
#include <chrono>
#include <future>
#include <gtest/gtest.h>
#include <memory>
#include <thread>
#include <vector>

namespace varve {
namespace {

using namespace std::chrono_literals;

TEST(BoundedQueue, KeepsOrderAndDrainsAfterClose) {
  BoundedQueue<std::unique_ptr<int>> queue(100);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(queue.push(std::make_unique<int>(i), 10));
  queue.close();
  EXPECT_FALSE(queue.push(std::make_unique<int>(9), 1)) << "closed";
  for (int i = 0; i < 3; ++i) EXPECT_EQ(**queue.pop(), i);
  EXPECT_FALSE(queue.pop());
  EXPECT_FALSE(queue.pop());
}

TEST(BoundedQueue, WaitsForRoom) {
  BoundedQueue<int> queue(10);
  ASSERT_TRUE(queue.push(1, 6));
  std::promise<void> pushed;
  auto done = pushed.get_future();
  std::jthread producer([&] {
    queue.push(2, 6);
    pushed.set_value();
  });
  EXPECT_EQ(done.wait_for(50ms), std::future_status::timeout);
  EXPECT_EQ(queue.pop(), 1);
  EXPECT_EQ(done.wait_for(10s), std::future_status::ready);
  EXPECT_EQ(queue.pop(), 2);
}

TEST(BoundedQueue, AnItemLargerThanTheBoundPassesAlone) {
  BoundedQueue<int> queue(10);
  std::jthread producer([&] {
    for (int i = 0; i < 5; ++i) queue.push(i, 1000);
    queue.close();
  });
  for (int i = 0; i < 5; ++i) EXPECT_EQ(queue.pop(), i);
  EXPECT_FALSE(queue.pop());
}

TEST(BoundedQueue, CloseWakesWhoWaits) {
  BoundedQueue<int> full(1), empty(1);
  ASSERT_TRUE(full.push(1, 1));
  auto push = std::async(std::launch::async, [&] { return full.push(2, 1); });
  auto pop = std::async(std::launch::async, [&] { return empty.pop().has_value(); });
  std::this_thread::sleep_for(10ms);
  full.close();
  empty.close();
  ASSERT_EQ(push.wait_for(10s), std::future_status::ready);
  ASSERT_EQ(pop.wait_for(10s), std::future_status::ready);
  EXPECT_FALSE(push.get());
  EXPECT_FALSE(pop.get());
}

TEST(BoundedQueue, ManyProducersAndConsumersLoseNothingAndKeepTheBound) {
  constexpr int kEach = 5000;
  BoundedQueue<int> queue(64);
  std::atomic<int64_t> sum = 0, held = 0, most = 0;
  {
    std::vector<std::jthread> consumers;
    consumers.reserve(3);
    for (int c = 0; c < 3; ++c) {
      consumers.emplace_back([&] {
        while (auto item = queue.pop()) {
          held -= 8;
          sum += *item;
        }
      });
    }
    {
      std::vector<std::jthread> producers;
      producers.reserve(3);
      for (int p = 0; p < 3; ++p) {
        producers.emplace_back([&] {
          for (int i = 1; i <= kEach; ++i) {
            ASSERT_TRUE(queue.push(i, 8));
            const int64_t now = held += 8;
            int64_t before = most;
            while (before < now && !most.compare_exchange_weak(before, now)) {
            }
          }
        });
      }
    }
    queue.close();
  }
  EXPECT_EQ(sum, int64_t{3} * kEach * (kEach + 1) / 2);
  // Counted outside of the queue's lock: each of six threads may be one item off.
  EXPECT_LE(most, 64 + 6 * 8);
}

}  // namespace
}  // namespace varve
