// Amazon S3 and the services that speak its protocol (quirks.h).
#pragma once

#include "store/cloud/parallel.h"
#include "store/place.h"
#include "store/s3/client.h"
#include "store/s3/versions.h"
#include "store/store.h"

namespace varve::store::s3 {

// A put is create-only by If-None-Match: *, of large bodies in parts, which become an object by the last
// request only. Nothing is tried twice here (wrap/retry.h does that), but for what an answer taught
// (client.h).
//  - In a bucket with versions a removal removes every version of the name, so that the space is free: with
//    keep_versions it hides the name and no more. Whether the bucket has versions is asked once, before the
//    first removal.
//  - capabilities().retention is what the setting object_lock_mode asks for; open() then makes sure, by one
//    request, that the bucket has Object Lock. Without that setting open() touches nothing.
//  - A provider without create-only puts (capabilities() says so) is asked whether the name is taken before
//  each
//    put: that does not hold against a race.
//  - With the setting as_of the store is read only, and shows the versions of that moment.
class S3Store : public Store {
 public:
  static Result<StorePtr> open(const Context& ctx, const Place& place);
  // The same in an environment of one's own, for tests.
  static Result<StorePtr> open(const Context& ctx, const Place& place, const Environment& env);

  Capabilities capabilities() const override;
  Result<> put(const Context& ctx, const Key& key, Body body, const PutOptions& options) override;
  Result<uint64_t> get(const Context& ctx, const Key& key, Range range, const Sink& sink) override;
  Result<ObjectInfo> head(const Context& ctx, const Key& key) override;
  Result<ListPage> list(const Context& ctx, const std::string& prefix, const std::string& token,
                        size_t most) override;
  Result<std::vector<RemoveResult>> remove(const Context& ctx, std::span<const Key> keys) override;
  Result<> extend_retention(const Context& ctx, const Key& key, Timestamp until) override;
  std::string describe() const override { return client_.describe(); }
  std::string policy() const override;

  size_t parallel_gets() const override { return cloud::kParallelGets; }
  // Ends uploads below the prefix that were neither completed nor aborted: their parts cost money and are not
  // to be seen.
  Result<uint64_t> remove_unfinished(const Context& ctx, Seconds age) override;

  S3Store(Options options, Client::CredentialSource::Fetch fetch);

 private:
  Result<> check_put(const Context& ctx, const Key& key, const PutOptions& options);
  Result<> put_whole(const Context& ctx, const Key& key, Body body, const PutOptions& options);
  Result<> put_in_parts(const Context& ctx, const Key& key, Body body, const PutOptions& options);
  // The headers that make an object what it is to be, for either way.
  std::vector<net::Header> object_headers(const PutOptions& options) const;

  Client client_;
  Versioning versioning_;
};

}  // namespace varve::store::s3
