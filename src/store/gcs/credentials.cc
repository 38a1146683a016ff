#include "store/gcs/credentials.h"

#include <cstdlib>
#include <fmt/format.h>

#include "base/text.h"
#include "crypto/signing.h"
#include "os/file.h"
#include "store/cloud/answer.h"
#include "store/gcs/answers.h"
#include "store/gcs/federation.h"
#include "store/gcs/json.h"
#include "store/gcs/token_request.h"

namespace varve::store::gcs {
namespace {

constexpr uint64_t kMostFile = 256 << 10;
constexpr const char* kGoogleTokens = "https://oauth2.googleapis.com/token";
constexpr const char* kMetadataHost = "metadata.google.internal";
constexpr std::chrono::seconds kAssertionLasts{3600};
constexpr const char* kOrder =
    "set credentials_file, or GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default "
    "login`; "
    "docs/stores/gcs.md tells how to make a service account";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

class KeySource : public TokenSource {
 public:
  KeySource(ServiceAccount account, std::string path, std::shared_ptr<net::HttpClient> http)
      : account_(std::move(account)), path_(std::move(path)), http_(std::move(http)) {}

  Result<Fetched> fetch(const Context& ctx, const std::string& scope) override {
    TRY_ASSIGN(const std::string assertion, signed_assertion(account_, scope, now()));
    return request_token(
        ctx, *http_, account_.token_uri,
        form({{"grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"}, {"assertion", assertion}}), "",
        "signing in as " + describe());
  }
  std::string describe() const override {
    return fmt::format("the service account {} ({})", printable(account_.email), printable(path_));
  }

 private:
  const ServiceAccount account_;
  const std::string path_;
  const std::shared_ptr<net::HttpClient> http_;
};

// What `gcloud auth application-default login` leaves: a person's consent.
class PersonSource : public TokenSource {
 public:
  struct Grant {
    std::string client_id, token_uri;
    crypto::SecretText client_secret, refresh_token;
  };
  PersonSource(Grant grant, std::string path, std::shared_ptr<net::HttpClient> http)
      : grant_(std::move(grant)), path_(std::move(path)), http_(std::move(http)) {}

  Result<Fetched> fetch(const Context& ctx, const std::string&) override {
    return request_token(ctx, *http_, grant_.token_uri,
                         form({{"grant_type", "refresh_token"},
                               {"client_id", grant_.client_id},
                               {"client_secret", grant_.client_secret.text()},
                               {"refresh_token", grant_.refresh_token.text()}}),
                         "", "signing in as " + describe());
  }
  std::string describe() const override {
    return fmt::format("the person who signed in to gcloud ({})", printable(path_));
  }

 private:
  const Grant grant_;
  const std::string path_;
  const std::shared_ptr<net::HttpClient> http_;
};

class MetadataSource : public TokenSource {
 public:
  explicit MetadataSource(const std::string& host)
      : host_(host),
        http_({.connect_within = std::chrono::seconds(3),
               .stalled_after = std::chrono::seconds(10),
               .direct = true}) {}

  Result<Fetched> fetch(const Context& ctx, const std::string&) override {
    const std::string doing = "asking " + describe() + " for a token";
    net::HttpRequest request;
    request.url = fmt::format("http://{}/computeMetadata/v1/instance/service-accounts/default/token", host_);
    request.headers = {{"Metadata-Flavor", "Google"}};
    const Timestamp asked = now();
    auto answer = http_.send(ctx, request);
    if (!answer) return fail(absent(ctx, std::move(answer).error(), doing));
    // Whoever else answers there must not be believed.
    if (answer->header("metadata-flavor") != "Google")
      return fail(absent(ctx, cloud::nonsense(*answer, doing, "it is not marked as Google's"), doing));
    answered_ = true;
    if (answer->status == 404)
      return fail(Code::kDenied, fmt::format("{}: this machine has no service account", doing),
                  "attach a service account to the machine, or set credentials_file");
    if (answer->status != 200) return fail(token_error(*answer, doing));
    auto token = parse_token(as_text(answer->body));
    if (!token) return fail(cloud::nonsense(*answer, doing, token.error().message));
    return Fetched{std::move(token->token), asked + token->lasts};
  }
  std::string describe() const override { return fmt::format("the metadata server ({})", printable(host_)); }

 private:
  // Where it never answered this is most likely no machine of Google's: to wait for it would tell nobody
  // anything.
  Error absent(const Context& ctx, Error error, const std::string& doing) const {
    if (answered_ || !ctx.check()) return std::move(error).with_context(doing);
    return Error{Code::kDenied, "no credentials for Google Cloud were found", kOrder}.caused_by(
        std::move(error));
  }

  const std::string host_;
  net::HttpClient http_;
  std::atomic<bool> answered_ = false;
};

Result<std::unique_ptr<TokenSource>> key_from(const nlohmann::json& json, const std::string& path,
                                              std::shared_ptr<net::HttpClient> http) {
  ServiceAccount account;
  TRY_ASSIGN(account.email, json_text(json, "client_email"));
  TRY_ASSIGN(account.key_id, json_text(json, "private_key_id"));
  TRY_ASSIGN(std::string key, json_text(json, "private_key"));
  account.private_key = crypto::SecretText(std::move(key));
  TRY_ASSIGN(account.token_uri, optional_text(json, "token_uri"));
  if (account.token_uri.empty()) account.token_uri = kGoogleTokens;
  TRY_OK(check_token_url(account.token_uri, "its token_uri"));
  TRY_OK(signed_assertion(account, kStorageScope, now()));  // a damaged key is told now, not at night
  return std::make_unique<KeySource>(std::move(account), path, std::move(http));
}

Result<std::unique_ptr<TokenSource>> person_from(const nlohmann::json& json, const std::string& path,
                                                 std::shared_ptr<net::HttpClient> http) {
  PersonSource::Grant grant;
  TRY_ASSIGN(grant.client_id, json_text(json, "client_id"));
  TRY_ASSIGN(std::string secret, json_text(json, "client_secret"));
  grant.client_secret = crypto::SecretText(std::move(secret));
  TRY_ASSIGN(std::string refresh, json_text(json, "refresh_token"));
  grant.refresh_token = crypto::SecretText(std::move(refresh));
  TRY_ASSIGN(grant.token_uri, optional_text(json, "token_uri"));
  if (grant.token_uri.empty()) grant.token_uri = kGoogleTokens;
  TRY_OK(check_token_url(grant.token_uri, "its token_uri"));
  return std::make_unique<PersonSource>(std::move(grant), path, std::move(http));
}

Result<std::unique_ptr<TokenSource>> read_credentials(const std::string& path, const std::string& named_by,
                                                      std::shared_ptr<net::HttpClient> http) {
  auto bytes = os::read_file(path, kMostFile);
  if (!bytes) {
    auto error = std::move(bytes).error();
    if (error.code == Code::kNotFound) error.code = Code::kUsage;
    return fail(std::move(error).with_context("reading the credentials that " + named_by + " names"));
  }
  auto source = credentials_from(as_text(*bytes), path, std::move(http));
  crypto::wipe(*bytes);
  return source;
}

std::string gcloud_folder() {
  std::string folder = environment("CLOUDSDK_CONFIG");
  if (!folder.empty()) return folder;
  const std::string home = environment("HOME");
  return home.empty() ? "" : home + "/.config/gcloud";
}

}  // namespace

Result<std::string> signed_assertion(const ServiceAccount& account, const std::string& scope, Timestamp at) {
  const int64_t seconds = std::chrono::floor<Seconds>(at).time_since_epoch().count();
  const nlohmann::json header = {{"alg", "RS256"}, {"typ", "JWT"}, {"kid", account.key_id}};
  const nlohmann::json claims = {{"iss", account.email},
                                 {"scope", scope},
                                 {"aud", account.token_uri},
                                 {"iat", seconds},
                                 {"exp", seconds + kAssertionLasts.count()}};
  const auto part = [](const nlohmann::json& json) {
    return crypto::to_base64url(
        as_bytes(json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
  };
  std::string out = part(header) + "." + part(claims);
  TRY_ASSIGN(const Buffer signature, crypto::sign_rs256(account.private_key.text(), as_bytes(out)));
  return out + "." + crypto::to_base64url(signature);
}

Result<std::unique_ptr<TokenSource>> credentials_from(std::string_view text, const std::string& path,
                                                      std::shared_ptr<net::HttpClient> http) {
  const auto named = [&](Result<std::unique_ptr<TokenSource>> source) {
    if (source) return source;
    Error error = std::move(source).error();
    if (error.code == Code::kDamaged) error.code = Code::kUsage;
    if (error.hint.empty()) error.hint = "it must be a file as Google Cloud's console or gcloud writes it";
    error.message = fmt::format("{} is no usable credentials file: {}", printable(path), error.message);
    return Result<std::unique_ptr<TokenSource>>(fail(std::move(error)));
  };
  const auto json = parse_json(text, kMostFile);
  if (!json) return named(fail(json.error()));
  const auto type = json_text(*json, "type");
  if (!type) return named(fail(type.error()));
  if (*type == "service_account") return named(key_from(*json, path, std::move(http)));
  if (*type == "authorized_user") return named(person_from(*json, path, std::move(http)));
  if (*type == "external_account") return named(federated_from(*json, path, std::move(http)));
  if (*type == "impersonated_service_account") {
    const nlohmann::json* source = json_object(*json, "source_credentials");
    if (!source) return named(fail(Code::kUsage, "its \"source_credentials\" are missing"));
    const std::string kind = optional_text(*source, "type").value_or("");
    if (kind != "service_account" && kind != "authorized_user")
      return named(fail(Code::kUnsupported, "its \"source_credentials\" are of an unknown kind"));
    auto inner = kind == "service_account" ? key_from(*source, path, http) : person_from(*source, path, http);
    if (!inner) return named(std::move(inner));
    return named(impersonated_from(*json, std::move(*inner), std::move(http)));
  }
  return named(fail(
      Code::kUnsupported, fmt::format("credentials of the type \"{}\" are not known here", printable(*type)),
      "service_account, authorized_user, external_account and impersonated_service_account are"));
}

std::unique_ptr<TokenSource> metadata_credentials(const std::string& host) {
  return std::make_unique<MetadataSource>(host);
}

Result<std::unique_ptr<TokenSource>> find_credentials(const CredentialOptions& options) {
  auto http = std::make_shared<net::HttpClient>(
      net::HttpClientOptions{.most_kept = size_t{1} << 20, .ca_file = options.ca_file});
  if (!options.file.empty()) return read_credentials(options.file, "credentials_file", std::move(http));
  if (const std::string file = environment("GOOGLE_APPLICATION_CREDENTIALS"); !file.empty())
    return read_credentials(file, "GOOGLE_APPLICATION_CREDENTIALS", std::move(http));
  if (const std::string folder = gcloud_folder(); !folder.empty()) {
    const std::string file = folder + "/application_default_credentials.json";
    TRY_ASSIGN(const auto there, os::status(file));
    if (there) return read_credentials(file, "gcloud", std::move(http));
  }
  const std::string host = environment("GCE_METADATA_HOST");
  return metadata_credentials(host.empty() ? kMetadataHost : host);
}

}  // namespace varve::store::gcs
