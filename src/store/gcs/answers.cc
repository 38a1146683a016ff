#include "store/gcs/answers.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

#include "crypto/crypto.h"
#include "store/gcs/json.h"

namespace varve::store::gcs {
namespace {

constexpr size_t kMostList = size_t{8} << 20;  // 1000 objects take some 300 KiB
constexpr size_t kMostOther = size_t{256} << 10;
constexpr size_t kMostItems = 1000;
constexpr size_t kMostToken = size_t{16} << 10;
constexpr std::chrono::seconds kLongestToken{24 * 3600};

Result<std::optional<Timestamp>> time_of(const nlohmann::json& object, const char* member) {
  TRY_ASSIGN(const std::string text, optional_text(object, member));
  if (text.empty()) return std::nullopt;
  auto time = parse_rfc3339(text);
  if (!time) return fail(Code::kDamaged, fmt::format("\"{}\" is no time", member));
  return *time;
}

Result<uint64_t> number_if_there(const nlohmann::json& object, const char* member) {
  if (!object.contains(member)) return 0;
  return json_number(object, member);
}

Result<std::optional<Retention>> retention_of(const nlohmann::json& object) {
  const nlohmann::json* held = json_object(object, "retention");
  if (!held) return std::nullopt;
  TRY_ASSIGN(const std::string mode, json_text(*held, "mode"));
  TRY_ASSIGN(const auto until, time_of(*held, "retainUntilTime"));
  if (!until || (mode != "Locked" && mode != "Unlocked"))
    return fail(Code::kDamaged, "its retention is of an unknown kind");
  return Retention{mode == "Locked", *until};
}

Result<ObjectAnswer> object_of(const nlohmann::json& json) {
  ObjectAnswer out;
  TRY_ASSIGN(out.name, json_text(json, "name"));
  TRY_ASSIGN(out.size, number_if_there(json, "size"));
  TRY_ASSIGN(out.generation, number_if_there(json, "generation"));
  TRY_ASSIGN(out.metageneration, number_if_there(json, "metageneration"));
  TRY_ASSIGN(const std::string crc, optional_text(json, "crc32c"));
  if (!crc.empty() && !(out.crc32c = parse_crc32c(crc))) return fail(Code::kDamaged, "\"crc32c\" is none");
  TRY_ASSIGN(const auto created, time_of(json, "timeCreated"));
  out.created = created.value_or(Timestamp{});
  TRY_ASSIGN(out.deleted, time_of(json, "timeDeleted"));
  TRY_ASSIGN(out.retention, retention_of(json));
  TRY_ASSIGN(out.retained_by, time_of(json, "retentionExpirationTime"));
  if (out.retention && (!out.retained_by || *out.retained_by < out.retention->until))
    out.retained_by = out.retention->until;
  return out;
}

bool flag_in(const nlohmann::json& json, const char* group, const char* member, const nlohmann::json& value) {
  const nlohmann::json* object = json_object(json, group);
  return object && object->contains(member) && (*object)[member] == value;
}

Result<std::string> token_in(const nlohmann::json& json, const char* member) {
  TRY_ASSIGN(std::string token, json_text(json, member));
  if (!is_token(token)) return fail(Code::kDamaged, "the token holds characters that no token has");
  return token;
}

}  // namespace

Result<ObjectAnswer> parse_object(std::string_view text) {
  TRY_ASSIGN(const auto json, parse_json(text, kMostOther));
  return object_of(json);
}

Result<ListAnswer> parse_list(std::string_view text) {
  TRY_ASSIGN(const auto json, parse_json(text, kMostList));
  ListAnswer out;
  // Without it, any JSON would pass for an empty listing, and that for an empty repository.
  TRY_ASSIGN(const std::string kind, json_text(json, "kind"));
  if (kind != "storage#objects") return fail(Code::kDamaged, "it is no listing");
  TRY_ASSIGN(out.next, optional_text(json, "nextPageToken"));
  const auto items = json.find("items");
  if (items == json.end()) return out;
  if (!items->is_array() || items->size() > kMostItems)
    return fail(Code::kDamaged, "its \"items\" are no list of objects");
  out.objects.reserve(items->size());
  for (const auto& item : *items) {
    if (!item.is_object()) return fail(Code::kDamaged, "an item is no object");
    TRY_ASSIGN(auto object, object_of(item));
    out.objects.push_back(std::move(object));
  }
  return out;
}

Result<> check_listing(const ListAnswer& list, std::string_view prefix, bool versions) {
  const ObjectAnswer* before = nullptr;
  for (const ObjectAnswer& object : list.objects) {
    if (!object.name.starts_with(prefix)) return fail(Code::kDamaged, "it lists what was not asked for");
    if (before && (object.name < before->name || (object.name == before->name && !versions)))
      return fail(Code::kDamaged, "its names do not ascend");
    before = &object;
  }
  return {};
}

Result<BucketAnswer> parse_bucket(std::string_view text) {
  TRY_ASSIGN(const auto json, parse_json(text, kMostOther));
  TRY_OK(json_text(json, "name"));
  return BucketAnswer{flag_in(json, "versioning", "enabled", true),
                      flag_in(json, "objectRetention", "mode", "Enabled")};
}

std::optional<ErrorAnswer> parse_error(std::string_view text) {
  const auto json = parse_json(text, kMostOther);
  if (!json) return std::nullopt;
  const nlohmann::json* error = json_object(*json, "error");
  if (!error) return std::nullopt;
  ErrorAnswer out;
  out.message = optional_text(*error, "message").value_or("");
  const auto all = error->find("errors");
  if (all != error->end() && all->is_array() && !all->empty() && all->front().is_object())
    out.reason = optional_text(all->front(), "reason").value_or("");
  return out;
}

Result<TokenAnswer> parse_token(std::string_view text) {
  TRY_ASSIGN(const auto json, parse_json(text, kMostOther));
  TokenAnswer out;
  TRY_ASSIGN(out.token, token_in(json, "access_token"));
  TRY_ASSIGN(const uint64_t seconds, json_number(json, "expires_in"));
  out.lasts = std::chrono::seconds(std::min<uint64_t>(seconds, kLongestToken.count()));
  return out;
}

Result<ImpersonatedAnswer> parse_impersonated(std::string_view text) {
  TRY_ASSIGN(const auto json, parse_json(text, kMostOther));
  ImpersonatedAnswer out;
  TRY_ASSIGN(out.token, token_in(json, "accessToken"));
  TRY_ASSIGN(const auto expires, time_of(json, "expireTime"));
  if (!expires) return fail(Code::kDamaged, "\"expireTime\" is missing");
  out.expires = std::min(*expires, now() + kLongestToken);
  return out;
}

std::string parse_refusal(std::string_view text) {
  const auto json = parse_json(text, kMostOther);
  if (!json) return {};
  std::string out = optional_text(*json, "error").value_or("");
  const std::string description = optional_text(*json, "error_description").value_or("");
  if (!out.empty() && !description.empty()) out += ": ";
  return out + description;
}

bool is_token(std::string_view text) {
  return !text.empty() && text.size() <= kMostToken &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

std::string crc32c_text(uint32_t crc) {
  std::byte bytes[4];
  store_be(bytes, crc);
  return crypto::to_base64(bytes);
}

std::optional<uint32_t> parse_crc32c(std::string_view base64) {
  const auto bytes = crypto::from_base64(base64);
  if (!bytes || bytes->size() != sizeof(uint32_t)) return std::nullopt;
  return load_be<uint32_t>(bytes->data());
}

std::optional<uint32_t> stored_crc32c(const net::HttpResponse& answer) {
  constexpr std::string_view kMark = "crc32c=";
  for (const net::Header& header : answer.headers) {
    if (header.name != "x-goog-hash") continue;
    std::string_view rest = header.value;
    while (!rest.empty()) {
      const size_t comma = rest.find(',');
      std::string_view one = rest.substr(0, comma);
      while (one.starts_with(' ')) one.remove_prefix(1);
      if (one.starts_with(kMark)) return parse_crc32c(one.substr(kMark.size()));
      rest = comma == rest.npos ? std::string_view() : rest.substr(comma + 1);
    }
  }
  return std::nullopt;
}

std::optional<uint64_t> parse_digits(std::string_view text) {
  uint64_t out = 0;
  if (text.empty() || text.front() == '+' || text.front() == '-') return std::nullopt;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), out);
  if (read.ec != std::errc() || read.ptr != text.data() + text.size()) return std::nullopt;
  return out;
}

std::optional<ContentRange> parse_content_range(std::string_view text) {
  constexpr std::string_view kUnit = "bytes ";
  if (!text.starts_with(kUnit)) return std::nullopt;
  text.remove_prefix(kUnit.size());
  const size_t dash = text.find('-'), slash = text.find('/');
  if (dash == text.npos || slash == text.npos || slash < dash) return std::nullopt;
  const auto first = parse_digits(text.substr(0, dash));
  const auto last = parse_digits(text.substr(dash + 1, slash - dash - 1));
  const auto size = parse_digits(text.substr(slash + 1));
  if (!first || !last || !size || *first > *last || *last >= *size) return std::nullopt;
  return ContentRange{*first, *last, *size};
}

std::optional<uint64_t> parse_unsatisfied_range(std::string_view text) {
  constexpr std::string_view kUnit = "bytes */";
  return text.starts_with(kUnit) ? parse_digits(text.substr(kUnit.size())) : std::nullopt;
}

std::optional<uint64_t> parse_received(std::string_view text) {
  constexpr std::string_view kUnit = "bytes=0-";
  if (!text.starts_with(kUnit)) return std::nullopt;
  const auto last = parse_digits(text.substr(kUnit.size()));
  if (!last || *last == UINT64_MAX) return std::nullopt;
  return *last + 1;
}

}  // namespace varve::store::gcs
