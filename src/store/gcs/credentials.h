// Who we are to Google: access tokens, from whatever Google's own tools would take (Application Default
// Credentials).
#pragma once

#include <memory>
#include <string>

#include "base/context.h"
#include "crypto/crypto.h"
#include "net/http.h"
#include "store/cloud/expiring.h"

namespace varve::store::gcs {

// Fetches an access token. Thread-safe. Errors hold no secrets.
class TokenSource {
 public:
  using Fetched = cloud::Expiring<std::string>::Fetched;

  virtual ~TokenSource() = default;
  TokenSource() = default;
  TokenSource(const TokenSource&) = delete;
  TokenSource& operator=(const TokenSource&) = delete;

  // `scope`: what the token is to be good for, where the source can choose.
  virtual Result<Fetched> fetch(const Context& ctx, const std::string& scope) = 0;
  // "the service account a@b of /path": for messages.
  virtual std::string describe() const = 0;
};

// Full control of storage: a role bounds it further, and less than that cannot extend a retention.
inline constexpr const char* kStorageScope = "https://www.googleapis.com/auth/devstorage.full_control";
inline constexpr const char* kCloudScope = "https://www.googleapis.com/auth/cloud-platform";

struct CredentialOptions {
  std::string file = {};  // the setting; empty: as below
  std::string ca_file = {};
};

// In this order: the file of the options, $GOOGLE_APPLICATION_CREDENTIALS, gcloud's own file
// ($CLOUDSDK_CONFIG or ~/.config/gcloud, application_default_credentials.json), the metadata server
// ($GCE_METADATA_HOST). Files are read here: kUsage for one that is named and is none, kUnsupported for a
// kind that is not known. The metadata server is asked by the first fetch.
Result<std::unique_ptr<TokenSource>> find_credentials(const CredentialOptions& options);

// From the content of a credentials file; `path` is for messages.
Result<std::unique_ptr<TokenSource>> credentials_from(std::string_view json, const std::string& path,
                                                      std::shared_ptr<net::HttpClient> http);

std::unique_ptr<TokenSource> metadata_credentials(const std::string& host);

// A service account's key, and what it signs to get a token.
struct ServiceAccount {
  std::string email, key_id, token_uri;
  crypto::SecretText private_key;
};
Result<std::string> signed_assertion(const ServiceAccount& account, const std::string& scope, Timestamp at);

}  // namespace varve::store::gcs
