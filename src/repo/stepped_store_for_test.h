// Store calls of several actors, one at a time in an order that a seed chooses: races that can be repeated.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <random>
#include <vector>

#include "store/wrap/forward.h"

namespace varve::repo {

using Random = std::mt19937;

inline uint32_t pick(Random& random, size_t n) {
  return static_cast<uint32_t>(random() % n);
}

// Lets one store call of one actor happen at a time, and chooses whose.
class Scheduler {
 public:
  Scheduler(size_t actors, uint32_t seed) : random_(seed), actors_(actors) {}
  // How often, among its calls, an actor goes to sleep.
  void sleeps(size_t actor, uint32_t one_in) { actors_[actor].one_in = one_in; }

  template <typename Call>
  auto step(size_t actor, const Call& call) {
    std::unique_lock lock(mutex_);
    ++actors_[actor].waiting;
    changed_.notify_all();
    changed_.wait(lock, [&] { return turn_ == actor; });
    turn_ = kNobody;
    auto result = call();
    --actors_[actor].waiting;
    changed_.notify_all();
    return result;
  }
  void finished(size_t actor) {
    std::lock_guard lock(mutex_);
    actors_[actor].finished = true;
    changed_.notify_all();
  }
  // Until every actor has finished.
  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      // Everyone alive stands before a call, so that the choice is the seed's.
      changed_.wait(lock, [&] {
        return turn_ == kNobody && std::all_of(actors_.begin(), actors_.end(),
                                               [](const Actor& a) { return a.finished || a.waiting > 0; });
      });
      std::vector<size_t> awake, all;
      for (size_t i = 0; i < actors_.size(); ++i) {
        if (actors_[i].finished) continue;
        all.push_back(i);
        if (actors_[i].asleep_until <= steps_) awake.push_back(i);
      }
      if (all.empty()) return;
      const std::vector<size_t>& from = awake.empty() ? all : awake;
      const size_t chosen = from[pick(random_, from.size())];
      if (pick(random_, actors_[chosen].one_in) == 0)
        actors_[chosen].asleep_until = steps_ + pick(random_, kLongestSleep);
      ++steps_;
      turn_ = chosen;
      changed_.notify_all();
      changed_.wait(lock, [&] { return turn_ == kNobody; });
    }
  }

 private:
  static constexpr size_t kNobody = SIZE_MAX;
  static constexpr uint32_t kLongestSleep = 1200;  // some collections long
  struct Actor {
    int waiting = 0;
    bool finished = false;
    uint64_t asleep_until = 0;
    uint32_t one_in = 1;
  };
  std::mutex mutex_;
  std::condition_variable changed_;
  Random random_;
  std::vector<Actor> actors_;
  size_t turn_ = kNobody;
  uint64_t steps_ = 0;
};

class SteppedStore : public store::Forward {
 public:
  SteppedStore(store::StorePtr inner, Scheduler& scheduler, size_t actor)
      : Forward(std::move(inner)), scheduler_(scheduler), actor_(actor) {}
  // After so many calls nothing is carried out any more, as if the process had ended.
  void die_after(int calls) { left_ = calls; }

  Result<> put(const Context& ctx, const store::Key& key, store::Body body,
               const store::PutOptions& o) override {
    return step<Result<>>([&] { return inner().put(ctx, key, body, o); });
  }
  Result<uint64_t> get(const Context& ctx, const store::Key& key, store::Range range,
                       const store::Sink& sink) override {
    return step<Result<uint64_t>>([&] { return inner().get(ctx, key, range, sink); });
  }
  Result<store::ObjectInfo> head(const Context& ctx, const store::Key& key) override {
    return step<Result<store::ObjectInfo>>([&] { return inner().head(ctx, key); });
  }
  Result<store::ListPage> list(const Context& ctx, const std::string& prefix, const std::string& token,
                               size_t most) override {
    return step<Result<store::ListPage>>([&] { return inner().list(ctx, prefix, token, most); });
  }
  // Key by key, for no store promises more.
  Result<std::vector<store::RemoveResult>> remove(const Context& ctx,
                                                  std::span<const store::Key> keys) override {
    std::vector<store::RemoveResult> out;
    for (const store::Key& key : keys) {
      auto one = step<Result<std::vector<store::RemoveResult>>>([&] {
        return inner().remove(ctx, {&key, 1});
      });
      if (!one) return one;
      out.push_back(one->front());
    }
    return out;
  }

 private:
  template <typename R, typename Call>
  R step(const Call& call) {
    return scheduler_.step(actor_, [&]() -> R {
      if (left_ == 0) return fail(Code::kInterrupted, "this process is dead");
      if (left_ > 0) --left_;
      return call();
    });
  }
  Scheduler& scheduler_;
  const size_t actor_;
  int left_ = -1;
};

}  // namespace varve::repo
