#include "repo/config.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/text.h"
#include "repo/sealed_json.h"

namespace varve::repo {
namespace {

constexpr uint32_t kFormat = 1;
constexpr const char* kUpdateHint = "update varve on this machine, then try again";

std::string_view encryption_name(Encryption e) {
  return e == Encryption::kNone ? "none" : "aes-256-gcm";
}

Result<Encryption> encryption_from(std::string_view name) {
  if (name == "none") return Encryption::kNone;
  if (name == "aes-256-gcm") return Encryption::kAes256Gcm;
  return fail(Code::kUnsupported,
              fmt::format("this repository was written by a newer varve (encryption {})", printable(name)),
              kUpdateHint);
}

Result<std::vector<std::string>> features(const nlohmann::json& json, const char* member) {
  const auto all = json.find("features");
  if (all == json.end() || !all->is_object()) return fail(Code::kDamaged, "\"features\" is missing");
  const auto list = all->find(member);
  if (list == all->end() || !list->is_array()) return fail(Code::kDamaged, "\"features\" are incomplete");
  std::vector<std::string> out;
  for (const auto& item : *list) {
    if (!item.is_string()) return fail(Code::kDamaged, "a feature is not a name");
    out.push_back(item.get<std::string>());
  }
  return out;
}

// Format 1 has no features yet: every name there is, is one we do not know.
Result<> check_features(const std::vector<std::string>& needed, std::string_view purpose) {
  if (needed.empty()) return {};
  return fail(Code::kUnsupported,
              fmt::format("this repository was written by a newer varve ({} it needs: {})", purpose,
                          printable(fmt::format("{}", fmt::join(needed, ", ")))),
              kUpdateHint);
}

Result<> check_format(const nlohmann::json& json) {
  TRY_ASSIGN(const uint64_t format, json_number(json, "format"));
  if (format == 0) return fail(Code::kDamaged, "there is no format 0");
  if (format > kFormat)
    return fail(Code::kUnsupported,
                fmt::format("this repository was written by a newer varve (format {}; this one knows {})",
                            format, kFormat),
                kUpdateHint);
  return {};
}

Result<Config> decode_members(const nlohmann::json& json) {
  Config out;
  TRY_OK(check_format(json));
  TRY_ASSIGN(out.features_read, features(json, "read"));
  TRY_OK(check_features(out.features_read, "to read"));
  TRY_ASSIGN(const std::string id, json_text(json, "id"));
  TRY_ASSIGN(out.id, RepoId::from_hex_text(id));
  TRY_ASSIGN(out.created, json_time(json, "created"));
  TRY_ASSIGN(const std::string encryption, json_text(json, "encryption"));
  TRY_ASSIGN(out.encryption, encryption_from(encryption));
  TRY_ASSIGN(out.features_write, features(json, "write"));
  TRY_ASSIGN(out.features_collect, features(json, "collect"));
  TRY_ASSIGN(out.create_only_honoured, json_bool(json, "create_only"));
  return out;
}

}  // namespace

std::string encode_config(const Config& config) {
  nlohmann::ordered_json json;
  json["format"] = config.format;
  json["id"] = config.id.hex();
  json["created"] = to_rfc3339(config.created);
  json["encryption"] = encryption_name(config.encryption);
  json["features"]["read"] = config.features_read;
  json["features"]["write"] = config.features_write;
  json["features"]["collect"] = config.features_collect;
  json["create_only"] = config.create_only_honoured;
  return json_with_checksum(json);
}

Result<Config> decode_config(std::string_view text) {
  // A newer format may have another checksum: the number is looked at before anything else.
  const auto peek = nlohmann::json::parse(text, nullptr, false);
  if (auto known = peek.is_object() ? check_format(peek) : Result<>{};
      !known && known.error().code == Code::kUnsupported)
    return fail(std::move(known).error());
  TRY_ASSIGN(const nlohmann::json json, parse_checked_json(text, kConfigKey));
  auto out = decode_members(json);
  if (!out && out.error().code != Code::kUnsupported)
    return fail(Code::kDamaged, fmt::format("{}: {}", kConfigKey, out.error().message));
  return out;
}

crypto::Digest config_digest(std::string_view text) {
  return crypto::digest(as_bytes(text));
}

Result<> check_may_write(const Config& config) {
  return check_features(config.features_write, "to write");
}

Result<> Repository::check_may_write() const {
  return repo::check_may_write(config_);
}
Result<> Repository::check_may_collect() const {
  return check_features(config_.features_collect, "to remove anything");
}

}  // namespace varve::repo
