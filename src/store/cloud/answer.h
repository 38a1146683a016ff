// What the answer of an object store over HTTP means. Shared by the drivers of the clouds.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "net/http.h"

namespace varve::store::cloud {

// An answer that is no success. `doing`: "putting packs/0b/x into s3://bucket"; `code` and `message`: the
// store's own words, where it gave any (they are made printable and short here). By status:
//   404 410 kNotFound · 401 403 407 kDenied · 412 kExists · 413 507 kNoSpace · 408 500 502 504 kUnreachable,
//   may pass · 429 503 kUnreachable, throttled · 501 kUnsupported · everything else kUnreachable, never.
// 409 means another thing in each store: the driver decides before. Retry-After is taken along.
Error error_of(const net::HttpResponse& answer, const std::string& doing, std::string_view code = {},
               std::string_view message = {});

// An answer that no object store gives, such as a proxy's page: kUnreachable, may pass.
Error nonsense(const net::HttpResponse& answer, const std::string& doing, std::string_view why);

}  // namespace varve::store::cloud
