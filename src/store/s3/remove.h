// Removing objects, many at a time.
#pragma once

#include "store/s3/versions.h"

namespace varve::store::s3 {

// As Store::remove.
Result<std::vector<RemoveResult>> remove_objects(Client& client, Versioning& versioning, const Context& ctx,
                                                 std::span<const Key> keys);

}  // namespace varve::store::s3
