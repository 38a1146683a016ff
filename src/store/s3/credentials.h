// Where the credentials come from: the places in which every tool for Amazon's services looks, in their
// order.
#pragma once

#include "store/cloud/expiring.h"
#include "store/s3/environment.h"
#include "store/s3/sigv4.h"

namespace varve::store::s3 {

using FetchCredentials = cloud::Expiring<Credentials>::Fetch;
using FetchedCredentials = cloud::Expiring<Credentials>::Fetched;

struct CredentialOptions {
  Environment env;
  std::string profile = {};  // one that was asked for: then the environment's keys do not count
  std::string region = {};   // for STS
  std::string ca_file = {};
};

// The first of these that is set up is used, and its failure is reported; the next is not tried instead.
//  1. AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN (not when a profile was asked for)
//  2. AWS_ROLE_ARN with AWS_WEB_IDENTITY_TOKEN_FILE (not when a profile was asked for)
//  3. the profile: keys; role_arn with source_profile, credential_source or web_identity_token_file;
//     credential_process
//  4. the container's: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or …_FULL_URI
//  5. the instance's metadata (IMDSv2), unless AWS_EC2_METADATA_DISABLED
// kDenied when there are none, with these places as a hint.
FetchCredentials credential_chain(CredentialOptions options);

}  // namespace varve::store::s3
