// A bucket with versions as it was at a moment: what was overwritten or removed since is there, and what came
// since is not. The way back after someone meddled with a repository.
#pragma once

#include <map>
#include <mutex>

#include "store/cloud/parallel.h"
#include "store/s3/versions.h"

namespace varve::store::s3 {

// Read only (kDenied). A version counts from the moment that the service wrote down for it, in whole seconds
// with most; an object sent in parts counts from when its upload began.
class AsOfStore : public Store {
 public:
  AsOfStore(Options options, Client::CredentialSource::Fetch fetch);

  Capabilities capabilities() const override { return {}; }
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

 private:
  Result<std::string> version_at(const Context& ctx, const Key& key);
  void remember(const Key& key, const std::string& version);
  Error refuse(std::string_view verb, std::string_view what) const;

  Client client_;
  const Timestamp at_;
  std::mutex mutex_;
  std::map<Key, std::string> versions_;  // that were found: they do not change
};

}  // namespace varve::store::s3
