#include "net/ssh_transport.h"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <mutex>
#include <sys/socket.h>

#include "base/text.h"
#include "base/time.h"

namespace varve::net {
namespace {

using std::chrono::milliseconds;

// No SHA-1, no CBC, nothing that current servers have given up. What this libssh2 does not have, it skips.
constexpr const char* kKeyExchange =
    "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,"
    "diffie-hellman-group16-sha512,diffie-hellman-group18-sha512,diffie-hellman-group-exchange-sha256,"
    "diffie-hellman-group14-sha256";
constexpr const char* kCiphers =
    "aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,aes256-ctr,aes192-ctr";
constexpr const char* kMacs =
    "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256,hmac-sha2-512";
constexpr std::string_view kHostKeys[] = {"ssh-ed25519",         "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384",
                                          "ecdsa-sha2-nistp521", "rsa-sha2-512",        "rsa-sha2-256"};

// A server that answers nothing but "I live" (its disk hangs) is given so many times the patience.
constexpr int kPatienceWhileAlive = 5;

// The kinds of keys to ask for: those that the server is known by first. RSA keys sign by two algorithms.
std::string host_key_order(const std::vector<std::string>& known) {
  std::vector<std::string> order;
  auto add = [&](std::string_view algorithm) {
    if (std::find(order.begin(), order.end(), algorithm) == order.end()) order.emplace_back(algorithm);
  };
  for (std::string_view algorithm : kHostKeys) {
    const std::string_view type = algorithm.starts_with("rsa-") ? "ssh-rsa" : algorithm;
    if (std::find(known.begin(), known.end(), type) != known.end()) add(algorithm);
  }
  for (std::string_view algorithm : kHostKeys) add(algorithm);
  std::string out;
  for (const std::string& algorithm : order) out += (out.empty() ? "" : ",") + algorithm;
  return out;
}

bool start_library() {
  static std::once_flag once;
  static int status = -1;
  std::call_once(once, [] { status = ::libssh2_init(0); });
  return status == 0;
}

bool connection_broke(long number) {
  switch (number) {
    case LIBSSH2_ERROR_SOCKET_NONE:
    case LIBSSH2_ERROR_BANNER_RECV:
    case LIBSSH2_ERROR_BANNER_SEND:
    case LIBSSH2_ERROR_SOCKET_SEND:
    case LIBSSH2_ERROR_SOCKET_RECV:
    case LIBSSH2_ERROR_SOCKET_DISCONNECT:
    case LIBSSH2_ERROR_SOCKET_TIMEOUT:
    case LIBSSH2_ERROR_TIMEOUT:
    case LIBSSH2_ERROR_CHANNEL_CLOSED:
    case LIBSSH2_ERROR_CHANNEL_EOF_SENT:
    // A packet cut or turned over on its way: another connection is another chance.
    case LIBSSH2_ERROR_INVALID_MAC:
    case LIBSSH2_ERROR_DECRYPT:
    case LIBSSH2_ERROR_OUT_OF_BOUNDARY:
      return true;
    default:
      return false;
  }
}

}  // namespace

SshTransport::SshTransport(const SshOptions& options)
    : options_(options),
      peer_(fmt::format("ssh://{}@{}", options.user,
                        options.host.find(':') == std::string::npos
                            ? fmt::format("{}:{}", options.host, options.port)
                            : fmt::format("[{}]:{}", options.host, options.port))) {}

SshTransport::~SshTransport() {
  if (session_ == nullptr) return;
  // One attempt at good manners; then nothing that libssh2 still wants to say can block.
  (void)::libssh2_session_disconnect(session_, "");
  ::shutdown(socket_.fd(), SHUT_RDWR);
  for (int tries = 0; tries < 1000 && ::libssh2_session_free(session_) == LIBSSH2_ERROR_EAGAIN; ++tries) {
  }
}

Result<> SshTransport::connect(const Context& ctx) {
  if (!start_library()) return fail(Code::kInternal, "libssh2 does not start");
  TRY_ASSIGN(socket_, connect_tcp(ctx, options_.host, options_.port));
  session_ = ::libssh2_session_init();
  if (session_ == nullptr) return fail(Code::kInternal, "libssh2 cannot make a session");
  ::libssh2_session_set_blocking(session_, 0);
  TRY_OK(handshake(ctx));
  return check_server();
}

void SshTransport::logged_in() {
  ::libssh2_keepalive_config(session_, 1, 1);
}

Result<> SshTransport::handshake(const Context& ctx) {
  std::vector<std::string> known;
  if (options_.fingerprints.empty()) {
    TRY_ASSIGN(known_, KnownHosts::read(options_.known_hosts));
    known = known_.types(options_.host, options_.port);
  }
  const std::string host_keys = host_key_order(known);
  const std::pair<int, const char*> preferences[] = {
      {LIBSSH2_METHOD_KEX, kKeyExchange},  {LIBSSH2_METHOD_HOSTKEY, host_keys.c_str()},
      {LIBSSH2_METHOD_CRYPT_CS, kCiphers}, {LIBSSH2_METHOD_CRYPT_SC, kCiphers},
      {LIBSSH2_METHOD_MAC_CS, kMacs},      {LIBSSH2_METHOD_MAC_SC, kMacs},
      {LIBSSH2_METHOD_COMP_CS, "none"},    {LIBSSH2_METHOD_COMP_SC, "none"}};
  for (const auto& [method, names] : preferences) {
    if (::libssh2_session_method_pref(session_, method, names) != 0)
      return fail(Code::kUnsupported, "this libssh2 has none of the algorithms that Varve uses");
  }
  TRY_ASSIGN(const long done,
             settle(ctx, [&] { return ::libssh2_session_handshake(session_, socket_.fd()); }));
  if (done == 0) return {};
  Error failed = error(done, "agreeing on keys with");
  if (done == LIBSSH2_ERROR_KEX_FAILURE || done == LIBSSH2_ERROR_METHOD_NONE ||
      done == LIBSSH2_ERROR_METHOD_NOT_SUPPORTED || done == LIBSSH2_ERROR_HOSTKEY_INIT) {
    failed.hint = "the server must offer an ed25519 or ecdsa host key, an aes-ctr cipher and hmac-sha2";
  }
  return fail(std::move(failed));
}

Result<> SshTransport::check_server() const {
  size_t size = 0;
  int type = 0;
  const char* data = ::libssh2_session_hostkey(session_, &size, &type);
  if (data == nullptr || size == 0)
    return fail(Code::kUnreachable, fmt::format("{} shows no host key", peer_));
  const ByteView key = std::as_bytes(std::span(data, size));
  const std::string print = host_key_fingerprint(key), kind = host_key_type(key);
  if (!options_.fingerprints.empty()) {
    const auto& pins = options_.fingerprints;
    if (std::find(pins.begin(), pins.end(), print) != pins.end()) return {};
    return fail(Code::kDenied,
                fmt::format("{} is not the server that is expected: its {} key is {}, which "
                            "host_key_fingerprint does not name",
                            peer_, printable(kind), print),
                "someone may stand between you and the server: compare with what its administrator says");
  }
  const KnownHosts::Answer answer = known_.check(options_.host, options_.port, key);
  switch (answer.verdict) {
    case KnownHosts::Verdict::kKnown:
      return {};
    case KnownHosts::Verdict::kChanged:
      return fail(
          Code::kDenied,
          fmt::format("THE KEY OF {} HAS CHANGED: it shows the {} key {}, which is not the one of {}", peer_,
                      printable(kind), print, printable(answer.place)),
          "someone may stand between you and the server. Ask its administrator; only when the new key is "
          "confirmed remove the old line");
    case KnownHosts::Verdict::kRevoked:
      return fail(Code::kDenied,
                  fmt::format("the key {} of {} is revoked by {}", print, peer_, printable(answer.place)),
                  "do not use this server until its administrator has given it another key");
    case KnownHosts::Verdict::kUnknown:
      break;
  }
  const std::string file = options_.known_hosts.empty() ? "known_hosts" : options_.known_hosts.front();
  return fail(
      Code::kDenied, fmt::format("{} is not a known server: its {} key is {}", peer_, printable(kind), print),
      fmt::format("compare with what its administrator says (ssh-keyscan -p {} {} shows the keys); if it is "
                  "the same, add this line to {}: {}",
                  options_.port, options_.host, printable(file),
                  known_hosts_line(options_.host, options_.port, key)));
}

Result<> SshTransport::wait(const Context& ctx) {
  const auto now = SteadyClock::now();
  const int directions = ::libssh2_session_block_directions(session_);
  const bool out = (directions & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0;
  const auto patience = options_.stalled_after;
  // While a packet is half sent, nothing else may be.
  if (!out && now - reminded_ > patience / 3) {
    int next = 0;
    (void)::libssh2_keepalive_send(session_, &next);
    reminded_ = now;
  }
  if (now - alive_ > patience || now - begun_ > patience * kPatienceWhileAlive) {
    const auto silent = std::chrono::duration_cast<std::chrono::microseconds>(
        now - alive_ > patience ? now - alive_ : now - begun_);
    return fail(Error{Code::kUnreachable, fmt::format("{} has not answered for {}", peer_, to_human(silent))}
                    .with_retry(Retry::kTransient));
  }
  const bool in = !out || (directions & LIBSSH2_SESSION_BLOCK_INBOUND) != 0;
  TRY_ASSIGN(const Readiness ready,
             wait_for(ctx, socket_.fd(), in, out, std::min(patience / 3, milliseconds(1000))));
  if (ready.readable || ready.writable) alive_ = SteadyClock::now();
  return {};
}

Error SshTransport::error(long number, const std::string& doing) const {
  char* text = nullptr;
  int size = 0;
  (void)::libssh2_session_last_error(session_, &text, &size, 0);
  const std::string why = text == nullptr || size <= 0
                              ? fmt::format("error {}", number)
                              : printable(std::string_view(text, static_cast<size_t>(size)));
  Error out{Code::kUnreachable, fmt::format("{} {} failed: {}", doing, peer_, why)};
  if (connection_broke(number)) out.retry = Retry::kTransient;
  return out;
}

bool SshTransport::looks_open() const {
  char byte = 0;
  const ssize_t n = ::recv(socket_.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

}  // namespace varve::net
