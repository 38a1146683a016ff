#include "store/azure/tokens.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "crypto/signing.h"
#include "os/file.h"
#include "store/cloud/answer.h"

namespace varve::store::azure {
namespace {

constexpr std::string_view kScope = "https://storage.azure.com/.default";
constexpr size_t kMostFile = 64 << 10;
constexpr std::chrono::hours kLongestLife{24};
constexpr Seconds kUnknownLife{300};
constexpr std::chrono::minutes kAssertionLife{10};

using Json = nlohmann::json;
using Fields = std::vector<std::pair<std::string_view, std::string_view>>;

Json parse_object(std::string_view text) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  return json.is_object() ? json : Json::object();
}

std::string text_of(const Json& json, const char* name) {
  const auto it = json.find(name);
  return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
}

std::optional<int64_t> number_of(const Json& json, const char* name) {
  const auto it = json.find(name);
  if (it == json.end()) return std::nullopt;
  if (it->is_number_integer()) return it->get<int64_t>();
  if (!it->is_string()) return std::nullopt;
  const std::string text = it->get<std::string>();
  int64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return out;
}

std::string form_of(const Fields& fields) {
  std::string out;
  for (const auto& [name, value] : fields)
    out += fmt::format("{}{}={}", out.empty() ? "" : "&", name, net::percent_encode(value));
  return out;
}

// The endpoint's own words are for people and hold no secret; the first line of several.
Error refusal(const net::HttpResponse& answer, const std::string& doing) {
  const Json json = parse_object(as_text(answer.body));
  const std::string description = text_of(json, "error_description");
  const std::string_view line = std::string_view(description).substr(0, description.find_first_of("\r\n"));
  Error out = cloud::error_of(answer, doing, text_of(json, "error"), line);
  if (answer.status == 400 || answer.status == 401) {
    out.code = Code::kDenied;
    out.hint = "look at the tenant, the client's id and its secret, certificate or federation";
  }
  return out;
}

Result<Token> token_of(const net::HttpResponse& answer, const std::string& doing) {
  if (answer.status != 200) return fail(refusal(answer, doing));
  auto token = parse_token(as_text(answer.body));
  if (!token) return fail(cloud::nonsense(answer, doing, token.error().message));
  return token;
}

Result<Token> ask_authority(const Context& ctx, net::HttpClient& http, const Login& login, Fields fields) {
  const std::string doing = fmt::format("asking {} for a token", printable(login.authority));
  fields.insert(fields.end(),
                {{"grant_type", "client_credentials"}, {"client_id", login.client_id}, {"scope", kScope}});
  std::string form = form_of(fields);
  const ByteView body = as_bytes(form);
  net::HttpRequest request{.method = "POST",
                           .url = fmt::format("{}/{}/oauth2/v2.0/token", login.authority, login.tenant),
                           .headers = {{"Content-Type", "application/x-www-form-urlencoded"}},
                           .body = std::span(&body, 1)};
  auto answer = http.send(ctx, request);
  crypto::wipe(std::as_writable_bytes(std::span(form)));
  if (!answer) return fail(std::move(answer).error().with_context(doing));
  return token_of(*answer, doing);
}

constexpr char kAssertionType[] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

Result<Token> ask_by_assertion(const Context& ctx, net::HttpClient& http, const Login& login,
                               std::string_view assertion) {
  return ask_authority(ctx, http, login,
                       {{"client_assertion_type", kAssertionType}, {"client_assertion", assertion}});
}

Result<crypto::SecretText> read_secret(const std::string& file, size_t most = kMostFile) {
  TRY_ASSIGN(Buffer bytes, os::read_file(file, most));
  crypto::SecretText out{std::string(trim(as_text(bytes)))};
  crypto::wipe(bytes);
  if (out.empty()) return fail(Code::kUsage, fmt::format("{} is empty", printable(file)));
  return out;
}

Result<crypto::Sha256> thumbprint_of(std::string_view pem) {
  constexpr std::string_view kBegin = "-----BEGIN CERTIFICATE-----", kEnd = "-----END CERTIFICATE-----";
  const size_t begin = pem.find(kBegin);
  const size_t end = begin == pem.npos ? begin : pem.find(kEnd, begin);
  if (end == pem.npos) return fail(Code::kUsage, "there is no certificate in it");
  std::string text(pem.substr(begin + kBegin.size(), end - begin - kBegin.size()));
  std::erase_if(text, [](char c) { return c == '\n' || c == '\r' || c == ' '; });
  TRY_ASSIGN(const Buffer der, crypto::from_base64(text));
  return crypto::sha256(der);
}

Result<std::string> signed_assertion(const Login& login, std::string_view pem) {
  TRY_ASSIGN(const crypto::Sha256 thumbprint, thumbprint_of(pem));
  const std::string id = to_hex(crypto::random_array<16>());
  std::string assertion = client_assertion(login, thumbprint, now(), id);
  TRY_ASSIGN(const Buffer signature, crypto::sign_ps256(pem, as_bytes(assertion)));
  return assertion + "." + crypto::to_base64url(signature);
}

}  // namespace

Result<Token> parse_token(std::string_view json) {
  const Json answer = parse_object(json);
  Token out{crypto::SecretText(text_of(answer, "access_token")), std::nullopt};
  const bool fine = std::all_of(out.value.text().begin(), out.value.text().end(),
                                [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  if (out.value.empty() || !fine) return fail(Code::kUnreachable, "there is no token in it");
  const Timestamp at = now();
  if (const auto left = number_of(answer, "expires_in")) {
    out.expires = at + Seconds(std::clamp<int64_t>(*left, 0, Seconds(kLongestLife).count()));
  } else if (const auto until = number_of(answer, "expires_on")) {
    const int64_t present = std::chrono::floor<Seconds>(at).time_since_epoch().count();
    const int64_t last = present + Seconds(kLongestLife).count();
    out.expires = Timestamp(Seconds(std::clamp(*until, present, last)));
  } else {
    out.expires = at + kUnknownLife;
  }
  return out;
}

Result<Login> find_login(const Settings& settings, const Environment& environment) {
  Login out;
  out.authority = environment("AZURE_AUTHORITY_HOST").value_or("https://login.microsoftonline.com");
  if (out.authority.find("://") == out.authority.npos) out.authority = "https://" + out.authority;
  while (out.authority.ends_with('/')) out.authority.pop_back();
  if (!out.authority.starts_with("https://") && !is_loopback(out.authority))
    return fail(Code::kUsage, "AZURE_AUTHORITY_HOST is asked for tokens without encryption",
                "write https://…");
  out.tenant = environment("AZURE_TENANT_ID").value_or("");
  out.client_id = settings.text("client_id", environment("AZURE_CLIENT_ID").value_or(""));
  const bool word = std::all_of(out.tenant.begin(), out.tenant.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  });
  if (!word) return fail(Code::kUsage, "AZURE_TENANT_ID is no tenant's id or domain");
  return out;
}

std::string client_assertion(const Login& login, ByteView thumbprint, Timestamp at, std::string_view id) {
  const auto second = [](Timestamp t) { return std::chrono::floor<Seconds>(t).time_since_epoch().count(); };
  const Json header = {{"alg", "PS256"}, {"typ", "JWT"}, {"x5t#S256", crypto::to_base64url(thumbprint)}};
  const Json claims = {{"aud", fmt::format("{}/{}/oauth2/v2.0/token", login.authority, login.tenant)},
                       {"iss", login.client_id},
                       {"sub", login.client_id},
                       {"jti", id},
                       {"nbf", second(at)},
                       {"iat", second(at)},
                       {"exp", second(at + kAssertionLife)}};
  const auto encoded = [](const Json& json) {
    return crypto::to_base64url(as_bytes(json.dump(-1, ' ', true, Json::error_handler_t::replace)));
  };
  return encoded(header) + "." + encoded(claims);
}

FetchToken tokens_by_secret(std::shared_ptr<net::HttpClient> http, Login login, crypto::SecretText secret) {
  return [http = std::move(http), login = std::move(login), secret = std::move(secret)](const Context& ctx) {
    return ask_authority(ctx, *http, login, {{"client_secret", secret.text()}});
  };
}

FetchToken tokens_by_certificate(std::shared_ptr<net::HttpClient> http, Login login, std::string file) {
  return [http = std::move(http), login = std::move(login),
          file = std::move(file)](const Context& ctx) -> Result<Token> {
    TRY_ASSIGN(const crypto::SecretText pem, read_secret(file));
    auto assertion = signed_assertion(login, pem.text());
    if (!assertion)
      return fail(std::move(assertion).error().with_context("while reading " + printable(file)));
    return ask_by_assertion(ctx, *http, login, *assertion);
  };
}

FetchToken tokens_by_federation(std::shared_ptr<net::HttpClient> http, Login login, std::string file) {
  return [http = std::move(http), login = std::move(login),
          file = std::move(file)](const Context& ctx) -> Result<Token> {
    TRY_ASSIGN(const crypto::SecretText assertion, read_secret(file));
    return ask_by_assertion(ctx, *http, login, assertion.text());
  };
}

}  // namespace varve::store::azure
