// Keys that are written down: in the environment, or in a profile.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "store/s3/credentials/providers.h"

namespace varve::store::s3 {
namespace {

// What has no place in a header must not get there.
bool is_plain(std::string_view text) {
  for (const char c : text)
    if (c <= ' ' || c > '~') return false;
  return true;
}

MaybeCredentials from_keys(std::string id, std::string secret, std::string token, std::string source) {
  if (id.empty() && secret.empty()) return std::nullopt;
  if (id.empty() || secret.empty())
    return fail(Code::kDenied,
                fmt::format("{} has one of the access key and the secret key, and not the other", source));
  if (!is_plain(id) || !is_plain(secret) || !is_plain(token))
    return fail(Code::kDenied, fmt::format("the keys of {} hold a space or a line break", source),
                "copy them again, without what stands around them");
  return FetchedCredentials{Credentials{std::move(id), crypto::SecretText(std::move(secret)),
                                        crypto::SecretText(std::move(token)), std::move(source)},
                            std::nullopt};
}

std::string value_of(const IniSection& section, const char* name) {
  const auto at = section.find(name);
  return at == section.end() ? std::string() : at->second;
}

}  // namespace

MaybeCredentials from_environment(const Environment& env) {
  return from_keys(env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY"), env("AWS_SESSION_TOKEN"),
                   "the environment");
}

MaybeCredentials from_section(const IniSection& section, const std::string& profile) {
  return from_keys(value_of(section, "aws_access_key_id"), value_of(section, "aws_secret_access_key"),
                   value_of(section, "aws_session_token"), fmt::format("the profile {}", printable(profile)));
}

Result<FetchedCredentials> parse_credentials_json(std::string_view text, const char* token_name,
                                                  const std::string& source) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  const auto member = [&](const char* name) {
    const auto at = json.find(name);
    return at == json.end() || !at->is_string() ? std::string() : at->get<std::string>();
  };
  if (!json.is_object()) return fail(Code::kDenied, source + " did not answer with credentials");
  TRY_ASSIGN(auto keys,
             from_keys(member("AccessKeyId"), member("SecretAccessKey"), member(token_name), source));
  if (!keys) {
    const std::string why = member("Message").empty() ? member("message") : member("Message");
    return fail(Code::kDenied, source + " did not answer with credentials" +
                                   (why.empty() ? "" : ": " + printable(why.substr(0, 200))));
  }
  if (const std::string expires = member("Expiration"); !expires.empty()) {
    auto at = parse_rfc3339(expires);
    if (!at) return fail(Code::kDenied, source + " does not say when its credentials end");
    keys->expires = *at;
  }
  return std::move(*keys);
}

}  // namespace varve::store::s3
