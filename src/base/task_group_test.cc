#include "base/task_group.h"

#include <atomic>
#include <chrono>
#include <gtest/gtest.h>
#include <stdexcept>
#include <thread>

#include "base/context.h"

namespace varve {
namespace {

using namespace std::chrono_literals;

// Waits until asked to stop, and says so; ends by itself, with another error, only when nobody asks.
Result<> until_stopped(std::stop_token stop) {
  return Context{.stop = stop}.sleep(30s).and_then(
      []() -> Result<> { return fail(Code::kInternal, "nobody asked to stop"); });
}

TEST(TaskGroup, WaitsForAll) {
  std::atomic<int> done = 0;
  TaskGroup group;
  for (int i = 0; i < 8; ++i) {
    group.spawn([&](std::stop_token) -> Result<> {
      ++done;
      return {};
    });
  }
  EXPECT_TRUE(group.wait());
  EXPECT_EQ(done, 8);
}

TEST(TaskGroup, TheFirstFailureStopsTheRestAndIsTheOneReported) {
  TaskGroup group;
  group.spawn(until_stopped);
  group.spawn([](std::stop_token) -> Result<> { return fail(Code::kNoSpace, "full"); });
  group.spawn(until_stopped);
  auto result = group.wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kNoSpace);
}

TEST(TaskGroup, AnExceptionIsAFailure) {
  TaskGroup group;
  group.spawn([](std::stop_token) -> Result<> { throw std::runtime_error("boom"); });
  auto result = group.wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kInternal);
  EXPECT_NE(result.error().message.find("boom"), std::string::npos);
}

TEST(TaskGroup, StoppingTheParentStopsTheGroup) {
  std::stop_source parent;
  TaskGroup group(parent.get_token());
  group.spawn(until_stopped);
  parent.request_stop();
  auto result = group.wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kInterrupted);
}

TEST(TaskGroup, TheDestructorStopsAndWaits) {
  std::atomic<bool> ended = false;
  {
    TaskGroup group;
    group.spawn([&](std::stop_token stop) {
      auto result = until_stopped(stop);
      ended = true;
      return result;
    });
  }
  EXPECT_TRUE(ended);
}

TEST(Context, DeadlineAndStop) {
  EXPECT_TRUE(Context{}.check());
  EXPECT_TRUE(Context{}.sleep(1ms));
  const Context late = Context{}.with_deadline(5ms);
  auto slept = late.sleep(30s);
  ASSERT_FALSE(slept);
  EXPECT_EQ(slept.error().code, Code::kUnreachable);
  EXPECT_LE(late.with_deadline(1h).deadline, late.deadline) << "a deadline is never put off";
  std::stop_source source;
  source.request_stop();
  EXPECT_EQ(Context{.stop = source.get_token()}.check().error().code, Code::kInterrupted);
}

}  // namespace
}  // namespace varve
