// Azure Storage's Shared Key: what of a request is signed, and the signature.
#pragma once

#include <string>
#include <string_view>

#include "base/bytes.h"
#include "net/http.h"

namespace varve::store::azure {

// The text that is signed (the service's "StringToSign" for blobs, versions since 2015-02-21): the method,
// the standard headers that count, every x-ms- header, the path as it is in the URL and the decoded query.
// The path below the host follows the account's name, so that with an endpoint "http://host/account" the
// account is there twice, as the service has it.
std::string string_to_sign(const net::HttpRequest& request, std::string_view account);

// "SharedKey account:signature", the value of Authorization. `key`: the account's key, decoded.
std::string shared_key_authorization(const net::HttpRequest& request, std::string_view account, ByteView key);

}  // namespace varve::store::azure
