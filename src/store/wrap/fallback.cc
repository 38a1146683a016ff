#include "store/wrap/fallback.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <mutex>
#include <unordered_set>

#include "base/log.h"
#include "store/wrap/forward.h"

namespace varve::store {
namespace {

constexpr size_t kMostListings = 64;                  // begun and not read to their end
constexpr size_t kPage = 4096;                        // some 1 MiB of each store
constexpr std::string_view kAskedFor = "varve.json";  // there or not: any answer is one

// One of the stores: remembers that it cannot be reached, so that not every call waits for it anew, and which
// objects it gave.
class Replica : public Forward {
 public:
  Replica(StorePtr inner, const FallbackOptions& options) : Forward(std::move(inner)), options_(options) {}

  Result<> put(const Context& ctx, const Key& key, Body body, const PutOptions& options) override {
    return call<Result<>>(ctx, [&](const Context& c) { return inner().put(c, key, body, options); });
  }
  Result<uint64_t> get(const Context& ctx, const Key& key, Range range, const Sink& sink) override {
    bool sink_failed = false;
    const Sink watched = [&](ByteView part) -> Result<> {
      auto taken = sink(part);
      sink_failed = !taken;
      return taken;
    };
    auto got = call<Result<uint64_t>>(
        ctx, [&](const Context& c) { return inner().get(c, key, range, watched); }, &sink_failed);
    if (got) {
      std::lock_guard lock(mutex_);
      given_.insert(std::hash<Key>{}(key));
    }
    return got;
  }
  Result<ObjectInfo> head(const Context& ctx, const Key& key) override {
    return call<Result<ObjectInfo>>(ctx, [&](const Context& c) { return inner().head(c, key); });
  }
  Result<ListPage> list(const Context& ctx, const std::string& prefix, const std::string& token,
                        size_t most) override {
    return call<Result<ListPage>>(ctx,
                                  [&](const Context& c) { return inner().list(c, prefix, token, most); });
  }
  Result<std::vector<RemoveResult>> remove(const Context& ctx, std::span<const Key> keys) override {
    return call<Result<std::vector<RemoveResult>>>(ctx,
                                                   [&](const Context& c) { return inner().remove(c, keys); });
  }
  Result<> extend_retention(const Context& ctx, const Key& key, Timestamp until) override {
    return call<Result<>>(ctx, [&](const Context& c) { return inner().extend_retention(c, key, until); });
  }

  std::optional<Error> down() const {
    std::lock_guard lock(mutex_);
    return SteadyClock::now() < left_alone_until_ ? down_ : std::nullopt;
  }
  uint64_t given() const {
    std::lock_guard lock(mutex_);
    return given_.size();
  }

 private:
  template <typename R, typename Call>
  R call(const Context& ctx, const Call& make, const bool* of_the_caller = nullptr) {
    if (auto why = down()) return fail(*why);
    if (auto first = first_answer(ctx); !first) return fail(std::move(first).error());
    R result = make(ctx);
    if (!result && !(of_the_caller && *of_the_caller)) leave_alone_if_away(ctx, result.error());
    return result;
  }

  // Asked for something small, so that a slow store is told from one that is away.
  Result<> first_answer(const Context& ctx) {
    if (answered_) return {};
    const auto answer = inner().head(ctx.with_deadline(options_.first_answer), std::string(kAskedFor));
    if (!answer && leave_alone_if_away(ctx, answer.error())) return fail(answer.error());
    answered_ = true;
    return {};
  }

  bool leave_alone_if_away(const Context& ctx, const Error& error) {
    if (error.code != Code::kUnreachable || !ctx.check()) return false;
    std::lock_guard lock(mutex_);
    if (!down_) log::warn("{} cannot be reached: {}", describe(), error.describe());
    down_ = error;
    down_->retry = Retry::kNever;
    left_alone_until_ = SteadyClock::now() + options_.left_alone;
    return true;
  }

  const FallbackOptions options_;
  std::atomic<bool> answered_{false};
  mutable std::mutex mutex_;
  std::optional<Error> down_;
  SteadyClock::time_point left_alone_until_ = SteadyClock::time_point::min();
  std::unordered_set<size_t> given_;  // by hash: a display's count, nothing rests on it
};
using ReplicaPtr = std::shared_ptr<Replica>;

// A listing under way of one store.
struct Part {
  ReplicaPtr store;
  ListPage page = {};
  size_t at = 0;
  bool more = true;

  // Stands at its next object after `last`; false at its end.
  Result<bool> fill(const Context& ctx, const std::string& prefix, const Key& last) {
    while (true) {
      while (at < page.objects.size() && page.objects[at].key <= last) ++at;
      if (at < page.objects.size()) return true;
      if (!more) return false;
      TRY_ASSIGN(page, store->list(ctx, prefix, page.next, kPage));
      at = 0;
      more = !page.next.empty();
    }
  }
};
struct Listing {
  std::string prefix;
  std::vector<Part> parts;
  size_t next = 0;  // the next store to be asked if those asked fail
  Key last;
};

class Fallback : public FallbackStore {
 public:
  Fallback(StorePtr first, std::vector<StorePtr> others, const FallbackOptions& options) : options_(options) {
    all_.push_back(std::make_shared<Replica>(std::move(first), options));
    for (StorePtr& other : others) {
      all_.push_back(std::make_shared<Replica>(std::move(other), options));
      alternatives_.push_back(all_.back());
    }
  }

  Capabilities capabilities() const override { return all_[0]->capabilities(); }
  Result<> put(const Context& ctx, const Key& key, Body body, const PutOptions& options) override {
    return all_[0]->put(ctx, key, body, options);
  }
  Result<std::vector<RemoveResult>> remove(const Context& ctx, std::span<const Key> keys) override {
    return all_[0]->remove(ctx, keys);
  }
  Result<> extend_retention(const Context& ctx, const Key& key, Timestamp until) override {
    return all_[0]->extend_retention(ctx, key, until);
  }
  std::string describe() const override { return all_[0]->describe(); }
  std::string policy() const override { return all_[0]->policy(); }
  std::span<const StorePtr> alternatives() const override { return alternatives_; }

  Result<uint64_t> get(const Context& ctx, const Key& key, Range range, const Sink& sink) override {
    uint64_t delivered = 0;
    bool sink_failed = false;
    const Sink counting = [&](ByteView part) -> Result<> {
      auto taken = sink(part);
      sink_failed = !taken;
      if (taken) delivered += part.size();
      return taken;
    };
    return from_any<uint64_t>(
        ctx,
        [&](Replica& store) {
          const Range rest = {range.offset + delivered,
                              range.length == UINT64_MAX ? UINT64_MAX : range.length - delivered};
          return store.get(ctx, key, rest, counting);
        },
        [&] { return sink_failed; });
  }

  Result<ObjectInfo> head(const Context& ctx, const Key& key) override {
    return from_any<ObjectInfo>(
        ctx, [&](Replica& store) { return store.head(ctx, key); }, [] { return false; });
  }

  Result<ListPage> list(const Context& ctx, const std::string& prefix, const std::string& token,
                        size_t most) override {
    Listing listing;
    if (token.empty()) {
      listing.prefix = prefix;
      for (const ReplicaPtr& store : all_) {
        if (listing.next > 0 && !options_.unite) break;
        listing.parts.push_back({store});
        ++listing.next;
      }
    } else {
      TRY_ASSIGN(listing, taken_up(token));
    }
    ListPage page;
    std::optional<Error> why;
    while (page.objects.size() < most) {
      TRY_ASSIGN(const ObjectInfo* next, step(ctx, listing, why));
      if (next == nullptr) return page;
      listing.last = next->key;
      page.objects.push_back(*next);
    }
    page.next = put_by(std::move(listing));
    return page;
  }

  std::vector<FallbackUse> uses() const override {
    std::vector<FallbackUse> out;
    for (size_t i = 1; i < all_.size(); ++i) out.push_back({all_[i]->describe(), all_[i]->given()});
    return out;
  }
  std::optional<Error> first_down() const override { return all_[0]->down(); }

 private:
  // The first's failure is what is told, unless only it says that there is no such object.
  template <typename T, typename Ask, typename Ends>
  Result<T> from_any(const Context& ctx, const Ask& ask, const Ends& ends) {
    std::optional<Error> first;
    for (const ReplicaPtr& store : all_) {
      auto got = ask(*store);
      if (got || ends()) return got;
      if (auto going = ctx.check(); !going) return fail(std::move(going).error());
      if (!first) first = got.error();
    }
    return fail(std::move(*first));
  }

  // The smallest key that any part stands at; null at the end. A store that fails drops out: the others go
  // on, or the next one is asked from the beginning.
  Result<const ObjectInfo*> step(const Context& ctx, Listing& listing, std::optional<Error>& why) {
    for (size_t i = 0; i < listing.parts.size();) {
      auto there = listing.parts[i].fill(ctx, listing.prefix, listing.last);
      if (there) {
        ++i;
        continue;
      }
      if (auto going = ctx.check(); !going) return fail(std::move(going).error());
      if (!why) why = there.error();
      listing.parts.erase(listing.parts.begin() + static_cast<ptrdiff_t>(i));
      if (listing.parts.empty() && listing.next < all_.size())
        listing.parts.push_back({all_[listing.next++]});
      if (listing.parts.empty()) return fail(std::move(*why));
    }
    const ObjectInfo* least = nullptr;
    for (const Part& part : listing.parts) {
      if (part.at == part.page.objects.size()) continue;
      const ObjectInfo& o = part.page.objects[part.at];
      if (least == nullptr || o.key < least->key) least = &o;  // of equals the first store's
    }
    return least;
  }

  Result<Listing> taken_up(const std::string& token) {
    std::lock_guard lock(mutex_);
    const auto at = listings_.find(token);
    if (at == listings_.end())
      return fail(Code::kUsage, fmt::format("\"{}\" is no token of {}", token, describe()));
    return std::move(listings_.extract(at).mapped());
  }
  std::string put_by(Listing listing) {
    std::lock_guard lock(mutex_);
    const std::string token = fmt::format("{:020}", ++serial_);
    listings_.emplace(token, std::move(listing));
    if (listings_.size() > kMostListings) listings_.erase(listings_.begin());
    return token;
  }

  const FallbackOptions options_;
  std::vector<ReplicaPtr> all_;
  std::vector<StorePtr> alternatives_;
  std::mutex mutex_;
  uint64_t serial_ = 0;
  std::map<std::string, Listing> listings_;
};

}  // namespace

std::shared_ptr<FallbackStore> with_fallback(StorePtr first, std::vector<StorePtr> others,
                                             FallbackOptions options) {
  return std::make_shared<Fallback>(std::move(first), std::move(others), options);
}

}  // namespace varve::store
