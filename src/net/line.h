// A line to other hosts: libcurl's handles for one request at a time, and the connections they keep.
#pragma once

#include <chrono>
#include <cstdint>
#include <curl/curl.h>
#include <memory>
#include <string>
#include <vector>

#include "base/context.h"

namespace varve::net {

class Transfer;

// Not thread-safe, but for whom it passes through: one thread has it for one request.
class Line {
 public:
  static Result<std::unique_ptr<Line>> create();
  ~Line();
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;

  // Sends what `transfer` asks for and waits for the end: libcurl's verdict. An error: stopped, out of time,
  // or nothing moved for `stalled_after`; then the connection is closed.
  Result<CURLcode> run(const Context& ctx, const Transfer& transfer, std::chrono::milliseconds stalled_after);
  CURL* easy() { return easy_; }

 private:
  // Bytes that went either way so far. They differ when something moved.
  struct Moved {
    curl_off_t sent = 0, received = 0;
    size_t headers = 0;
    int64_t in_kernel = 0;
    bool operator==(const Moved&) const = default;
  };

  Line() = default;
  Result<CURLcode> run_attached(const Context& ctx, const Transfer& transfer,
                                std::chrono::milliseconds stalled_after);
  CURLcode verdict();
  Moved moved(const Transfer& transfer) const;
  void watch_sockets();
  static curl_socket_t open_socket(void* line, curlsocktype purpose, curl_sockaddr* address);
  static int close_socket(void* line, curl_socket_t socket);

  CURLM* multi_ = nullptr;
  CURL* easy_ = nullptr;
  std::vector<int> sockets_;  // open, each a connection in use or kept
};

}  // namespace varve::net
