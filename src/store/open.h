// From an address to a driver with its decorators. The only place that knows every driver.
#pragma once

#include <string>
#include <string_view>

#include "store/store.h"

namespace varve::store {

struct OpenOptions {
  bool create = false;      // local: make the folder if it is not there
  bool read_only = false;   // wrap/readonly
  uint64_t limit_rate = 0;  // bytes per second, 0: none (wrap/throttle)
};

struct Address {
  std::string scheme;  // "file", "mem"
  std::string place;   // file: the path; mem: the name
};
// Reads an address without touching anything. file: URLs are percent-decoded, plain paths taken as they are.
Result<Address> parse_address(std::string_view text);

// "file:///srv/backups", or a plain path; "mem://name" (tests: one store per name per process).
// kUsage for an unknown scheme, with the ones there are as a hint; kNotFound for a folder that is not there.
Result<StorePtr> open_store(const Context& ctx, const std::string& address, const OpenOptions& options);

}  // namespace varve::store
