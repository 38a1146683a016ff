// Moments as S3 writes them.
#pragma once

#include <string>
#include <string_view>

#include "base/time.h"

namespace varve::store::s3 {

// "Tue, 24 Nov 2026 18:58:13 GMT", the only form that servers may send (RFC 9110). kUnreachable for others.
Result<Timestamp> parse_http_date(std::string_view text);

// "2026-11-24T18:58:13.123Z": in whole milliseconds, the next where `at` lies between two.
std::string to_milliseconds(Timestamp at);

}  // namespace varve::store::s3
