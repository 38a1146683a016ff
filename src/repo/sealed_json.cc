#include "repo/sealed_json.h"

#include <fmt/format.h>

#include "crypto/crypto.h"

namespace varve::repo {
namespace {

std::string checksum_line(std::string_view before) {
  const crypto::Digest digest = crypto::digest(as_bytes(before));
  return fmt::format("  \"checksum\": \"{}\"\n}}\n", to_hex(ByteView(digest).first(16)));
}
const size_t kTail = checksum_line({}).size();

tl::unexpected<Error> unfit(const char* member) {
  return fail(Code::kDamaged, fmt::format("\"{}\" is missing or of another type than it must be", member));
}

}  // namespace

std::string json_with_checksum(const nlohmann::ordered_json& object) {
  std::string text = object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
  text.resize(text.size() - 2);  // "\n}"
  text += ",\n";
  return text + checksum_line(text);
}

Result<nlohmann::json> parse_checked_json(std::string_view text, std::string_view what) {
  if (text.size() <= kTail ||
      text.substr(text.size() - kTail) != checksum_line(text.substr(0, text.size() - kTail)))
    return fail(Code::kDamaged, fmt::format("{}: its checksum does not match its content", what));
  auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return fail(Code::kDamaged, fmt::format("{}: is not a JSON object", what));
  return json;
}

Result<std::string> json_text(const nlohmann::json& object, const char* member) {
  const auto it = object.find(member);
  if (it == object.end() || !it->is_string()) return unfit(member);
  return it->get<std::string>();
}
Result<uint64_t> json_number(const nlohmann::json& object, const char* member) {
  const auto it = object.find(member);
  if (it == object.end() || !it->is_number_unsigned()) return unfit(member);
  return it->get<uint64_t>();
}
Result<bool> json_bool(const nlohmann::json& object, const char* member) {
  const auto it = object.find(member);
  if (it == object.end() || !it->is_boolean()) return unfit(member);
  return it->get<bool>();
}
Result<Timestamp> json_time(const nlohmann::json& object, const char* member) {
  TRY_ASSIGN(const std::string text, json_text(object, member));
  auto time = parse_rfc3339(text);
  if (!time) return unfit(member);
  return time;
}

}  // namespace varve::repo
