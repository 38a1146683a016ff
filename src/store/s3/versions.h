// Buckets that keep what was overwritten and removed.
#pragma once

#include <mutex>
#include <optional>

#include "store/s3/client.h"
#include "store/s3/xml.h"

namespace varve::store::s3 {

// Whether a bucket keeps versions, or did once: asked when it is first needed. Thread-safe.
class Versioning {
 public:
  Result<bool> ask(Client& client, const Context& ctx);

 private:
  std::mutex mutex_;
  std::optional<bool> known_;
};

// One page of ListObjectVersions. `prefix` as the bucket has it; the markers as an answer gave them.
Result<VersionsAnswer> list_versions(Client& client, const Context& ctx, const std::string& prefix,
                                     const std::string& key_marker, const std::string& version_marker,
                                     size_t most = 1000);

// Every version of one name, delete markers too, the newest first. `key` as the bucket has it.
Result<std::vector<ListedVersion>> versions_of(Client& client, const Context& ctx, const std::string& key);

}  // namespace varve::store::s3
