// A container as its versions had it at a moment: what an intruder removed or overwrote since is there again.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "store/azure/answers.h"
#include "store/azure/client.h"
#include "store/cloud/parallel.h"
#include "store/store.h"

namespace varve::store::azure {

// Of each blob the newest version that is not newer than the moment. The service does not record when a blob
// was removed, so one that was removed before the moment, but whose version remains, is there too; Varve's
// own removals take the version along. Nothing can be changed.
class VersionView : public Store {
 public:
  VersionView(std::unique_ptr<Client> client, std::string prefix, Timestamp as_of);

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
  // The version that was there; kNotFound when there was none.
  Result<Blob> find(const Context& ctx, const Key& key);
  bool was_there(const Blob& blob) const;
  void remember(const Blob& blob);
  tl::unexpected<Error> refuse() const;

  const std::unique_ptr<Client> client_;
  const std::string prefix_;
  const Timestamp as_of_;
  std::mutex mutex_;
  std::unordered_map<Key, Blob> known_;
};

// A page's token: where the listing goes on, and the version that is the best so far of the blob that the
// page ended in. Exposed for its test.
struct PagePlace {
  std::string marker;
  std::optional<Blob> best;
};
std::string to_token(const PagePlace& place);
Result<PagePlace> parse_token_of_page(std::string_view token);

}  // namespace varve::store::azure
