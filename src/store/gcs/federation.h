// Credentials that borrow another identity: workload-identity federation, and acting as a service account.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "store/gcs/credentials.h"

namespace varve::store::gcs {

// "external_account": a subject token from a file or a URL, exchanged at the token service, and, where the
// file says so, for a service account's token.
Result<std::unique_ptr<TokenSource>> federated_from(const nlohmann::json& json, const std::string& path,
                                                    std::shared_ptr<net::HttpClient> http);

// "impersonated_service_account", and the second step above: `inner` acts as the account that
// service_account_impersonation_url names.
Result<std::unique_ptr<TokenSource>> impersonated_from(const nlohmann::json& json,
                                                       std::unique_ptr<TokenSource> inner,
                                                       std::shared_ptr<net::HttpClient> http);

}  // namespace varve::store::gcs
