// The Security Token Service: credentials of a role, for those of another or for the token of an identity
// provider.
#include <fmt/format.h>

#include "base/text.h"
#include "os/file.h"
#include "store/cloud/answer.h"
#include "store/s3/credentials/providers.h"
#include "store/s3/xml.h"

namespace varve::store::s3 {
namespace {

constexpr size_t kMostToken = 64 << 10;

Query role_query(const char* action, const RoleRequest& role) {
  Query out = {{"Action", action},
               {"Version", "2011-06-15"},
               {"RoleArn", role.role_arn},
               {"RoleSessionName", role.session_name.empty() ? "varve" : role.session_name}};
  if (!role.external_id.empty()) out.emplace_back("ExternalId", role.external_id);
  if (!role.duration.empty()) out.emplace_back("DurationSeconds", role.duration);
  return out;
}

Result<FetchedCredentials> ask(const Context& ctx, Sts& sts, const Query& form, const Credentials* base,
                               const std::string& doing) {
  const crypto::SecretText text(canonical_query(form));
  const ByteView body = as_bytes(text.text());
  net::HttpRequest request{.method = "POST",
                           .url = sts.endpoint + "/",
                           .headers = {{"Content-Type", "application/x-www-form-urlencoded"}},
                           .body = std::span(&body, 1)};
  if (base != nullptr) {
    SigningInput input{.method = "POST",
                       .host = sts.endpoint.substr(sts.endpoint.find("://") + 3),
                       .path = "/",
                       .headers = request.headers,
                       .payload = payload_hash(request.body),
                       .region = sts.region,
                       .service = "sts",
                       .at = now()};
    input.headers.push_back({"x-amz-date", amz_date(input.at)});
    if (!base->session_token.empty())
      input.headers.push_back({"x-amz-security-token", std::string(base->session_token.text())});
    request.headers = input.headers;
    request.headers.push_back({"Authorization", authorization(input, *base)});
  }
  auto answer = sts.http.send(ctx, request);
  if (!answer) return fail(std::move(answer).error().with_context(doing));
  if (answer->status != 200) {
    const auto said = parse_sts_error(answer->body);
    Error error = cloud::error_of(*answer, doing, said ? said->code : "", said ? said->message : "");
    if (error.retry == Retry::kNever) error.code = Code::kDenied;
    if (said && (said->code == "Throttling" || said->code == "IDPCommunicationError"))
      error.retry = Retry::kThrottled;
    return fail(std::move(error));
  }
  auto read = parse_sts(answer->body);
  if (!read) return fail(cloud::nonsense(*answer, doing, read.error().message));
  return FetchedCredentials{std::move(read->credentials), read->expires};
}

}  // namespace

Result<FetchedCredentials> assume_role(const Context& ctx, Sts& sts, const RoleRequest& role,
                                       const Credentials& base) {
  const std::string doing = fmt::format("assuming the role {}", printable(role.role_arn));
  TRY_ASSIGN(auto out, ask(ctx, sts, role_query("AssumeRole", role), &base, doing));
  out.value.source = "the role " + printable(role.role_arn);
  return out;
}

Result<FetchedCredentials> assume_role_with_token(const Context& ctx, Sts& sts, const RoleRequest& role,
                                                  const std::string& token_file) {
  const std::string doing = fmt::format("assuming the role {} by a web identity", printable(role.role_arn));
  auto bytes = os::read_file(token_file, kMostToken);
  if (!bytes) return fail(std::move(bytes).error().with_context(doing));
  Query form = role_query("AssumeRoleWithWebIdentity", role);
  form.emplace_back("WebIdentityToken", std::string(trim(as_text(*bytes))));
  TRY_ASSIGN(auto out, ask(ctx, sts, form, nullptr, doing));
  out.value.source = "the role " + printable(role.role_arn);
  return out;
}

}  // namespace varve::store::s3
