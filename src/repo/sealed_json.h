// Plain JSON objects (varve.json, keys/…) that tell their own damage: the last member is a checksum of the
// text before it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/time.h"

namespace varve::repo {

inline constexpr uint64_t kMaxJsonObject = 64 << 10;

// The object's text, indented by two, with the member "checksum" added.
std::string json_with_checksum(const nlohmann::ordered_json& object);
// kDamaged, naming `what`, unless the text is one that json_with_checksum() could have made.
Result<nlohmann::json> parse_checked_json(std::string_view text, std::string_view what);

// A member's value; kDamaged when it is absent or of another type.
Result<std::string> json_text(const nlohmann::json& object, const char* member);
Result<uint64_t> json_number(const nlohmann::json& object, const char* member);
Result<bool> json_bool(const nlohmann::json& object, const char* member);
Result<Timestamp> json_time(const nlohmann::json& object, const char* member);

}  // namespace varve::repo
