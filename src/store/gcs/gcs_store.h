// Objects in a bucket of Google Cloud Storage, over its JSON API.
#pragma once

#include <map>
#include <mutex>
#include <span>

#include "store/cloud/parallel.h"
#include "store/gcs/api.h"
#include "store/place.h"
#include "store/store.h"

namespace varve::store {

// What can be set for gs:// addresses.
std::span<const Setting> gcs_settings();

// Create-only is ifGenerationMatch=0, checked by the service when the object is made. Every upload carries
// its CRC-32C and every answer is compared with it; so is every object that is read whole. Bodies from
// Options::resumable_from on go in upload sessions. A bucket that keeps versions is asked for all of an
// object's, so that removing it frees its space. With `as_of` the store is a read-only view of what was there
// then.
class GcsStore : public Store {
 public:
  // kUsage for settings or credentials that cannot be. Asks nobody anything.
  static Result<StorePtr> open(const Context& ctx, const Place& place);
  static Result<gcs::Options> read_options(const Place& place);
  GcsStore(gcs::Options options, std::unique_ptr<gcs::TokenSource> source);

  // Retention: where the setting asks for it, or the bucket says that it can (it is asked, once).
  Capabilities capabilities() const override;
  Result<> put(const Context& ctx, const Key& key, Body body, const PutOptions& options) override;
  Result<uint64_t> get(const Context& ctx, const Key& key, Range range, const Sink& sink) override;
  Result<ObjectInfo> head(const Context& ctx, const Key& key) override;
  Result<ListPage> list(const Context& ctx, const std::string& prefix, const std::string& token,
                        size_t most) override;
  Result<std::vector<RemoveResult>> remove(const Context& ctx, std::span<const Key> keys) override;
  Result<> extend_retention(const Context& ctx, const Key& key, Timestamp until) override;
  size_t parallel_gets() const override { return cloud::kParallelGets; }
  std::string describe() const override { return api_.describe(); }
  std::string policy() const override;

 private:
  class Reading;

  std::string doing(std::string_view verb, const Key& key, std::string_view preposition = "in") const;
  Result<> check_writable(const char* verb, const Key& key) const;
  Result<bool> can_retain(const Context& ctx) const;
  Result<gcs::ObjectAnswer> look(const Context& ctx, const Key& key);
  Result<gcs::ListAnswer> list_page(const Context& ctx, const std::string& prefix, const std::string& token,
                                    size_t most, bool versions, const std::string& what) const;
  Result<gcs::ObjectAnswer> version_of(const Context& ctx, const Key& key);
  Result<> remove_key(const Context& ctx, const Key& key);
  Result<> remove_generation(const Context& ctx, const Key& key, std::optional<uint64_t> generation);

  mutable gcs::Api api_;
  std::mutex mutex_;
  std::map<Key, gcs::ObjectAnswer> versions_;  // as_of: what was found, of a moment that does not change
};

}  // namespace varve::store
