// JSON from servers and files that are not trusted: bounded in size and depth, every member checked.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace varve::store::gcs {

// An object, of at most `most` bytes and 32 levels; kDamaged otherwise. The text is never in an error: it may
// hold secrets.
Result<nlohmann::json> parse_json(std::string_view text, size_t most);

// A member of that type. kDamaged with its name when it is missing or another; optional_text: empty when it
// is missing.
Result<std::string> json_text(const nlohmann::json& object, const char* member);
Result<std::string> optional_text(const nlohmann::json& object, const char* member);
// Google writes 64-bit numbers as text: "123".
Result<uint64_t> json_number(const nlohmann::json& object, const char* member);
// The object in this member, null when there is none.
const nlohmann::json* json_object(const nlohmann::json& object, const char* member);

}  // namespace varve::store::gcs
