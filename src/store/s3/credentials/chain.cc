#include <fmt/format.h>
#include <memory>
#include <set>

#include "base/text.h"
#include "store/s3/credentials/providers.h"

namespace varve::store::s3 {
namespace {

constexpr const char* kPlaces =
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws/credentials, or give this "
    "machine or "
    "container a role: docs/stores/s3.md lists the places and their order";

net::HttpClientOptions near_options() {
  net::HttpClientOptions out;
  out.direct = true;
  out.connect_within = std::chrono::milliseconds(1000);
  out.stalled_after = std::chrono::milliseconds(5000);
  out.most_kept = 64 << 10;
  return out;
}
net::HttpClientOptions sts_options(const std::string& ca_file) {
  net::HttpClientOptions out;
  out.most_kept = 256 << 10;
  out.ca_file = ca_file;
  return out;
}

class Chain {
 public:
  explicit Chain(CredentialOptions options)
      : options_(std::move(options)), near_(near_options()), sts_http_(sts_options(options_.ca_file)) {}

  Result<FetchedCredentials> fetch(const Context& ctx) {
    // Read anew each time: whoever rotates keys writes them into these files.
    TRY_ASSIGN(const Profiles profiles, Profiles::load(options_.env));
    const bool asked = !options_.profile.empty();
    if (!asked) {
      TRY_ASSIGN(auto found, from_environment(options_.env));
      if (found) return std::move(*found);
      TRY_ASSIGN(found, from_web_identity(ctx));
      if (found) return std::move(*found);
    }
    const std::string set = options_.env("AWS_PROFILE");
    const std::string name = asked ? options_.profile : set.empty() ? "default" : set;
    if (profiles.find(name)) {
      std::set<std::string> seen;
      TRY_ASSIGN(auto found, from_profile(ctx, profiles, name, &seen));
      if (found) return std::move(*found);
    } else if (asked || !set.empty()) {
      return fail(Code::kDenied,
                  fmt::format("there is no profile \"{}\" in the files for credentials", printable(name)),
                  "look at ~/.aws/config and ~/.aws/credentials");
    }
    if (!asked) {
      TRY_ASSIGN(auto found, from_container(ctx, options_.env, near_));
      if (found) return std::move(*found);
      TRY_ASSIGN(found, from_instance(ctx, options_.env, near_));
      if (found) return std::move(*found);
    }
    return fail(Code::kDenied, "there are no credentials for S3", kPlaces);
  }

 private:
  Sts sts() {
    std::string endpoint = options_.env("AWS_ENDPOINT_URL_STS");
    while (endpoint.ends_with('/')) endpoint.pop_back();
    const std::string region = options_.region.empty() ? "us-east-1" : options_.region;
    if (endpoint.empty())
      endpoint =
          fmt::format("https://sts.{}.amazonaws.com{}", region, region.starts_with("cn-") ? ".cn" : "");
    return {endpoint, region, sts_http_};
  }

  MaybeCredentials from_web_identity(const Context& ctx) {
    const Environment& env = options_.env;
    const RoleRequest role{.role_arn = env("AWS_ROLE_ARN"), .session_name = env("AWS_ROLE_SESSION_NAME")};
    const std::string file = env("AWS_WEB_IDENTITY_TOKEN_FILE");
    if (role.role_arn.empty() || file.empty()) return std::nullopt;
    Sts service = sts();
    TRY_ASSIGN(auto out, assume_role_with_token(ctx, service, role, file));
    return out;
  }

  // `seen`: the profiles on the way here, for they may refer to each other in a circle.
  MaybeCredentials from_profile(const Context& ctx, const Profiles& profiles, const std::string& name,
                                std::set<std::string>* seen) {
    const auto section = profiles.find(name);
    if (!section) return fail(Code::kDenied, fmt::format("there is no profile \"{}\"", printable(name)));
    const auto value = [&](const char* key) {
      const auto at = section->find(key);
      return at == section->end() ? std::string() : at->second;
    };
    const bool again = !seen->insert(name).second;
    if (!value("role_arn").empty() && !again) {
      TRY_ASSIGN(auto out, from_role(ctx, profiles, name, *section, seen));
      return out;
    }
    // A profile may name itself as the source of its role: then its keys are meant.
    TRY_ASSIGN(auto keys, from_section(*section, name));
    if (keys) return keys;
    if (again)
      return fail(Code::kDenied,
                  fmt::format("the profile \"{}\" refers to itself and has no keys", printable(name)));
    if (const std::string command = value("credential_process"); !command.empty()) {
      TRY_ASSIGN(auto out, from_process(ctx, command));
      return out;
    }
    if (!value("sso_session").empty() || !value("sso_start_url").empty() || !value("login_session").empty())
      return fail(Code::kUnsupported,
                  fmt::format("the profile \"{}\" logs in by a browser (SSO), which Varve does not do",
                              printable(name)),
                  "use a role or keys; or credential_process = aws configure export-credentials --profile …");
    return std::nullopt;
  }

  Result<FetchedCredentials> from_role(const Context& ctx, const Profiles& profiles, const std::string& name,
                                       const IniSection& section, std::set<std::string>* seen) {
    const auto value = [&](const char* key) {
      const auto at = section.find(key);
      return at == section.end() ? std::string() : at->second;
    };
    const RoleRequest role{.role_arn = value("role_arn"),
                           .session_name = value("role_session_name"),
                           .external_id = value("external_id"),
                           .duration = value("duration_seconds")};
    if (!value("mfa_serial").empty())
      return fail(Code::kUnsupported,
                  fmt::format("the profile \"{}\" wants a code typed in (mfa_serial)", printable(name)),
                  "a backup runs by itself: use a role that does not");
    Sts service = sts();
    if (const std::string file = value("web_identity_token_file"); !file.empty())
      return assume_role_with_token(ctx, service, role, file);
    MaybeCredentials base = std::nullopt;
    const std::string source = value("source_profile"), place = value("credential_source");
    if (!source.empty()) {
      base = from_profile(ctx, profiles, source, seen);
    } else if (place == "Environment") {
      base = from_environment(options_.env);
    } else if (place == "EcsContainer") {
      base = from_container(ctx, options_.env, near_);
    } else if (place == "Ec2InstanceMetadata") {
      base = from_instance(ctx, options_.env, near_);
    } else {
      return fail(
          Code::kDenied,
          fmt::format("the profile \"{}\" has a role_arn and does not say who assumes it", printable(name)),
          "add source_profile, or credential_source = Environment, Ec2InstanceMetadata or EcsContainer");
    }
    if (!base) return fail(std::move(base).error().with_context("for the profile " + printable(name)));
    if (!*base)
      return fail(Code::kDenied,
                  fmt::format("there are no credentials to assume the role of the profile \"{}\" with",
                              printable(name)));
    return assume_role(ctx, service, role, (*base)->value);
  }

  const CredentialOptions options_;
  net::HttpClient near_, sts_http_;
};

}  // namespace

FetchCredentials credential_chain(CredentialOptions options) {
  auto chain = std::make_shared<Chain>(std::move(options));
  return [chain](const Context& ctx) { return chain->fetch(ctx); };
}

}  // namespace varve::store::s3
