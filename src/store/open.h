// From an address to a driver with its decorators. The only place that knows every driver.
#pragma once

#include <functional>
#include <string>

#include "store/place.h"
#include "store/store.h"

namespace varve::store {

struct OpenOptions {
  bool create = false;     // local, sftp: make the folder if it is not there. Buckets are never made
  bool read_only = false;  // wrap/readonly
  std::function<uint64_t()> limit_rate =
      {};                  // bytes per second at this moment (wrap/throttle); empty: no limit
  Settings settings = {};  // those of the configuration; what the address sets itself wins
};

// "file:///srv/backups", or a plain path; "s3://bucket/prefix", …; "mem://name" (tests: one store per name
// per process). kUsage for an unknown scheme or setting, with the ones there are as a hint; kNotFound for a
// folder that is not there. Buckets are not asked for anything here: the first call tells.
Result<StorePtr> open_store(const Context& ctx, const std::string& address, const OpenOptions& options);

}  // namespace varve::store
