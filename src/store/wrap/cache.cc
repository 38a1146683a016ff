#include "store/wrap/cache.h"

#include <compare>
#include <list>
#include <map>
#include <mutex>
#include <optional>

namespace varve::store {
namespace {

struct Name {
  Key key;
  uint64_t offset = 0, length = 0;
  auto operator<=>(const Name&) const = default;
};

struct Entry {
  Name name;
  std::shared_ptr<const Buffer> bytes;
  uint64_t object_size = 0;
};

// What an entry costs beside its bytes: nodes of the list and the map, and the key twice.
size_t cost(const Entry& e) {
  return e.bytes->size() + 2 * e.name.key.size() + 256;
}

class Cache {
 public:
  explicit Cache(CacheOptions o) : options_(o) {}

  std::optional<Entry> find(const Name& name) {
    std::lock_guard lock(mutex_);
    auto at = index_.find(name);
    if (at == index_.end()) {
      ++stats_.misses;
      return std::nullopt;
    }
    ++stats_.hits;
    entries_.splice(entries_.begin(), entries_, at->second);
    return *at->second;
  }

  uint64_t generation() const {
    std::lock_guard lock(mutex_);
    return generation_;
  }

  // Not kept when anything was forgotten since `generation`: it may have been this.
  void keep(Entry entry, uint64_t generation) {
    std::lock_guard lock(mutex_);
    const size_t bytes = cost(entry);
    if (generation != generation_ || bytes > options_.most_bytes || index_.contains(entry.name)) return;
    while (stats_.bytes + bytes > options_.most_bytes) drop(std::prev(entries_.end()));
    entries_.push_front(std::move(entry));
    index_[entries_.front().name] = entries_.begin();
    stats_.bytes += bytes;
  }

  void forget(const Key& key) {
    std::lock_guard lock(mutex_);
    ++generation_;
    for (auto at = index_.lower_bound({key, 0, 0}); at != index_.end() && at->first.key == key;) {
      const auto entry = at->second;
      ++at;
      drop(entry);
    }
  }

  CacheStats stats() const {
    std::lock_guard lock(mutex_);
    CacheStats out = stats_;
    out.entries = entries_.size();
    return out;
  }

 private:
  void drop(std::list<Entry>::iterator entry) {
    stats_.bytes -= cost(*entry);
    index_.erase(entry->name);
    entries_.erase(entry);
  }

  const CacheOptions options_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;  // the most recently used first
  std::map<Name, std::list<Entry>::iterator> index_;
  CacheStats stats_;
  uint64_t generation_ = 0;
};

class Cached : public CacheStore {
 public:
  Cached(StorePtr inner, CacheOptions options)
      : inner_(std::move(inner)), options_(options), cache_(options) {}

  CacheStats stats() const override { return cache_.stats(); }
  Capabilities capabilities() const override { return inner_->capabilities(); }
  std::string describe() const override { return inner_->describe(); }
  std::string policy() const override { return inner_->policy(); }
  Result<ObjectInfo> head(const Context& ctx, const Key& key) override { return inner_->head(ctx, key); }
  Result<ListPage> list(const Context& ctx, const std::string& prefix, const std::string& token,
                        size_t most) override {
    return inner_->list(ctx, prefix, token, most);
  }
  Result<> extend_retention(const Context& ctx, const Key& key, Timestamp until) override {
    return inner_->extend_retention(ctx, key, until);
  }

  Result<> put(const Context& ctx, const Key& key, Body body, const PutOptions& options) override {
    auto done = inner_->put(ctx, key, body, options);
    // A create-only put that won cannot have been read before; one that failed may yet have replaced
    // something.
    if (options.mode == PutMode::kUnconditional) cache_.forget(key);
    return done;
  }

  Result<std::vector<RemoveResult>> remove(const Context& ctx, std::span<const Key> keys) override {
    auto done = inner_->remove(ctx, keys);
    for (const Key& key : keys) cache_.forget(key);
    return done;
  }

  Result<uint64_t> get(const Context& ctx, const Key& key, Range range, const Sink& sink) override {
    if (range.length != UINT64_MAX && range.length > options_.most_each)
      return inner_->get(ctx, key, range, sink);
    TRY_OK(ctx.check());
    const Name name = {key, range.offset, range.length};
    if (auto hit = cache_.find(name)) {
      if (!hit->bytes->empty()) TRY_OK(sink(*hit->bytes));
      return hit->object_size;
    }
    const uint64_t generation = cache_.generation();
    auto kept = std::make_shared<Buffer>();
    bool small = true;
    TRY_ASSIGN(const uint64_t size, inner_->get(ctx, key, range, [&](ByteView piece) -> Result<> {
      small = small && piece.size() <= options_.most_each - kept->size();
      if (small) {
        append(*kept, piece);
      } else {
        *kept = {};
      }
      return sink(piece);
    }));
    // A body that came short must not be what every later reader gets.
    if (small && kept->size() == range_size(range, size))
      cache_.keep({name, std::move(kept), size}, generation);
    return size;
  }

 private:
  StorePtr inner_;
  const CacheOptions options_;
  Cache cache_;
};

}  // namespace

std::shared_ptr<CacheStore> with_cache(StorePtr inner, CacheOptions options) {
  return std::make_shared<Cached>(std::move(inner), options);
}

}  // namespace varve::store
