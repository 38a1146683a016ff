#include "store/azure/client.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"
#include "store/azure/answers.h"
#include "store/azure/dates.h"

namespace varve::store::azure {
namespace {

// Has blobs of 5000 MiB in one put, the tier Cold, and immutability policies.
constexpr char kVersion[] = "2021-12-02";
// The service refuses what is dated more than a quarter of an hour from its own time.
constexpr std::chrono::minutes kWrongClock{5};

bool refuses_credential(const net::HttpResponse& answer) {
  return answer.status == 401 ||
         (answer.status == 403 && answer.header("x-ms-error-code").value_or("") == "AuthenticationFailed");
}

}  // namespace

Client::Client(Account account, std::string container, std::unique_ptr<Credentials> credentials,
               std::shared_ptr<net::HttpClient> http)
    : account_(std::move(account)),
      container_(std::move(container)),
      credentials_(std::move(credentials)),
      http_(std::move(http)) {}

Timestamp Client::now() const {
  return varve::now() + Seconds(ahead_.load());
}

net::HttpRequest Client::address(const Context& ctx, const Request& request, Timestamp at) const {
  net::HttpRequest out;
  out.method = request.method;
  out.headers = request.headers;
  out.body = request.body;
  out.url = fmt::format("{}/{}", account_.endpoint, net::percent_encode(container_));
  if (!request.blob.empty()) out.url += "/" + net::percent_encode(request.blob, /*keep_slash=*/true);
  char separator = '?';
  for (const auto& [name, value] : request.query) {
    out.url += fmt::format("{}{}={}", separator, name, net::percent_encode(value));
    separator = '&';
  }
  out.headers.push_back({"x-ms-date", to_http_date(at)});
  out.headers.push_back({"x-ms-version", kVersion});
  if (!ctx.trace.empty())
    out.headers.push_back({"x-ms-client-request-id", printable(ctx.trace.substr(0, 200))});
  return out;
}

Result<net::HttpResponse> Client::send(const Context& ctx, const Request& request, const std::string& doing,
                                       const net::HttpSink& sink) {
  for (bool again = true;; again = false) {
    const Timestamp at = now();
    net::HttpRequest http = address(ctx, request, at);
    auto used = credentials_->authorize(ctx, http);
    if (!used) return fail(std::move(used).error().with_context(doing));
    bool own = true;  // failures of the request, not of whoever takes its answer
    if (request.on_head)
      http.on_head = [&](const net::HttpResponse& head) {
        auto seen = request.on_head(head);
        own = own && seen.has_value();
        return seen;
      };
    net::HttpSink counted;
    if (sink)
      counted = [&](ByteView bytes) {
        auto taken = sink(bytes);
        own = own && taken.has_value();
        return taken;
      };
    auto answer = http_->send(ctx, http, counted);
    if (!answer) return own ? fail(std::move(answer).error().with_context(doing)) : std::move(answer);
    if (!again || !refuses_credential(*answer)) return answer;
    if (take_clock(*answer, at)) continue;
    if (!credentials_->renewable()) return answer;
    credentials_->refused(*used);
  }
}

bool Client::take_clock(const net::HttpResponse& answer, Timestamp signed_at) {
  const auto theirs = parse_http_date(answer.header("date").value_or(""));
  if (!credentials_->is_timed() || !theirs || std::chrono::abs(*theirs - signed_at) < kWrongClock)
    return false;
  const auto ahead = std::chrono::round<Seconds>(*theirs - varve::now());
  if (ahead_.exchange(ahead.count()) == 0)
    log::warn("the clock of this machine is {} {} Azure's; requests are dated by Azure's",
              to_human(std::chrono::abs(ahead)), ahead.count() > 0 ? "behind" : "ahead of");
  return true;
}

Error Client::failure(const net::HttpResponse& answer, const std::string& doing) const {
  Error out = failure_of(answer, doing);
  if (out.code == Code::kDenied) out.context.push_back("with " + credentials_->origin());
  return out;
}

}  // namespace varve::store::azure
