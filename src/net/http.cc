#include "net/http.h"

#include <algorithm>
#include <charconv>
#include <curl/curl.h>
#include <mutex>

#include "base/text.h"
#include "base/time.h"
#include "net/line.h"
#include "net/transfer.h"
#include "net/trust.h"

namespace varve::net {
namespace {

constexpr size_t kMostIdle = 64;
constexpr std::chrono::seconds kLongestAsked{3600};

std::optional<int64_t> moment_of(const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  const time_t moment = curl_getdate(text->c_str(), nullptr);
  if (moment < 0) return std::nullopt;
  return moment;
}

}  // namespace

std::optional<std::string> HttpResponse::header(std::string_view name) const {
  for (const Header& header : headers) {
    if (header.name == name) return header.value;
  }
  return std::nullopt;
}

std::chrono::seconds HttpResponse::retry_after() const {
  const auto value = header("retry-after");
  if (!value || value->empty()) return {};
  int64_t seconds = 0;
  const bool number = std::all_of(value->begin(), value->end(), [](char c) { return c >= '0' && c <= '9'; });
  if (number) {
    const auto read = std::from_chars(value->data(), value->data() + value->size(), seconds);
    if (read.ec != std::errc()) return kLongestAsked;
  } else if (const auto until = moment_of(value)) {
    // By the clock of whoever said it, where it is known: ours may be wrong.
    const auto at = moment_of(header("date"));
    seconds = *until - at.value_or(std::chrono::floor<Seconds>(now()).time_since_epoch().count());
  }
  return std::chrono::seconds(std::clamp<int64_t>(seconds, 0, kLongestAsked.count()));
}

std::string HttpResponse::media_type() const {
  const auto value = header("content-type");
  if (!value) return {};
  return to_lower(trim(std::string_view(*value).substr(0, value->find(';'))));
}

// Last in, first out: the line used last has the connections most likely to be open still.
struct HttpClient::Impl {
  explicit Impl(HttpClientOptions o) : options(std::move(o)), trust(options.ca_file) {}

  const HttpClientOptions options;
  Trust trust;
  std::mutex mutex;
  std::vector<std::unique_ptr<Line>> idle;

  Result<std::unique_ptr<Line>> take() {
    {
      std::lock_guard lock(mutex);
      if (!idle.empty()) {
        auto line = std::move(idle.back());
        idle.pop_back();
        return line;
      }
    }
    return Line::create();
  }

  void give_back(std::unique_ptr<Line> line) {
    curl_easy_reset(line->easy());  // it points into the transfer, which ends now
    std::lock_guard lock(mutex);
    if (idle.size() < kMostIdle) idle.push_back(std::move(line));
  }
};

HttpClient::HttpClient(HttpClientOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
HttpClient::~HttpClient() = default;

Result<HttpResponse> HttpClient::send(const Context& ctx, const HttpRequest& request, const HttpSink& sink) {
  TRY_OK(ctx.check());
  Transfer transfer(ctx, request, sink, impl_->options, impl_->trust);
  TRY_ASSIGN(auto line, impl_->take());
  TRY_OK(transfer.set_up(line->easy()));
  auto ended = line->run(ctx, transfer, impl_->options.stalled_after);
  auto response = ended ? transfer.finish(line->easy(), *ended) : fail(std::move(ended).error());
  impl_->give_back(std::move(line));
  return response;
}

std::string percent_encode(std::string_view text, bool keep_slash) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  constexpr std::string_view kUnreserved = "-._~";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (letter || kUnreserved.find(c) != std::string_view::npos || (keep_slash && c == '/')) {
      out += c;
    } else {
      out += '%';
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  return out;
}

}  // namespace varve::net
