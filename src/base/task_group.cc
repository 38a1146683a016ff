#include "base/task_group.h"

#include <exception>

namespace varve {

TaskGroup::TaskGroup(std::stop_token parent)
    : follow_parent_(std::move(parent), std::function<void()>([this] { stop_.request_stop(); })) {}

TaskGroup::~TaskGroup() {
  stop_.request_stop();
  threads_.clear();
}

void TaskGroup::spawn(Task task) {
  threads_.emplace_back([this, task = std::move(task)] {
    Result<> result;
    try {
      result = task(stop_.get_token());
    } catch (const std::exception& e) {  // bad_alloc, mostly
      result = fail(Code::kInternal, std::string("unexpected failure: ") + e.what());
    }
    if (result) return;
    {
      std::lock_guard lock(mutex_);
      if (first_) first_ = std::move(result);
    }
    stop_.request_stop();
  });
}

Result<> TaskGroup::wait() {
  for (auto& t : threads_) t.join();
  threads_.clear();
  std::lock_guard lock(mutex_);
  return std::exchange(first_, Result<>{});
}

}  // namespace varve
