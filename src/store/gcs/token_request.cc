#include "store/gcs/token_request.h"

#include <fmt/format.h>

#include "base/text.h"
#include "store/cloud/answer.h"
#include "store/gcs/answers.h"

namespace varve::store::gcs {

std::string form(std::initializer_list<std::pair<std::string_view, std::string_view>> fields) {
  std::string out;
  for (const auto& [name, value] : fields) {
    if (!out.empty()) out += '&';
    out += net::percent_encode(name);
    out += '=';
    out += net::percent_encode(value);
  }
  return out;
}

bool is_loopback_http(std::string_view url) {
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) return false;
  url.remove_prefix(kScheme.size());
  std::string_view host = url.substr(0, url.find_first_of("/?"));
  if (host.find('@') != host.npos) return false;
  if (host.starts_with('[')) return host.substr(0, host.find(']') + 1) == "[::1]";
  host = host.substr(0, host.find(':'));
  return host == "localhost" ||
         (host.starts_with("127.") && host.find_first_not_of("0123456789.") == host.npos);
}

Result<> check_token_url(std::string_view url, const std::string& what) {
  if (url.starts_with("https://") || is_loopback_http(url)) return {};
  return fail(Code::kUsage, fmt::format("{} does not begin with https://", what),
              "secrets are sent there: only an encrypted connection will do");
}

Error token_error(const net::HttpResponse& answer, const std::string& doing) {
  std::string said = parse_refusal(as_text(answer.body));
  if (const auto error = parse_error(as_text(answer.body))) said = error->message;
  Error out = cloud::error_of(answer, doing, {}, said);
  if (answer.status == 400 || answer.status == 404) out.code = Code::kDenied;
  if (out.code == Code::kDenied)
    out.hint = "see whether the key or the grant still exists, and whether this machine's clock is right";
  return out;
}

Result<TokenSource::Fetched> request_token(const Context& ctx, net::HttpClient& http, const std::string& url,
                                           const std::string& body, const std::string& authorization,
                                           const std::string& doing) {
  const ByteView piece = as_bytes(body);
  net::HttpRequest request;
  request.method = "POST";
  request.url = url;
  request.headers = {{"Content-Type", "application/x-www-form-urlencoded"}, {"Accept", "application/json"}};
  if (!authorization.empty()) request.headers.push_back({"Authorization", authorization});
  request.body = std::span<const ByteView>(&piece, 1);
  const Timestamp asked = now();
  auto answer = http.send(ctx, request);
  if (!answer) return fail(std::move(answer).error().with_context(doing));
  if (answer->status != 200) return fail(token_error(*answer, doing));
  auto token = parse_token(as_text(answer->body));
  if (!token) return fail(cloud::nonsense(*answer, doing, token.error().message));
  return TokenSource::Fetched{std::move(token->token), asked + token->lasts};
}

}  // namespace varve::store::gcs
