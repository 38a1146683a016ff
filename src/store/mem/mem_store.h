// A store in memory, for tests: stricter than real ones, so that what passes here passes there.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "store/store.h"

namespace varve::store {

// Small list pages with tokens that mean nothing to a caller, bodies delivered in odd-sized pieces, retention
// enforced. A key that is a folder of another is refused, as a file system would.
class MemStore : public Store {
 public:
  struct Object {
    std::shared_ptr<const std::vector<std::byte>> body;
    Timestamp modified = {};
    std::optional<Timestamp> retain_until = {};
  };
  // Everything there is at one instant; cheap, for bodies are shared. A test cuts the power by restoring one.
  using Snapshot = std::map<Key, Object>;

  static constexpr size_t kListPage = 7;

  MemStore(std::string name = "unnamed") : name_(std::move(name)) {}
  // One store per name in the process, made at the first call; it lives as long as the process.
  static std::shared_ptr<MemStore> named(const std::string& name);

  Capabilities capabilities() const override { return {.create_only = true, .retention = true}; }
  Result<> put(const Context& ctx, const Key& key, Body body, const PutOptions& options) override;
  Result<uint64_t> get(const Context& ctx, const Key& key, Range range, const Sink& sink) override;
  Result<ObjectInfo> head(const Context& ctx, const Key& key) override;
  Result<ListPage> list(const Context& ctx, const std::string& prefix, const std::string& token,
                        size_t most) override;
  Result<std::vector<RemoveResult>> remove(const Context& ctx, std::span<const Key> keys) override;
  Result<> extend_retention(const Context& ctx, const Key& key, Timestamp until) override;
  std::string describe() const override { return "mem://" + name_; }

  Snapshot snapshot() const;
  void restore(Snapshot state);
  // The store's clock: what objects are dated by, and retention is held to. Empty: the host's.
  void set_clock(std::function<Timestamp()> clock);

 private:
  Timestamp time() const { return clock_ ? clock_() : now(); }
  Result<> check_retention(const Key& key) const;
  Result<Object> find(const Key& key) const;
  Result<> remove_object(const Key& key);

  const std::string name_;
  mutable std::mutex mutex_;
  Snapshot objects_;
  std::function<Timestamp()> clock_;
};

}  // namespace varve::store
