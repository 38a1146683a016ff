// For tests: a store that fails as real ones do, at the call one chooses, and remembers what was asked of it.
#pragma once

#include <chrono>
#include <mutex>

#include "store/store.h"
#include "store/wrap/call_kind.h"
#include "store/wrap/forward.h"

namespace varve::store {

struct StoreCall {
  CallKind kind = CallKind::kPut;
  Key key = {};        // list: the prefix; remove: the first key
  uint64_t bytes = 0;  // put: of the body; remove: number of keys
  uint64_t index = 0;  // from 1, since the policy was set
};

struct Fault {
  enum class What {
    kNone,
    kFail,       // not carried out; `error` is returned
    kLoseReply,  // carried out, and `error` is returned
    kCutBody,    // get: the sink sees at most `bytes`, then `error` is returned (others: as kFail)
    kShortBody,  // get: the sink sees at most `bytes`, and success is reported (others: as kNone)
  };
  What what = What::kNone;
  Error error = {};
  uint64_t bytes = 0;
  std::chrono::milliseconds delay{0};  // before the call
};

// Decides the fate of a call. Called under a lock, in the order of the calls: it may keep state.
using FaultPolicy = std::function<Fault(const StoreCall&)>;

Error transient_error();  // kUnreachable, kTransient: a broken connection
Error throttled_error();  // kUnreachable, kThrottled: 503 Slow Down

FaultPolicy fault_at(uint64_t n, Fault fault);  // the n-th call
FaultPolicy fault_randomly(double probability, uint64_t seed, Fault fault);
// From the n-th call on nothing is carried out, as if the process had ended there (kInterrupted). With
// `reply_lost` the n-th itself is carried out, unseen.
FaultPolicy killed_at(uint64_t n, bool reply_lost = false);
FaultPolicy full_from(uint64_t n);                              // puts fail with kNoSpace
FaultPolicy only(CallKind kind, FaultPolicy policy);            // sees, and counts, calls of one kind
FaultPolicy only_keys(std::string prefix, FaultPolicy policy);  // sees, and counts, calls on such keys

class FaultStore : public Forward {
 public:
  explicit FaultStore(StorePtr inner, FaultPolicy policy = {})
      : Forward(std::move(inner)), policy_(std::move(policy)) {}

  void set_policy(FaultPolicy policy);
  // Every call since the start or the last clear_calls(), in order.
  std::vector<StoreCall> calls() const;
  void clear_calls();

  Result<> put(const Context& ctx, const Key& key, Body body, const PutOptions& options) override;
  Result<uint64_t> get(const Context& ctx, const Key& key, Range range, const Sink& sink) override;
  Result<ObjectInfo> head(const Context& ctx, const Key& key) override;
  Result<ListPage> list(const Context& ctx, const std::string& prefix, const std::string& token,
                        size_t most) override;
  Result<std::vector<RemoveResult>> remove(const Context& ctx, std::span<const Key> keys) override;
  Result<> extend_retention(const Context& ctx, const Key& key, Timestamp until) override;

 private:
  Fault decide(StoreCall call);
  template <typename Call>
  auto run(const Context& ctx, const Fault& fault, const Call& call) -> decltype(call());

  mutable std::mutex mutex_;
  FaultPolicy policy_;
  uint64_t index_ = 0;
  std::vector<StoreCall> calls_;
};

}  // namespace varve::store
