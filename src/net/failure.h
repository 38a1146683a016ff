// What libcurl's verdict means for whoever asked, and whether it may pass.
#pragma once

#include <curl/curl.h>
#include <string>
#include <string_view>

#include "base/error.h"

namespace varve::net {

// `detail`: libcurl's own words, of which only those about names, connections and certificates are passed on.
Error failure_of(CURL* easy, CURLcode code, std::string_view detail, const std::string& origin);

}  // namespace varve::net
