// The credentials of an instance's role, from its metadata service. Only by version 2 of its protocol:
// version 1 answers to whoever can make a server fetch an address.
#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"
#include "store/s3/credentials/providers.h"

namespace varve::store::s3 {
namespace {

constexpr std::string_view kHost = "http://169.254.169.254";
constexpr std::string_view kRoles = "/latest/meta-data/iam/security-credentials/";

Error refused(const net::HttpResponse& answer, std::string_view what) {
  return Error{Code::kDenied,
               fmt::format("the instance's metadata: {} was answered with {}", what, answer.status)}
      .with_retry(answer.status >= 500 || answer.status == 429 ? Retry::kTransient : Retry::kNever);
}

}  // namespace

MaybeCredentials from_instance(const Context& ctx, const Environment& env, net::HttpClient& direct) {
  if (to_lower(env("AWS_EC2_METADATA_DISABLED")) == "true") return std::nullopt;
  std::string host = env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
  if (host.empty())
    host =
        to_lower(env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")) == "ipv6" ? "http://[fd00:ec2::254]" : kHost;
  while (host.ends_with('/')) host.pop_back();

  auto session = direct.send(ctx, {.method = "PUT",
                                   .url = host + "/latest/api/token",
                                   .headers = {{"X-aws-ec2-metadata-token-ttl-seconds", "21600"}}});
  if (!session) {
    // No such machine, or not of that kind. Being stopped is another matter.
    TRY_OK(ctx.check());
    log::debug("no instance metadata: {}", session.error().describe());
    return std::nullopt;
  }
  if (session->status == 404 || session->status == 405) return std::nullopt;  // another cloud's service
  if (session->status != 200) return fail(refused(*session, "the request for a session"));
  const net::Header token{"X-aws-ec2-metadata-token", std::string(trim(as_text(session->body)))};

  const std::string roles = host + std::string(kRoles);
  TRY_ASSIGN(const auto listed, direct.send(ctx, {.url = roles, .headers = {token}}));
  if (listed.status == 404) return std::nullopt;  // an instance without a role
  if (listed.status != 200) return fail(refused(listed, "the question for its role"));
  const std::string_view role = trim(as_text(listed.body).substr(0, as_text(listed.body).find('\n')));
  if (role.empty() || role.size() > 256) return std::nullopt;
  TRY_ASSIGN(const auto answer,
             direct.send(ctx, {.url = roles + net::percent_encode(role), .headers = {token}}));
  if (answer.status != 200) return fail(refused(answer, "the question for credentials"));
  return parse_credentials_json(as_text(answer.body), "Token", "the instance's role " + printable(role));
}

}  // namespace varve::store::s3
