// One function for each place that gives credentials. nullopt: it is not set up.
#pragma once

#include "base/context.h"
#include "net/http.h"
#include "store/s3/credentials.h"

namespace varve::store::s3 {

using MaybeCredentials = Result<std::optional<FetchedCredentials>>;

MaybeCredentials from_environment(const Environment& env);
// Keys in a profile.
MaybeCredentials from_section(const IniSection& section, const std::string& profile);
// The output of a command, as `credential_process` defines it; split in words, and run without a shell.
Result<FetchedCredentials> from_process(const Context& ctx, const std::string& command);
// `direct`: past proxies, which have no business with what is asked of the machine's own surroundings.
MaybeCredentials from_container(const Context& ctx, const Environment& env, net::HttpClient& direct);
// Quick to find that there is no instance.
MaybeCredentials from_instance(const Context& ctx, const Environment& env, net::HttpClient& direct);

struct RoleRequest {
  std::string role_arn = {};
  std::string session_name = {};  // empty: "varve"
  std::string external_id = {};
  std::string duration = {};  // in seconds; empty: the role's
};
struct Sts {
  std::string endpoint;  // "https://sts.eu-west-1.amazonaws.com"
  std::string region;
  net::HttpClient& http;
};
// AssumeRole, by `base`.
Result<FetchedCredentials> assume_role(const Context& ctx, Sts& sts, const RoleRequest& role,
                                       const Credentials& base);
// AssumeRoleWithWebIdentity; the file is read anew each time, for whoever writes it renews it.
Result<FetchedCredentials> assume_role_with_token(const Context& ctx, Sts& sts, const RoleRequest& role,
                                                  const std::string& token_file);

// {"AccessKeyId", "SecretAccessKey", `token`, "Expiration"}, the form of metadata, containers and processes.
Result<FetchedCredentials> parse_credentials_json(std::string_view text, const char* token_name,
                                                  const std::string& source);

}  // namespace varve::store::s3
