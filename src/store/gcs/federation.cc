#include "store/gcs/federation.h"

#include <fmt/format.h>

#include "base/text.h"
#include "os/file.h"
#include "store/cloud/answer.h"
#include "store/gcs/answers.h"
#include "store/gcs/json.h"
#include "store/gcs/token_request.h"

namespace varve::store::gcs {
namespace {

constexpr uint64_t kMostSubject = 64 << 10;
constexpr size_t kMostHeaders = 32;
constexpr uint64_t kShortest = 600, kDefault = 3600, kLongest = 43200;  // seconds, as the service allows

// Where the workload's own identity provider puts its token.
struct SubjectSource {
  std::string file, url;  // one of them
  std::vector<net::Header> headers;
  std::string field;  // of a JSON object; empty: the whole text is the token
};

Result<SubjectSource> subject_from(const nlohmann::json& json) {
  const nlohmann::json* source = json_object(json, "credential_source");
  if (!source) return fail(Code::kUsage, "its \"credential_source\" is missing");
  if (source->contains("environment_id"))
    return fail(Code::kUnsupported, "identities of AWS are not known here",
                "let the workload write an OIDC token into a file, or use a service account's key");
  if (source->contains("executable") || source->contains("certificate"))
    return fail(Code::kUnsupported, "identities from a program or a certificate are not known here",
                "let the program write its token into a file, and name that in credential_source");
  SubjectSource out;
  TRY_ASSIGN(out.file, optional_text(*source, "file"));
  TRY_ASSIGN(out.url, optional_text(*source, "url"));
  if (out.file.empty() == out.url.empty())
    return fail(Code::kUsage, "its \"credential_source\" names neither one file nor one URL");
  if (const nlohmann::json* headers = json_object(*source, "headers")) {
    if (headers->size() > kMostHeaders) return fail(Code::kUsage, "its \"headers\" are too many");
    for (const auto& [name, value] : headers->items()) {
      if (!value.is_string()) return fail(Code::kUsage, "a header is no text");
      out.headers.push_back({name, value.get<std::string>()});
    }
  }
  if (const nlohmann::json* format = json_object(*source, "format")) {
    TRY_ASSIGN(const std::string type, optional_text(*format, "type"));
    if (type == "json") {
      TRY_ASSIGN(out.field, json_text(*format, "subject_token_field_name"));
    } else if (!type.empty() && type != "text") {
      return fail(Code::kUnsupported, "its \"format\" is neither text nor json");
    }
  }
  return out;
}

class FederatedSource : public TokenSource {
 public:
  struct Grant {
    std::string audience, subject_type, token_url;
    std::string client_id;
    crypto::SecretText client_secret;
    SubjectSource subject;
  };
  FederatedSource(Grant grant, std::string path, std::shared_ptr<net::HttpClient> http)
      : grant_(std::move(grant)), path_(std::move(path)), http_(std::move(http)) {}

  Result<Fetched> fetch(const Context& ctx, const std::string& scope) override {
    TRY_ASSIGN(const std::string subject, subject_token(ctx));
    std::string authorization;
    if (!grant_.client_id.empty()) {
      const std::string both = fmt::format("{}:{}", grant_.client_id, grant_.client_secret.text());
      authorization = "Basic " + crypto::to_base64(as_bytes(both));
    }
    return request_token(ctx, *http_, grant_.token_url,
                         form({{"grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"},
                               {"audience", grant_.audience},
                               {"scope", scope},
                               {"requested_token_type", "urn:ietf:params:oauth:token-type:access_token"},
                               {"subject_token_type", grant_.subject_type},
                               {"subject_token", subject}}),
                         authorization, "exchanging the token of " + describe());
  }
  std::string describe() const override {
    return fmt::format("the federated identity of {}", printable(path_));
  }

 private:
  // Read anew each time: whoever writes it renews it.
  Result<std::string> subject_token(const Context& ctx) {
    Buffer bytes;
    const SubjectSource& from = grant_.subject;
    const std::string doing = "reading the subject token of " + describe();
    if (!from.file.empty()) {
      auto read = os::read_file(from.file, kMostSubject);
      if (!read) return fail(std::move(read).error().with_context(doing));
      bytes = std::move(*read);
    } else {
      net::HttpRequest request;
      request.url = from.url;
      request.headers = from.headers;
      auto answer = http_->send(ctx, request);
      if (!answer) return fail(std::move(answer).error().with_context(doing));
      if (answer->status != 200) return fail(cloud::error_of(*answer, doing));
      bytes = std::move(answer->body);
    }
    std::string token(trim(as_text(bytes)));
    if (!from.field.empty()) {
      auto json = parse_json(as_text(bytes), kMostSubject);
      auto text = json ? json_text(*json, from.field.c_str()) : Result<std::string>(fail(json.error()));
      if (!text) return fail(Code::kDenied, fmt::format("{}: {}", doing, text.error().message));
      token = std::move(*text);
    }
    crypto::wipe(bytes);
    if (!is_token(token)) return fail(Code::kDenied, fmt::format("{}: there is no token in it", doing));
    return token;
  }

  const Grant grant_;
  const std::string path_;
  const std::shared_ptr<net::HttpClient> http_;
};

class ImpersonatedSource : public TokenSource {
 public:
  ImpersonatedSource(std::string url, uint64_t seconds, std::vector<std::string> delegates,
                     std::unique_ptr<TokenSource> inner, std::shared_ptr<net::HttpClient> http)
      : url_(std::move(url)),
        seconds_(seconds),
        delegates_(std::move(delegates)),
        inner_(std::move(inner)),
        http_(std::move(http)) {}

  Result<Fetched> fetch(const Context& ctx, const std::string& scope) override {
    TRY_ASSIGN(const Fetched own, inner_->fetch(ctx, kCloudScope));
    nlohmann::json asked = {{"scope", {scope}}, {"lifetime", fmt::format("{}s", seconds_)}};
    if (!delegates_.empty()) asked["delegates"] = delegates_;
    const std::string body = asked.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    const ByteView piece = as_bytes(body);
    const std::string doing = "acting as a service account for " + inner_->describe();
    net::HttpRequest request;
    request.method = "POST";
    request.url = url_;
    request.headers = {{"Content-Type", "application/json; charset=utf-8"},
                       {"Authorization", "Bearer " + own.value}};
    request.body = std::span<const ByteView>(&piece, 1);
    auto answer = http_->send(ctx, request);
    if (!answer) return fail(std::move(answer).error().with_context(doing));
    if (answer->status != 200) {
      Error error = token_error(*answer, doing);
      if (error.code == Code::kDenied)
        error.hint = "grant it roles/iam.serviceAccountTokenCreator on the service account";
      return fail(std::move(error));
    }
    auto token = parse_impersonated(as_text(answer->body));
    if (!token) return fail(cloud::nonsense(*answer, doing, token.error().message));
    return Fetched{std::move(token->token), token->expires};
  }
  std::string describe() const override { return "a service account, by " + inner_->describe(); }

 private:
  const std::string url_;
  const uint64_t seconds_;
  const std::vector<std::string> delegates_;
  const std::unique_ptr<TokenSource> inner_;
  const std::shared_ptr<net::HttpClient> http_;
};

Result<uint64_t> lifetime_of(const nlohmann::json& json) {
  const nlohmann::json* said = json_object(json, "service_account_impersonation");
  if (!said || !said->contains("token_lifetime_seconds")) return kDefault;
  TRY_ASSIGN(const uint64_t seconds, json_number(*said, "token_lifetime_seconds"));
  if (seconds < kShortest || seconds > kLongest)
    return fail(Code::kUsage,
                fmt::format("its \"token_lifetime_seconds\" are not between {} and {}", kShortest, kLongest));
  return seconds;
}

}  // namespace

Result<std::unique_ptr<TokenSource>> impersonated_from(const nlohmann::json& json,
                                                       std::unique_ptr<TokenSource> inner,
                                                       std::shared_ptr<net::HttpClient> http) {
  TRY_ASSIGN(std::string url, json_text(json, "service_account_impersonation_url"));
  TRY_OK(check_token_url(url, "its service_account_impersonation_url"));
  TRY_ASSIGN(const uint64_t seconds, lifetime_of(json));
  std::vector<std::string> delegates;
  if (const auto all = json.find("delegates"); all != json.end() && all->is_array()) {
    for (const auto& one : *all) {
      if (!one.is_string()) return fail(Code::kUsage, "a delegate is no name");
      delegates.push_back(one.get<std::string>());
    }
  }
  return std::make_unique<ImpersonatedSource>(std::move(url), seconds, std::move(delegates), std::move(inner),
                                              std::move(http));
}

Result<std::unique_ptr<TokenSource>> federated_from(const nlohmann::json& json, const std::string& path,
                                                    std::shared_ptr<net::HttpClient> http) {
  FederatedSource::Grant grant;
  TRY_ASSIGN(grant.audience, json_text(json, "audience"));
  TRY_ASSIGN(grant.subject_type, json_text(json, "subject_token_type"));
  TRY_ASSIGN(grant.token_url, json_text(json, "token_url"));
  TRY_OK(check_token_url(grant.token_url, "its token_url"));
  TRY_ASSIGN(grant.client_id, optional_text(json, "client_id"));
  TRY_ASSIGN(std::string secret, optional_text(json, "client_secret"));
  grant.client_secret = crypto::SecretText(std::move(secret));
  TRY_ASSIGN(grant.subject, subject_from(json));
  std::unique_ptr<TokenSource> out = std::make_unique<FederatedSource>(std::move(grant), path, http);
  if (!json.contains("service_account_impersonation_url")) return out;
  return impersonated_from(json, std::move(out), std::move(http));
}

}  // namespace varve::store::gcs
