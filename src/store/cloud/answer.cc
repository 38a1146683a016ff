#include "store/cloud/answer.h"

#include <fmt/format.h>

#include "base/text.h"

namespace varve::store::cloud {
namespace {

constexpr size_t kMostWords = 300;

struct Meaning {
  Code code;
  Retry retry;
};

Meaning meaning_of(int status) {
  switch (status) {
    case 404:
    case 410:
      return {Code::kNotFound, Retry::kNever};
    case 401:
    case 403:
    case 407:
      return {Code::kDenied, Retry::kNever};
    case 412:
      return {Code::kExists, Retry::kNever};
    case 413:
    case 507:
      return {Code::kNoSpace, Retry::kNever};
    case 501:
      return {Code::kUnsupported, Retry::kNever};
    case 408:
    case 500:
    case 502:
    case 504:
      return {Code::kUnreachable, Retry::kTransient};
    case 429:
    case 503:
      return {Code::kUnreachable, Retry::kThrottled};
    default:
      return {Code::kUnreachable, Retry::kNever};
  }
}

}  // namespace

Error error_of(const net::HttpResponse& answer, const std::string& doing, std::string_view code,
               std::string_view message) {
  const auto [kind, retry] = meaning_of(answer.status);
  std::string text = fmt::format("{}: the store answered {}", doing, answer.status);
  if (!code.empty()) text += " " + printable(code.substr(0, kMostWords));
  if (!message.empty()) text += fmt::format(" ({})", printable(trim(message.substr(0, kMostWords))));
  Error out{kind, std::move(text)};
  out.retry = retry;
  if (retry != Retry::kNever) out.retry_after = answer.retry_after();
  return out;
}

Error nonsense(const net::HttpResponse& answer, const std::string& doing, std::string_view why) {
  Error out{Code::kUnreachable,
            fmt::format("{}: the answer ({}, {}) is not an object store's: {}", doing, answer.status,
                        answer.media_type().empty() ? "no type" : printable(answer.media_type()), why),
            "a proxy or a login page may stand between; look at the endpoint's address"};
  out.retry = Retry::kTransient;
  return out;
}

}  // namespace varve::store::cloud
