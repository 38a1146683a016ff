// One request and what came back of it: what libcurl calls while it sends and receives.
#pragma once

#include <array>
#include <curl/curl.h>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/context.h"
#include "net/http.h"
#include "net/trust.h"

namespace varve::net {

// Stays where it is from set_up() on: libcurl holds its address.
class Transfer {
 public:
  Transfer(const Context& ctx, const HttpRequest& request, const HttpSink& sink,
           const HttpClientOptions& options, Trust& trust);
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  // Forgets what the handle did before and asks for this request.
  Result<> set_up(CURL* easy);
  // From libcurl's verdict to the caller's.
  Result<HttpResponse> finish(CURL* easy, CURLcode code);

  // "https://host:port", for messages: never the path, the query or a password.
  const std::string& origin() const { return origin_; }
  // The connection stands and the request is going out.
  bool under_way() const { return sendings_ > 0; }
  size_t header_bytes() const { return header_bytes_; }

 private:
  enum class Part { kBeforeHeaders, kHeaders, kBody };
  struct FreeList {
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  };

  Result<> check_request() const;
  Result<> add_header(const std::string& line);
  Result<> set_headers();
  void set_connection();
  void set_method();
  void set_callbacks();
  template <typename T>
  void set(CURLoption option, T value);

  bool begin_sending();
  size_t give(char* to, size_t room);
  bool rewind(curl_off_t offset, int origin);
  bool take_header(std::string_view line);
  void keep_header(std::string_view line);
  bool take_body(ByteView bytes);
  bool give_up(Error error);

  const Context& ctx_;
  const HttpRequest& request_;
  const HttpSink& sink_;
  const HttpClientOptions& options_;
  Trust& trust_;
  const std::string origin_;
  const uint64_t size_;  // of the body

  CURL* easy_ = nullptr;
  CURLcode set_ = CURLE_OK;  // the first option that was refused
  std::unique_ptr<curl_slist, FreeList> headers_;
  std::array<char, CURL_ERROR_SIZE> detail_ = {};

  size_t piece_ = 0, at_ = 0;  // the next byte to send
  uint64_t given_ = 0;
  int sendings_ = 0;
  bool whole_given_ = false;  // a server may have had all of it, and have acted

  Part part_ = Part::kBeforeHeaders;
  size_t header_bytes_ = 0;
  HttpResponse response_;
  std::optional<Error> gave_up_;  // why we ended it ourselves
};

}  // namespace varve::net
