// Object Lock: retention until a date, and legal holds.
#pragma once

#include "store/s3/client.h"

namespace varve::store::s3 {

// kUsage when the bucket has no Object Lock. Where the question is not allowed the setting is believed: a put
// with a lock then fails if it cannot be.
Result<> check_object_lock(Client& client, const Context& ctx);

// A store that was opened without locks was asked for one: kUnsupported.
Error no_retention(const Client& client);
// kUsage for a moment that has passed.
Result<> check_future(const Client& client, Timestamp until);

// As Store::extend_retention.
Result<> extend(Client& client, const Context& ctx, const Key& key, Timestamp until);

// Why one version of an object cannot be removed now; nullopt when no lock is on it.
Result<std::optional<std::string>> lock_of(Client& client, const Context& ctx, const Key& key,
                                           const std::string& version);

}  // namespace varve::store::s3
