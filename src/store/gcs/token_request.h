// What every exchange for a token has in common.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "net/http.h"
#include "store/gcs/credentials.h"

namespace varve::store::gcs {

// "a=b&c=d", percent-encoded.
std::string form(std::initializer_list<std::pair<std::string_view, std::string_view>> fields);

// https, or http on this machine; kUsage otherwise. `what`: "the token_uri of /path".
Result<> check_token_url(std::string_view url, const std::string& what);
// http://localhost, 127.x.x.x or [::1]
bool is_loopback_http(std::string_view url);

// POSTs a form to a token endpoint (authorization: a whole header, or empty) and takes the token.
Result<TokenSource::Fetched> request_token(const Context& ctx, net::HttpClient& http, const std::string& url,
                                           const std::string& body, const std::string& authorization,
                                           const std::string& doing);

// The answer of a server that gives out tokens and did not: kDenied where it says that it will not.
Error token_error(const net::HttpResponse& answer, const std::string& doing);

}  // namespace varve::store::gcs
