// Structured threads: tasks started in a group end before the group does, and the first failure stops the
// rest.
#pragma once

#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "base/error.h"

namespace varve {

class TaskGroup {
 public:
  using Task = std::function<Result<>(std::stop_token)>;

  // Stopping the parent stops the group.
  explicit TaskGroup(std::stop_token parent = {});
  ~TaskGroup();  // asks all to stop and waits
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  // Starts a thread. A task that fails asks every other to stop.
  void spawn(Task task);
  // Waits for all; the first failure by time, if any. May be called once.
  Result<> wait();
  void request_stop() { stop_.request_stop(); }
  std::stop_token token() const { return stop_.get_token(); }

 private:
  std::stop_source stop_;
  std::stop_callback<std::function<void()>> follow_parent_;
  std::mutex mutex_;
  Result<> first_;
  std::vector<std::jthread> threads_;
};

}  // namespace varve
