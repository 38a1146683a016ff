#include "store/gcs/json.h"

#include <charconv>
#include <fmt/format.h>

namespace varve::store::gcs {
namespace {

constexpr int kMostDepth = 32;

tl::unexpected<Error> unfit(const char* member) {
  return fail(Code::kDamaged, fmt::format("\"{}\" is missing or of another type than it must be", member));
}

}  // namespace

Result<nlohmann::json> parse_json(std::string_view text, size_t most) {
  if (text.size() > most) return fail(Code::kDamaged, "it is larger than such JSON may be");
  bool too_deep = false;
  auto json = nlohmann::json::parse(
      text,
      [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
        too_deep = too_deep || depth > kMostDepth;
        return !too_deep;
      },
      false);
  if (too_deep || !json.is_object()) return fail(Code::kDamaged, "it is not a JSON object");
  return json;
}

Result<std::string> json_text(const nlohmann::json& object, const char* member) {
  const auto it = object.find(member);
  if (it == object.end() || !it->is_string()) return unfit(member);
  return it->get<std::string>();
}

Result<std::string> optional_text(const nlohmann::json& object, const char* member) {
  if (!object.contains(member) || object[member].is_null()) return std::string();
  return json_text(object, member);
}

Result<uint64_t> json_number(const nlohmann::json& object, const char* member) {
  const auto it = object.find(member);
  if (it != object.end() && it->is_number_unsigned()) return it->get<uint64_t>();
  if (it == object.end() || !it->is_string()) return unfit(member);
  const auto& text = it->get_ref<const std::string&>();
  uint64_t out = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), out);
  if (text.empty() || read.ec != std::errc() || read.ptr != text.data() + text.size()) return unfit(member);
  return out;
}

const nlohmann::json* json_object(const nlohmann::json& object, const char* member) {
  const auto it = object.find(member);
  return it != object.end() && it->is_object() ? &*it : nullptr;
}

}  // namespace varve::store::gcs
