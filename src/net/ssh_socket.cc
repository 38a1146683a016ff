#include "net/ssh_socket.h"

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <mutex>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>

#include "base/text.h"

namespace varve::net {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLook{50};  // between two looks at the stop token

std::string reason(int errnum) {
  return std::generic_category().message(errnum);
}

milliseconds until(SteadyClock::time_point when) {
  return std::chrono::duration_cast<milliseconds>(when - SteadyClock::now());
}

struct Addresses {
  addrinfo* list = nullptr;
  Addresses() = default;
  Addresses(const Addresses&) = delete;
  Addresses& operator=(const Addresses&) = delete;
  ~Addresses() {
    if (list != nullptr) ::freeaddrinfo(list);
  }
};

// What a look-up and who waits for it share: the look-up cannot be stopped, only left alone.
struct Lookup {
  std::mutex mutex;
  std::condition_variable_any answered;
  bool done = false;
  int status = 0;
  Addresses addresses;
};

int look_up(const std::string& host, uint16_t port, int flags, addrinfo** out) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | flags;
  return ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, out);
}

Result<std::shared_ptr<Lookup>> addresses_of(const Context& ctx, const std::string& host, uint16_t port) {
  auto lookup = std::make_shared<Lookup>();
  if (look_up(host, port, AI_NUMERICHOST, &lookup->addresses.list) == 0) return lookup;
  try {
    std::thread([lookup, host, port] {
      addrinfo* found = nullptr;
      const int status = look_up(host, port, 0, &found);
      std::lock_guard lock(lookup->mutex);
      lookup->status = status;
      lookup->addresses.list = found;
      lookup->done = true;
      lookup->answered.notify_all();
    }).detach();
  } catch (const std::system_error& e) {
    return fail(Code::kIo, fmt::format("cannot start a thread: {}", e.code().message()));
  }
  std::unique_lock lock(lookup->mutex);
  const auto deadline = std::min(ctx.deadline, SteadyClock::now() + std::chrono::hours(1));
  if (!lookup->answered.wait_until(lock, ctx.stop, deadline, [&] { return lookup->done; })) {
    TRY_OK(ctx.check());
    return fail(
        Error{Code::kUnreachable, fmt::format("the address of {} was not found in time", host)}.with_retry(
            Retry::kTransient));
  }
  if (lookup->status == 0) return lookup;
  const bool may_pass = lookup->status == EAI_AGAIN || lookup->status == EAI_SYSTEM;
  return fail(
      Error{Code::kUnreachable,
            fmt::format("cannot find the host {}: {}", printable(host), ::gai_strerror(lookup->status)),
            may_pass ? "" : "check the host's name in the address"}
          .with_retry(may_pass ? Retry::kTransient : Retry::kNever));
}

bool may_pass(int errnum) {
  switch (errnum) {
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
    case EPIPE:
    case EAGAIN:
      return true;
    default:
      return false;
  }
}

// 0, or an errno; the wait's own failures (stop, deadline) as an Error.
Result<int> finish_connecting(const Context& ctx, int fd, const sockaddr* to, socklen_t size,
                              milliseconds most) {
  if (::connect(fd, to, size) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  TRY_ASSIGN(const Readiness ready, wait_for(ctx, fd, false, true, most));
  if (!ready.writable) return ETIMEDOUT;
  int status = 0;
  socklen_t length = sizeof status;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &status, &length) != 0) return errno;
  return status;
}

}  // namespace

Socket::Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
Socket::~Socket() {
  if (fd_ >= 0) ::close(fd_);
}

Result<Readiness> wait_for(const Context& ctx, int fd, bool read, bool write, milliseconds most) {
  const auto end = SteadyClock::now() + most;
  for (;;) {
    TRY_OK(ctx.check());
    const auto left = std::min({kLook, until(end) + milliseconds(1), until(ctx.deadline) + milliseconds(1)});
    pollfd p{fd, static_cast<short>((read ? POLLIN : 0) | (write ? POLLOUT : 0)), 0};
    const int n = ::poll(&p, 1, static_cast<int>(std::max(left, milliseconds(0)).count()));
    if (n < 0 && errno != EINTR) return fail(Code::kIo, fmt::format("cannot wait: {}", reason(errno)));
    if (n > 0) {
      const bool ended = (p.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
      return Readiness{ended || (p.revents & POLLIN) != 0, ended || (p.revents & POLLOUT) != 0};
    }
    if (SteadyClock::now() >= end) {
      TRY_OK(ctx.check());
      return Readiness{};
    }
  }
}

Result<Socket> connect_tcp(const Context& ctx, const std::string& host, uint16_t port) {
  TRY_ASSIGN(const auto found, addresses_of(ctx, host, port));
  int left = 0, last = EHOSTUNREACH;
  for (const addrinfo* a = found->addresses.list; a != nullptr; a = a->ai_next) ++left;
  for (const addrinfo* a = found->addresses.list; a != nullptr; a = a->ai_next, --left) {
    Socket socket(::socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket.is_open()) {
      last = errno;
      continue;
    }
    // An address that swallows packets must leave time for the next.
    const milliseconds most = ctx.deadline == SteadyClock::time_point::max()
                                  ? milliseconds(20'000)
                                  : until(ctx.deadline) / left - milliseconds(1);
    TRY_ASSIGN(last, finish_connecting(ctx, socket.fd(), a->ai_addr, a->ai_addrlen,
                                       std::max(most, milliseconds(1))));
    if (last != 0) continue;
    const int on = 1;
    (void)::setsockopt(socket.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)::setsockopt(socket.fd(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    return socket;
  }
  return fail(Error{Code::kUnreachable,
                    fmt::format("cannot connect to {} port {}: {}", printable(host), port, reason(last)),
                    "check that the server runs, and that no firewall is between"}
                  .with_retry(may_pass(last) ? Retry::kTransient : Retry::kNever));
}

Result<Socket> connect_local(const Context& ctx, const std::string& path) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (path.size() >= sizeof to.sun_path)
    return fail(Code::kUsage, fmt::format("{} is too long for a socket's path", printable(path)));
  std::memcpy(to.sun_path, path.data(), path.size());
  Socket socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  int status = socket.is_open() ? 0 : errno;
  if (status == 0) {
    TRY_ASSIGN(status, finish_connecting(ctx, socket.fd(), reinterpret_cast<const sockaddr*>(&to), sizeof to,
                                         milliseconds(5'000)));
  }
  if (status != 0)
    return fail(Code::kUnreachable, fmt::format("cannot connect to {}: {}", printable(path), reason(status)));
  return socket;
}

}  // namespace varve::net
