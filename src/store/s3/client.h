// Requests to one bucket: addressed, signed, sent, and what goes wrong told apart. Learns from answers where
// the bucket is, what time it is there, and that a credential ran out.
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>

#include "net/http.h"
#include "store/cloud/expiring.h"
#include "store/s3/options.h"
#include "store/s3/sigv4.h"
#include "store/store.h"

namespace varve::store::s3 {

struct Call {
  std::string method = "GET";
  std::string key = {};  // whole, with the prefix; empty: the bucket itself
  Query query = {};
  std::vector<net::Header> headers = {};
  Body body = {};
  std::string doing = {};  // "putting packs/0b/x into s3://bucket", for errors
};

// Sees status and headers of a success before its body goes to the sink; an error ends the request.
using Accept = std::function<Result<>(const net::HttpResponse&)>;

// Thread-safe.
class Client {
 public:
  using CredentialSource = cloud::Expiring<Credentials>;

  Client(Options options, CredentialSource::Fetch fetch);

  const Options& options() const { return options_; }

  // Every whole answer is a success here, whatever its status: refusal() says what it means. Only when an
  // answer teaches what was wrong with the request (the region, the time, a token that ran out) it is sent
  // once more.
  Result<net::HttpResponse> send(const Context& ctx, const Call& call, const net::HttpSink& sink = {},
                                 const Accept& accept = {});
  // The same, and anything but 2xx is the failure that it stands for.
  Result<net::HttpResponse> demand(const Context& ctx, const Call& call);

  // What a failed answer means, with a hint where there is one. The key's absence is kNotFound; that of the
  // bucket is not, or a mistyped address would read as an empty repository.
  Error refusal(const net::HttpResponse& answer, const std::string& doing) const;
  // The same for one key's failure inside an answer that is a success as a whole.
  Error refusal(std::string_view code, std::string_view message, const std::string& doing) const;

  // "putting packs/0b/x into s3://bucket/prefix"
  std::string doing(std::string_view verb, std::string_view key, std::string_view preposition) const;
  std::string describe() const;  // the address without settings

  // The time as the service has it, as far as it has told.
  Timestamp time() const { return now() + std::chrono::seconds(ahead_.load()); }

 private:
  struct Sent {
    net::HttpResponse answer = {};
    Timestamp at = {};        // as signed
    std::string region = {};  // as signed
  };

  Result<Sent> send_once(const Context& ctx, const Call& call, const Credentials& credentials,
                         const net::HttpSink& sink, const Accept& accept);
  std::string host(const std::string& region) const;
  bool learn_region(const Sent& sent);
  bool learn_time(const Sent& sent);
  static bool is_token_refused(const net::HttpResponse& answer, const Credentials& credentials);

  const Options options_;
  net::HttpClient http_;
  CredentialSource credentials_;
  std::atomic<int64_t> ahead_ = 0;  // the service's clock before ours, in seconds
  std::mutex mutex_;
  std::string region_;
};

}  // namespace varve::store::s3
