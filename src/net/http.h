// HTTP requests, over libcurl: connections that are kept and shared, bodies that stream, waits that end.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/context.h"

namespace varve::net {

struct Header {
  std::string name, value;
};

struct HttpResponse;

struct HttpRequest {
  std::string method = "GET";
  std::string url = {};                 // whole and percent-encoded: it is sent byte for byte
  std::vector<Header> headers = {};     // Content-Length follows from the body; no Expect is sent
  std::span<const ByteView> body = {};  // in pieces, in order; stays with the caller until send() returns
  // Sees status and headers of the final response ahead of its body: what goes to a sink cannot be taken
  // back. An error ends the request and is returned.
  std::function<Result<>(const HttpResponse&)> on_head = {};
};

struct HttpResponse {
  int status = 0;
  std::vector<Header> headers;  // of the final response; names in lower case
  Buffer body;                  // what did not go to the sink
  // The first header of this name (in lower case).
  std::optional<std::string> header(std::string_view name) const;
  // "Retry-After" as seconds from now, in either of its forms; 0 where there is none, an hour at most.
  std::chrono::seconds retry_after() const;
  // The media type in lower case, without parameters.
  std::string media_type() const;
};

struct HttpClientOptions {
  std::chrono::milliseconds connect_within{10'000};
  std::chrono::milliseconds stalled_after{30'000};  // no byte moved either way for so long: given up
  size_t most_kept = size_t{16} << 20;              // of a body that does not go to a sink
  std::string ca_file = {};                         // in place of the system's; empty: the system's
  bool direct = false;  // past every proxy: what is asked of this machine's own surroundings (metadata)
};

// Receives the body of a 2xx response in parts of at most 256 KiB; an error ends the request and is returned.
using HttpSink = std::function<Result<>(ByteView)>;

// Thread-safe; requests of all threads share one pool of connections, each of which carries one request at a
// time (HTTP/1.1: docs/adr/0007-http-1-1.md). TLS is verified. Redirects are not followed but returned.
// Proxies by the usual environment variables, in lower case for http_proxy.
class HttpClient {
 public:
  explicit HttpClient(HttpClientOptions options = {});
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Any whole response is a success, whatever its status. With a sink, a 2xx body goes there; every other
  // body is kept. A request that the server may have had as a whole is not sent again without the caller's
  // knowledge (GET, HEAD and OPTIONS are, once a kept connection turns out to be closed).
  //
  // Failures: kUnreachable, transient for what may pass (refused, reset, timed out, stalled, cut short of its
  // Content-Length, name server away), never for what will not (certificate refused, no such host, a
  // malformed URL, no HTTP, too large an answer); kInterrupted by ctx.stop within 100 ms; kUnreachable by
  // ctx.deadline; kUsage for a ca_file that cannot be read, or a header with a line break in it. Errors name
  // the host and never the path, the query or a header. A sink's error is returned as it is.
  Result<HttpResponse> send(const Context& ctx, const HttpRequest& request, const HttpSink& sink = {});

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// RFC 3986: everything but unreserved characters as %XX in capitals; '/' stays when `keep_slash`.
std::string percent_encode(std::string_view text, bool keep_slash = false);

}  // namespace varve::net
