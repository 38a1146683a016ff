#include "store/wrap/fault.h"

#include <algorithm>
#include <random>

namespace varve::store {
namespace {

Error killed_error() {
  return Error{Code::kInterrupted, "killed by the test"};
}

// A policy that sees, with their own count, only the calls that `match`.
template <typename Match>
FaultPolicy filtered(Match match, FaultPolicy policy) {
  return
      [match = std::move(match), policy = std::move(policy), n = uint64_t{0}](const StoreCall& call) mutable {
        if (!match(call)) return Fault{};
        StoreCall seen = call;
        seen.index = ++n;
        return policy(seen);
      };
}

}  // namespace

Error transient_error() {
  return Error{Code::kUnreachable, "the connection was broken by the test"}.with_retry(Retry::kTransient);
}

Error throttled_error() {
  return Error{Code::kUnreachable, "slow down, said the test"}.with_retry(Retry::kThrottled);
}

FaultPolicy fault_at(uint64_t n, Fault fault) {
  return [=](const StoreCall& call) { return call.index == n ? fault : Fault{}; };
}

FaultPolicy fault_randomly(double probability, uint64_t seed, Fault fault) {
  return [=, engine = std::mt19937_64(seed)](const StoreCall&) mutable {
    return std::uniform_real_distribution<double>(0, 1)(engine) < probability ? fault : Fault{};
  };
}

FaultPolicy killed_at(uint64_t n, bool reply_lost) {
  return [=](const StoreCall& call) {
    if (call.index < n) return Fault{};
    const bool done = reply_lost && call.index == n;
    return Fault{.what = done ? Fault::What::kLoseReply : Fault::What::kFail, .error = killed_error()};
  };
}

FaultPolicy full_from(uint64_t n) {
  return [=](const StoreCall& call) {
    if (call.kind != CallKind::kPut || call.index < n) return Fault{};
    return Fault{
        .what = Fault::What::kFail,
        .error = {Code::kNoSpace, "the store is full, said the test", "free some space and run again"}};
  };
}

FaultPolicy only(CallKind kind, FaultPolicy policy) {
  return filtered([kind](const StoreCall& call) { return call.kind == kind; }, std::move(policy));
}

FaultPolicy only_keys(std::string prefix, FaultPolicy policy) {
  return filtered(
      [prefix = std::move(prefix)](const StoreCall& call) { return call.key.starts_with(prefix); },
      std::move(policy));
}

void FaultStore::set_policy(FaultPolicy policy) {
  std::lock_guard lock(mutex_);
  policy_ = std::move(policy);
  index_ = 0;
}

std::vector<StoreCall> FaultStore::calls() const {
  std::lock_guard lock(mutex_);
  return calls_;
}

void FaultStore::clear_calls() {
  std::lock_guard lock(mutex_);
  calls_.clear();
}

Fault FaultStore::decide(StoreCall call) {
  std::lock_guard lock(mutex_);
  call.index = ++index_;
  calls_.push_back(call);
  return policy_ ? policy_(call) : Fault{};
}

template <typename Call>
auto FaultStore::run(const Context& ctx, const Fault& fault, const Call& call) -> decltype(call()) {
  if (fault.delay.count() > 0) TRY_OK(ctx.sleep(fault.delay));
  switch (fault.what) {
    case Fault::What::kNone:
    case Fault::What::kShortBody:
      return call();
    case Fault::What::kFail:
    case Fault::What::kCutBody:
      return fail(fault.error);
    case Fault::What::kLoseReply: {
      auto unseen = call();
      return fail(fault.error);
    }
  }
  return call();
}

Result<> FaultStore::put(const Context& ctx, const Key& key, Body body, const PutOptions& options) {
  const Fault fault = decide({.kind = CallKind::kPut, .key = key, .bytes = body_size(body)});
  return run(ctx, fault, [&] { return inner().put(ctx, key, body, options); });
}

Result<uint64_t> FaultStore::get(const Context& ctx, const Key& key, Range range, const Sink& sink) {
  Fault fault = decide({.kind = CallKind::kGet, .key = key});
  const bool cut = fault.what == Fault::What::kCutBody, shortened = fault.what == Fault::What::kShortBody;
  if (!cut && !shortened) return run(ctx, fault, [&] { return inner().get(ctx, key, range, sink); });
  if (fault.delay.count() > 0) TRY_OK(ctx.sleep(fault.delay));
  uint64_t left = fault.bytes;
  auto done = inner().get(ctx, key, range, [&](ByteView piece) -> Result<> {
    const ByteView part = piece.first(static_cast<size_t>(std::min<uint64_t>(piece.size(), left)));
    left -= part.size();
    return part.empty() ? Result<>() : sink(part);
  });
  if (done && cut) return fail(std::move(fault.error));
  return done;
}

Result<ObjectInfo> FaultStore::head(const Context& ctx, const Key& key) {
  const Fault fault = decide({.kind = CallKind::kHead, .key = key});
  return run(ctx, fault, [&] { return inner().head(ctx, key); });
}

Result<ListPage> FaultStore::list(const Context& ctx, const std::string& prefix, const std::string& token,
                                  size_t most) {
  const Fault fault = decide({.kind = CallKind::kList, .key = prefix});
  return run(ctx, fault, [&] { return inner().list(ctx, prefix, token, most); });
}

Result<std::vector<RemoveResult>> FaultStore::remove(const Context& ctx, std::span<const Key> keys) {
  const Fault fault =
      decide({.kind = CallKind::kRemove, .key = keys.empty() ? Key() : keys[0], .bytes = keys.size()});
  return run(ctx, fault, [&] { return inner().remove(ctx, keys); });
}

Result<> FaultStore::extend_retention(const Context& ctx, const Key& key, Timestamp until) {
  const Fault fault = decide({.kind = CallKind::kExtend, .key = key});
  return run(ctx, fault, [&] { return inner().extend_retention(ctx, key, until); });
}

}  // namespace varve::store
