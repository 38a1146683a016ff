// Tokens of Microsoft Entra ID for blob storage: from its token endpoint by a secret, a certificate or a
// federated token, and from the identity that Azure gives a machine, a container or a server under Azure Arc.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "crypto/crypto.h"
#include "net/http.h"
#include "store/azure/settings.h"
#include "store/cloud/expiring.h"

namespace varve::store::azure {

using Token = cloud::Expiring<crypto::SecretText>::Fetched;
using FetchToken = cloud::Expiring<crypto::SecretText>::Fetch;

// Who asks: the tenant, the application or the identity, and where tokens are given.
struct Login {
  std::string authority = {};  // "https://login.microsoftonline.com", without '/' at its end
  std::string tenant = {}, client_id = {};
};
// $AZURE_AUTHORITY_HOST, $AZURE_TENANT_ID, $AZURE_CLIENT_ID; the setting client_id wins over the last. kUsage
// for an authority without TLS that is not this machine.
Result<Login> find_login(const Settings& settings, const Environment& environment);

FetchToken tokens_by_secret(std::shared_ptr<net::HttpClient> http, Login login, crypto::SecretText secret);
// A file in PEM with an RSA key and the certificate that is registered for it. Read at each fetch.
FetchToken tokens_by_certificate(std::shared_ptr<net::HttpClient> http, Login login, std::string file);
// Kubernetes and others put the token of a workload there, and renew it. Read at each fetch.
FetchToken tokens_by_federation(std::shared_ptr<net::HttpClient> http, Login login, std::string file);
// By $IDENTITY_ENDPOINT with $IDENTITY_HEADER (App Service, Container Apps, Functions), by $IDENTITY_ENDPOINT
// with $IMDS_ENDPOINT (Azure Arc), else by the instance metadata service. `surely`: the person said that
// there is one; else a metadata service that does not answer means that this is no machine of Azure's.
FetchToken tokens_by_identity(std::string client_id, const Environment& environment, bool surely);

// A token endpoint's answer; kUnreachable for what is none. Lifetimes are numbers, or text that is one.
Result<Token> parse_token(std::string_view json);

// The header and claims by which an application with a certificate names itself (RFC 7523), without the
// signature; `thumbprint`: of the certificate (SHA-256).
std::string client_assertion(const Login& login, ByteView thumbprint, Timestamp at, std::string_view id);

}  // namespace varve::store::azure
