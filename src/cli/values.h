// Values of options, read with the option's name in the error.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/time.h"

namespace varve::cli {

Result<Seconds> duration_value(const char* option, const std::string& text);
// A moment in the past or present: "5 minutes ago", RFC 3339, …
Result<Timestamp> moment_value(const char* option, const std::string& text);
Result<uint32_t> number_within(const char* option, uint32_t value, uint32_t least, uint32_t most);

}  // namespace varve::cli
