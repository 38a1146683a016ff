// What must be granted to whoever uses a store, at least.
#pragma once

#include <string>

#include "store/azure/client.h"

namespace varve::store::azure {

struct Needs {
  bool read_only = false;
  bool retention = false;
};
// A role to make and to assign for the container, and what a shared access signature must allow.
std::string policy_text(const Client& client, Needs needs);

}  // namespace varve::store::azure
