// Requests to one container: addressed, dated, authorised, and their answers told from what is no answer of
// the service.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "net/http.h"
#include "store/azure/credentials.h"
#include "store/store.h"

namespace varve::store::azure {

struct Request {
  std::string method = "GET";
  std::string blob = {};  // its whole name; empty: the container itself
  std::vector<std::pair<std::string, std::string>> query = {};
  std::vector<net::Header> headers = {};
  Body body = {};
  std::function<Result<>(const net::HttpResponse&)> on_head = {};
};

// Thread-safe.
class Client {
 public:
  Client(Account account, std::string container, std::unique_ptr<Credentials> credentials,
         std::shared_ptr<net::HttpClient> http);

  // Any answer. Where the service refuses a credential that can be renewed, or the time of a signature, the
  // request goes out once more with a new one, or with the service's time. `doing` goes into errors. An error
  // of the sink or of on_head is returned as it is.
  Result<net::HttpResponse> send(const Context& ctx, const Request& request, const std::string& doing,
                                 const net::HttpSink& sink = {});
  // An answer that is no success, as an Error.
  Error failure(const net::HttpResponse& answer, const std::string& doing) const;

  // By the service's clock, as far as it is known.
  Timestamp now() const;
  const Account& account() const { return account_; }
  const std::string& container() const { return container_; }
  const Credentials& credentials() const { return *credentials_; }

 private:
  net::HttpRequest address(const Context& ctx, const Request& request, Timestamp at) const;
  bool take_clock(const net::HttpResponse& answer, Timestamp signed_at);

  const Account account_;
  const std::string container_;
  const std::unique_ptr<Credentials> credentials_;
  const std::shared_ptr<net::HttpClient> http_;
  std::atomic<int64_t> ahead_ = 0;  // seconds: the service's clock less ours
};

}  // namespace varve::store::azure
