// Objects as block blobs in a container of Azure Blob Storage.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>

#include "store/azure/client.h"
#include "store/azure/settings.h"
#include "store/cloud/parallel.h"
#include "store/place.h"
#include "store/store.h"

namespace varve::store {

namespace azure {
struct BlobInfo;

// How blobs are written.
struct Writing {
  std::string tier = {};          // "Cool"; empty: the account's
  std::string immutability = {};  // "unlocked", "locked"; empty: no retention
  uint64_t block_size = uint64_t{64} << 20;
  uint64_t parallel_blocks = 4;
};
}  // namespace azure

// Up to block_size an object is one Put Blob, above it blocks and a Put Block List; both are atomic, and
// create-only by If-None-Match. Blocks that were never committed are dropped by the service after a week.
// Removal takes the blob, and in an account that keeps versions the version too, so that its space is freed.
class AzureStore : public Store {
 public:
  // Touches nothing. azure://container/prefix with the settings of azure_settings().
  static Result<StorePtr> open(const Context& ctx, const Place& place);
  static Result<StorePtr> open(const Context& ctx, const Place& place, const azure::Environment& environment);

  Capabilities capabilities() const override;
  Result<> put(const Context& ctx, const Key& key, Body body, const PutOptions& options) override;
  Result<uint64_t> get(const Context& ctx, const Key& key, Range range, const Sink& sink) override;
  Result<ObjectInfo> head(const Context& ctx, const Key& key) override;
  Result<ListPage> list(const Context& ctx, const std::string& prefix, const std::string& token,
                        size_t most) override;
  Result<std::vector<RemoveResult>> remove(const Context& ctx, std::span<const Key> keys) override;
  Result<> extend_retention(const Context& ctx, const Key& key, Timestamp until) override;
  size_t parallel_gets() const override { return cloud::kParallelGets; }
  std::string describe() const override;
  std::string policy() const override;

  AzureStore(std::unique_ptr<azure::Client> client, std::string prefix, azure::Writing writing);

 private:
  std::string name_of(const Key& key) const { return prefix_ + key; }
  // "reading packs/0b/x from azure://container/prefix": for errors.
  std::string doing(const char* what, const Key& key, const char* preposition) const;

  // What a blob becomes: headers of Put Blob and Put Block List alike.
  std::vector<net::Header> headers_of_new(const PutOptions& options) const;
  Result<> put_whole(const Context& ctx, const Key& key, Body body, const PutOptions& options);
  Result<> put_blocks(const Context& ctx, const Key& key, Body body, uint64_t size,
                      const PutOptions& options);
  Result<> put_block(const Context& ctx, const Key& key, const std::string& id, Body body,
                     const std::string& what);
  Result<> put_answered(const net::HttpResponse& answer, const Key& key, const PutOptions& options,
                        const std::string& what);

  Result<> remove_key(const Context& ctx, const Key& key);
  Result<> remove_current(const Context& ctx, const Key& key, const std::string& what);
  Result<> remove_version(const Context& ctx, const Key& key, const std::string& version,
                          const std::string& what);
  Result<> held(const azure::BlobInfo& info, const std::string& what) const;

  const std::unique_ptr<azure::Client> client_;
  const std::string prefix_;  // empty, or with '/' at its end
  const azure::Writing writing_;

  // Whether the account keeps versions, as far as its answers told.
  enum class Versions { kUnknown, kKept, kNone };
  std::atomic<Versions> versions_ = Versions::kUnknown;
  std::atomic<bool> warned_ = false;
  std::mutex mutex_;
  std::map<Key, std::string> left_;  // versions whose blob is removed, and that are not yet
};

}  // namespace varve::store
