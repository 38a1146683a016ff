// Reading one blob, or one version of it.
#pragma once

#include <optional>
#include <string>

#include "store/azure/client.h"

namespace varve::store::azure {

struct BlobName {
  std::string name;          // whole, with the store's prefix
  std::string version = {};  // empty: the current one
};

struct BlobInfo {
  uint64_t size = 0;
  Timestamp modified = {};
  std::string version = {};  // empty where the account keeps none
  std::optional<Timestamp> retain_until = {};
  bool is_locked = false;   // the retention can be shortened by no one
  bool legal_hold = false;  // kept until someone lifts it
  Timestamp asked = {};     // by the service's clock
};

// kNotFound when it is absent.
Result<BlobInfo> look(Client& client, const Context& ctx, const BlobName& blob, const std::string& doing);

// As Store::get: the size of the whole. What arrives is held to what was asked for before the sink sees a
// byte of it; of a blob that is read whole, the MD5 is compared where the service has one.
Result<uint64_t> read(Client& client, const Context& ctx, const BlobName& blob, Range range, const Sink& sink,
                      const std::string& doing);

}  // namespace varve::store::azure
