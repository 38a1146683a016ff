#include "store/wrap/retry.h"

#include <algorithm>
#include <fmt/format.h>
#include <random>

#include "base/log.h"
#include "store/wrap/forward.h"

namespace varve::store {
namespace {

constexpr std::chrono::seconds kMostAsked{120};

double random_unit() {
  thread_local std::minstd_rand engine{std::random_device{}()};
  return std::uniform_real_distribution<double>(0, 1)(engine);
}

bool take_from_budget(const Context& ctx) {
  if (!ctx.retry_budget) return true;
  int left = ctx.retry_budget->load();
  while (left > 0) {
    if (ctx.retry_budget->compare_exchange_weak(left, left - 1)) return true;
  }
  return false;
}

bool may_pass(const Error& error) {
  return error.retry != Retry::kNever;
}

class RetryStore : public Forward {
 public:
  RetryStore(StorePtr inner, RetryOptions options)
      : Forward(std::move(inner)), options_(std::move(options)) {}

  Result<> put(const Context& ctx, const Key& key, Body body, const PutOptions& options) override {
    bool unanswered = false;
    return attempt(ctx, [&]() -> Result<> {
      auto done = inner().put(ctx, key, body, options);
      if (done) return done;
      if (unanswered && done.error().code == Code::kExists)
        return accept_own(ctx, key, body, std::move(done));
      unanswered = true;
      return done;
    });
  }

  Result<uint64_t> get(const Context& ctx, const Key& key, Range range, const Sink& sink) override {
    uint64_t delivered = 0;
    bool sink_failed = false;
    auto counting = [&](ByteView piece) -> Result<> {
      // The object is immutable and the bytes are gone to the sink: what comes beyond the request cannot be
      // taken back.
      if (piece.size() > range.length - delivered)
        return fail(Code::kUnreachable,
                    fmt::format("{} sent more of {} than was asked for", describe(), key));
      auto taken = sink(piece);
      sink_failed = !taken;
      if (taken) delivered += piece.size();
      return taken;
    };
    return attempt(
        ctx,
        [&]() -> Result<uint64_t> {
          const Range rest = {range.offset + delivered,
                              range.length == UINT64_MAX ? UINT64_MAX : range.length - delivered};
          TRY_ASSIGN(const uint64_t size, inner().get(ctx, key, rest, counting));
          const uint64_t due = range_size(range, size);
          if (delivered >= due) return size;
          return fail(Error{Code::kUnreachable,
                            fmt::format("{} sent {} of {} bytes of {}", describe(), delivered, due, key)}
                          .with_retry(Retry::kTransient));
        },
        [&] { return !sink_failed; });
  }

  Result<ObjectInfo> head(const Context& ctx, const Key& key) override {
    return attempt(ctx, [&] { return inner().head(ctx, key); });
  }

  Result<ListPage> list(const Context& ctx, const std::string& prefix, const std::string& token,
                        size_t most) override {
    return attempt(ctx, [&] { return inner().list(ctx, prefix, token, most); });
  }

  Result<> extend_retention(const Context& ctx, const Key& key, Timestamp until) override {
    return attempt(ctx, [&] { return inner().extend_retention(ctx, key, until); });
  }

  // What an earlier try removed before it failed is not told.
  Result<uint64_t> remove_unfinished(const Context& ctx, Seconds age) override {
    return attempt(ctx, [&] { return inner().remove_unfinished(ctx, age); });
  }

  Result<std::vector<RemoveResult>> remove(const Context& ctx, std::span<const Key> keys) override {
    std::vector<RemoveResult> results;
    for (const Key& key : keys) results.push_back({key, {}});
    std::vector<size_t> open(keys.size());
    for (size_t i = 0; i < open.size(); ++i) open[i] = i;
    // Keys whose removal may yet pass make the try a failure; when the tries are used up, their results tell.
    bool answered = false;
    auto last = attempt(ctx, [&]() -> Result<> {
      std::vector<Key> asked;
      for (size_t i : open) asked.push_back(keys[i]);
      answered = false;
      TRY_ASSIGN(auto answers, inner().remove(ctx, asked));
      if (answers.size() != asked.size()) {
        return fail(Code::kUnreachable, fmt::format("{} answered for {} of {} removals", describe(),
                                                    answers.size(), asked.size()));
      }
      answered = true;
      std::vector<size_t> again;
      Result<> failure;
      for (size_t n = 0; n < answers.size(); ++n) {
        auto& result = results[open[n]].result = std::move(answers[n].result);
        if (result || !may_pass(result.error())) continue;
        again.push_back(open[n]);
        failure = result;
      }
      open = std::move(again);
      return failure;
    });
    if (!last && !answered) return fail(std::move(last).error());
    return results;
  }

 private:
  template <typename Call, typename Allowed = bool (*)()>
  auto attempt(
      const Context& ctx, const Call& call, const Allowed& allowed = [] { return true; })
      -> decltype(call()) {
    for (int tries = 1;; ++tries) {
      auto result = call();
      if (result || !may_pass(result.error()) || !allowed()) return result;
      if (auto going = ctx.check(); !going)
        return fail(std::move(going).error().caused_by(std::move(result).error()));
      if (tries >= options_.most_tries || !take_from_budget(ctx)) {
        if (tries == 1) return result;
        return fail(std::move(result).error().with_context(fmt::format("tried {} times", tries)));
      }
      log::debug("{}; trying again", result.error().describe());
      // What the store asks for counts, but not more than a person would wait for a sign of life.
      const auto asked = std::min<std::chrono::microseconds>(result.error().retry_after, kMostAsked);
      if (auto slept = ctx.sleep(std::max(delay(tries), asked)); !slept)
        return fail(std::move(slept).error().caused_by(std::move(result).error()));
    }
  }

  std::chrono::microseconds delay(int tries) const {
    const int doublings = std::min(tries - 1, 20);
    const auto bound = std::min(options_.longest_delay, options_.first_delay * (1 << doublings));
    const double part = options_.random ? options_.random() : random_unit();
    return std::chrono::duration_cast<std::chrono::microseconds>(bound * part);
  }

  // The key is taken, and an earlier try of ours went unanswered. With our body in it, it was ours, or as
  // good.
  Result<> accept_own(const Context& ctx, const Key& key, Body body, Result<> lost) {
    const uint64_t expected = body_size(body);
    size_t piece = 0, at = 0;
    bool same = true;
    TRY_ASSIGN(const uint64_t size, get(ctx, key, {}, [&](ByteView bytes) -> Result<> {
                 while (same && !bytes.empty()) {
                   while (piece < body.size() && at == body[piece].size()) ++piece, at = 0;
                   if (piece == body.size()) {
                     same = false;
                     break;
                   }
                   const size_t n = std::min(bytes.size(), body[piece].size() - at);
                   same = same_bytes(bytes.first(n), body[piece].subspan(at, n));
                   bytes = bytes.subspan(n);
                   at += n;
                 }
                 return {};
               }));
    if (same && size == expected) return {};
    return lost;
  }

  const RetryOptions options_;
};

}  // namespace

StorePtr with_retry(StorePtr inner, RetryOptions options) {
  return std::make_shared<RetryStore>(std::move(inner), std::move(options));
}

}  // namespace varve::store
