// What the tests of failures ask of the client.
#pragma once

#include <gmock/gmock.h>

#include "net/http.h"
#include "net/testing_server.h"

namespace varve::net::testing {

// The failure of a request that cannot succeed; no secret may be in it.
inline Error failure(HttpClient& client, HttpRequest request, const HttpSink& sink = {},
                     const Context& ctx = {}) {
  request.url += "?X-Signature=SECRET";
  request.headers.push_back({"Authorization", "SECRET"});
  auto response = client.send(ctx, request, sink);
  if (response) {
    ADD_FAILURE() << "answered " << response->status;
    return {};
  }
  EXPECT_THAT(response.error().describe() + response.error().hint,
              ::testing::Not(::testing::HasSubstr("SECRET")));
  return response.error();
}

inline Error failure_of(const TestServer& server, const std::string& method = "GET",
                        HttpClientOptions options = {}) {
  HttpClient client(std::move(options));
  const ByteView pieces[] = {as_bytes("a body")};
  HttpRequest request{.method = method, .url = server.url("/path/SECRET")};
  if (method == "PUT") request.body = pieces;
  Error error = failure(client, request);
  EXPECT_THAT(error.message, ::testing::StartsWith(server.url(""))) << error.describe();
  EXPECT_EQ(error.code, Code::kUnreachable);
  return error;
}

}  // namespace varve::net::testing
