// Moments as HTTP headers have them: "Sun, 06 Nov 1994 08:49:37 GMT". Whole seconds.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/time.h"

namespace varve::store::azure {

std::string to_http_date(Timestamp at);  // a fraction of a second is dropped
// nullopt for anything but this one form.
std::optional<Timestamp> parse_http_date(std::string_view text);

// The whole second at or after: what is kept until a moment must not be kept shorter.
Timestamp round_up(Timestamp at);

}  // namespace varve::store::azure
