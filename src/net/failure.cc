#include "net/failure.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/text.h"

namespace varve::net {
namespace {

struct Meaning {
  CURLcode code;
  std::string_view what;  // follows the origin
  Retry retry = Retry::kNever;
  bool detailed = false;  // libcurl's words add something, and hold no secret
  std::string_view hint = {};
};

constexpr std::string_view kLookAtAddress =
    "look at the endpoint's address, and at whether this machine resolves it: getent hosts NAME";
constexpr std::string_view kLookAtProxy =
    "look at the environment's https_proxy, http_proxy, all_proxy and no_proxy";
constexpr std::string_view kLookAtCertificate =
    "if the endpoint has a certificate of your own authority, name that with ca_file";

// Only what is here with kTransient may pass; a host that is not known is looked into by the caller.
constexpr std::array kMeanings = {
    Meaning{CURLE_COULDNT_CONNECT, "cannot be reached", Retry::kTransient, true},
    Meaning{CURLE_COULDNT_RESOLVE_HOST, "cannot be reached: its name is not known", Retry::kTransient, false,
            kLookAtAddress},
    Meaning{CURLE_COULDNT_RESOLVE_PROXY, "cannot be reached: the proxy's name is not known",
            Retry::kTransient, false, kLookAtProxy},
    Meaning{CURLE_OPERATION_TIMEDOUT, "cannot be reached: no connection in time", Retry::kTransient},
    Meaning{CURLE_GOT_NOTHING, "closed the connection before it answered", Retry::kTransient},
    Meaning{CURLE_PARTIAL_FILE, "closed the connection in the middle of its answer", Retry::kTransient},
    Meaning{CURLE_SEND_ERROR, "broke the connection while the request was sent", Retry::kTransient},
    Meaning{CURLE_RECV_ERROR, "broke the connection while its answer was read", Retry::kTransient},
    Meaning{CURLE_SEND_FAIL_REWIND, "broke the connection while the request was sent", Retry::kTransient},
    Meaning{CURLE_PEER_FAILED_VERIFICATION, "shows a certificate that is not trusted", Retry::kNever, true,
            kLookAtCertificate},
    Meaning{CURLE_SSL_CONNECT_ERROR, "agrees on no TLS", Retry::kNever, true,
            "look at the endpoint's address: is it one for https?"},
    Meaning{CURLE_URL_MALFORMAT, "is no address that can be reached", Retry::kNever, false, kLookAtAddress},
    Meaning{CURLE_LOGIN_DENIED, "is addressed with a user's name in the URL", Retry::kNever, false,
            "credentials do not belong into an address"},
    Meaning{CURLE_UNSUPPORTED_PROTOCOL, "does not speak HTTP", Retry::kNever, false, kLookAtAddress},
    Meaning{CURLE_WEIRD_SERVER_REPLY, "does not speak HTTP", Retry::kNever, false, kLookAtAddress},
    Meaning{CURLE_PROXY, "cannot be reached: the proxy refused", Retry::kNever, true, kLookAtProxy},
};

// The other side went away in the middle of the handshake, as one that restarts does. libcurl tells it from a
// quarrel over versions and ciphers in its words only.
bool broke_in_handshake(std::string_view detail) {
  constexpr std::array<std::string_view, 4> kWords = {"SSL_connect:", "unexpected eof",
                                                      "Recv failure:", "Send failure:"};
  return std::any_of(kWords.begin(), kWords.end(),
                     [&](std::string_view words) { return detail.find(words) != std::string_view::npos; });
}

// The proxy's answer to CONNECT, where it was no success; 0: none.
long refused_by_proxy(CURL* easy) {
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &status);
  return status / 100 == 2 ? 0 : status;
}

}  // namespace

Error failure_of(CURL* easy, CURLcode code, std::string_view detail, const std::string& origin) {
  if (const long status = refused_by_proxy(easy); status != 0) {
    Error out{Code::kUnreachable, fmt::format("{} cannot be reached: the proxy answered {}", origin, status),
              std::string(kLookAtProxy)};
    if (status / 100 == 5 || status == 429) out.retry = Retry::kTransient;
    return out;
  }
  const auto* meaning =
      std::find_if(kMeanings.begin(), kMeanings.end(), [code](const Meaning& m) { return m.code == code; });
  if (meaning == kMeanings.end())
    return Error{Code::kUnreachable, fmt::format("{}: {}", origin, curl_easy_strerror(code))};
  Error out{Code::kUnreachable, fmt::format("{} {}", origin, meaning->what), std::string(meaning->hint)};
  out.retry = meaning->retry;
  if (meaning->detailed && !detail.empty()) out.message += fmt::format(" ({})", printable(detail));
  if (code == CURLE_SSL_CONNECT_ERROR && broke_in_handshake(detail)) {
    out = Error{Code::kUnreachable, fmt::format("{} broke the connection in the TLS handshake", origin)};
    out.retry = Retry::kTransient;
  }
  return out;
}

}  // namespace varve::net
