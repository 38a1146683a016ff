// The credentials of a container (ECS, EKS pod identity), from an address that its surroundings name.
#include <fmt/format.h>

#include "base/text.h"
#include "os/file.h"
#include "store/s3/credentials/providers.h"

namespace varve::store::s3 {
namespace {

constexpr std::string_view kHost = "http://169.254.170.2";
constexpr size_t kMostToken = 64 << 10;

// The answer is a secret, and the request may carry one: over plain HTTP only to where nobody is between.
bool is_near(std::string_view url) {
  if (url.starts_with("https://")) return true;
  if (!url.starts_with("http://")) return false;
  std::string_view host = url.substr(7, url.find_first_of("/?", 7) - 7);
  if (host.find('@') != host.npos) return false;
  if (host.starts_with('[')) {
    host = host.substr(0, host.find(']') + 1);
  } else {
    host = host.substr(0, host.find(':'));
  }
  return host == "127.0.0.1" || host == "localhost" || host == "[::1]" || host == "169.254.170.2" ||
         host == "169.254.170.23" || host == "[fd00:ec2::23]";
}

}  // namespace

MaybeCredentials from_container(const Context& ctx, const Environment& env, net::HttpClient& direct) {
  const std::string source = "the container's credentials";
  std::string url = env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  if (const std::string relative = env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); !relative.empty())
    url = std::string(kHost) + relative;
  if (url.empty()) return std::nullopt;
  if (!is_near(url))
    return fail(Code::kDenied,
                "AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https:// nor this machine's own");
  net::HttpRequest request{.url = url};
  std::string token = env("AWS_CONTAINER_AUTHORIZATION_TOKEN");
  if (const std::string file = env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); !file.empty()) {
    TRY_ASSIGN(const Buffer bytes, os::read_file(file, kMostToken));
    token = trim(as_text(bytes));
  }
  if (!token.empty()) request.headers.push_back({"Authorization", token});
  auto answer = direct.send(ctx, request);
  if (!answer) return fail(std::move(answer).error().with_context("asking for " + source));
  if (answer->status != 200) {
    return fail(Error{Code::kDenied, fmt::format("{}: the answer was {}", source, answer->status)}.with_retry(
        answer->status >= 500 || answer->status == 429 ? Retry::kTransient : Retry::kNever));
  }
  return parse_credentials_json(as_text(answer->body), "Token", source);
}

}  // namespace varve::store::s3
