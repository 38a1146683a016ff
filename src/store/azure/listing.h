// Pages of List Blobs, held to what a listing must be.
#pragma once

#include <string>

#include "store/azure/answers.h"
#include "store/azure/client.h"

namespace varve::store::azure {

// "azure://container/prefix?account=name"
std::string address_of(const Client& client, const std::string& prefix);

class Pages {
 public:
  // `root`: of the store, empty or with '/' at its end. `versions`: every version of each blob.
  Pages(Client& client, const std::string& root, const std::string& prefix, bool versions);

  // The page at a marker (empty: the first), names without the root, ascending; entries that are no objects'
  // names are left out, so it may be empty without being the last.
  Result<Listing> next(const Context& ctx, const std::string& marker, size_t most);

 private:
  Result<> check_order(const Listing& page);

  Client& client_;
  const std::string root_, prefix_, doing_;
  const bool versions_;
};

}  // namespace varve::store::azure
