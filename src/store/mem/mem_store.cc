#include "store/mem/mem_store.h"

#include <algorithm>
#include <fmt/format.h>

namespace varve::store {
namespace {

constexpr char kTokenMark =
    '~';  // no key holds it: a token passed off as a key, or a key as a token, is found

}  // namespace

std::shared_ptr<MemStore> MemStore::named(const std::string& name) {
  static std::mutex mutex;
  static auto& stores = *new std::map<std::string, std::shared_ptr<MemStore>>;
  std::lock_guard lock(mutex);
  auto& store = stores[name];
  if (!store) store = std::make_shared<MemStore>(name);
  return store;
}

Result<MemStore::Object> MemStore::find(const Key& key) const {
  auto at = objects_.find(key);
  if (at == objects_.end())
    return fail(Code::kNotFound, fmt::format("there is no {} in {}", key, describe()));
  return at->second;
}

Result<> MemStore::check_retention(const Key& key) const {
  auto at = objects_.find(key);
  if (at == objects_.end() || !at->second.retain_until || *at->second.retain_until <= time()) return {};
  return fail(Code::kConflict, fmt::format("{} in {} is under retention until {}", key, describe(),
                                           to_rfc3339(*at->second.retain_until)));
}

Result<> MemStore::put(const Context& ctx, const Key& key, Body body, const PutOptions& options) {
  TRY_OK(check_key(key));
  TRY_OK(ctx.check());
  auto bytes = std::make_shared<std::vector<std::byte>>();
  bytes->reserve(static_cast<size_t>(body_size(body)));
  for (const ByteView& piece : body) bytes->insert(bytes->end(), piece.begin(), piece.end());
  std::lock_guard lock(mutex_);
  if (options.retain_until && *options.retain_until <= time())
    return fail(Code::kUsage, fmt::format("{} cannot be retained until a moment that has passed", key));
  const bool taken = objects_.contains(key);
  if (taken && options.mode == PutMode::kCreateOnly)
    return fail(Code::kExists, fmt::format("{} exists already in {}", key, describe()));
  TRY_OK(check_retention(key));
  for (size_t slash = key.find('/'); slash != key.npos; slash = key.find('/', slash + 1)) {
    if (objects_.contains(key.substr(0, slash)))
      return fail(Code::kConflict, fmt::format("{} in {} is an object, and no folder can be beside it",
                                               key.substr(0, slash), describe()));
  }
  if (auto below = objects_.lower_bound(key + "/");
      below != objects_.end() && below->first.starts_with(key + "/"))
    return fail(Code::kConflict, fmt::format("{} in {} is a folder of other objects", key, describe()));
  objects_[key] = {std::move(bytes), time(), options.retain_until};
  return {};
}

Result<uint64_t> MemStore::get(const Context& ctx, const Key& key, Range range, const Sink& sink) {
  TRY_OK(check_key(key));
  TRY_OK(ctx.check());
  std::unique_lock lock(mutex_);
  TRY_ASSIGN(const Object object, find(key));
  lock.unlock();
  const ByteView all = *object.body;
  const uint64_t length = range_size(range, all.size());
  ByteView rest =
      length == 0 ? ByteView() : all.subspan(static_cast<size_t>(range.offset), static_cast<size_t>(length));
  // Odd sizes, and growing ones, so that a reader which counts on pages or whole bodies fails at once.
  for (size_t piece = 1; !rest.empty(); piece = std::min<size_t>(piece * 7 + 2, 262139)) {
    TRY_OK(ctx.check());
    const ByteView part = rest.first(std::min(piece, rest.size()));
    TRY_OK(sink(part));
    rest = rest.subspan(part.size());
  }
  return all.size();
}

Result<ObjectInfo> MemStore::head(const Context& ctx, const Key& key) {
  TRY_OK(check_key(key));
  TRY_OK(ctx.check());
  std::lock_guard lock(mutex_);
  TRY_ASSIGN(const Object object, find(key));
  return ObjectInfo{key, object.body->size(), object.modified, object.retain_until};
}

Result<ListPage> MemStore::list(const Context& ctx, const std::string& prefix, const std::string& token,
                                size_t most) {
  TRY_OK(ctx.check());
  if (!token.empty() && token[0] != kTokenMark)
    return fail(Code::kUsage, fmt::format("\"{}\" is no token of {}", token, describe()));
  const size_t bound = std::clamp<size_t>(most, 1, kListPage);
  std::lock_guard lock(mutex_);
  ListPage page;
  auto at = token.empty() ? objects_.lower_bound(prefix) : objects_.upper_bound(token.substr(1));
  for (; at != objects_.end() && at->first.starts_with(prefix); ++at) {
    if (page.objects.size() == bound) {
      page.next = kTokenMark + page.objects.back().key;
      break;
    }
    page.objects.push_back({at->first, at->second.body->size(), at->second.modified, {}});
  }
  return page;
}

Result<> MemStore::remove_object(const Key& key) {
  TRY_OK(check_key(key));
  std::lock_guard lock(mutex_);
  TRY_OK(check_retention(key));
  objects_.erase(key);
  return {};
}

Result<std::vector<RemoveResult>> MemStore::remove(const Context& ctx, std::span<const Key> keys) {
  std::vector<RemoveResult> results;
  for (const Key& key : keys) {
    TRY_OK(ctx.check());
    results.push_back({key, remove_object(key)});
  }
  return results;
}

Result<> MemStore::extend_retention(const Context& ctx, const Key& key, Timestamp until) {
  TRY_OK(check_key(key));
  TRY_OK(ctx.check());
  std::lock_guard lock(mutex_);
  auto at = objects_.find(key);
  if (at == objects_.end())
    return fail(Code::kNotFound, fmt::format("there is no {} in {}", key, describe()));
  auto& held = at->second.retain_until;
  if (held && until <= *held) return {};
  if (until <= time())
    return fail(Code::kUsage, fmt::format("{} cannot be retained until a moment that has passed", key));
  held = until;
  return {};
}

MemStore::Snapshot MemStore::snapshot() const {
  std::lock_guard lock(mutex_);
  return objects_;
}

void MemStore::restore(Snapshot state) {
  std::lock_guard lock(mutex_);
  objects_ = std::move(state);
}

void MemStore::set_clock(std::function<Timestamp()> clock) {
  std::lock_guard lock(mutex_);
  clock_ = std::move(clock);
}

}  // namespace varve::store
