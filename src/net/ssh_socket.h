// A TCP connection that can be waited for: by a stop, a deadline, and no longer.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "base/context.h"

namespace varve::net {

// A descriptor, closed with its owner.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;
  ~Socket();
  int fd() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

struct Readiness {
  bool readable = false, writable = false;  // an end or an error counts as both
};

// Until one of the asked directions is ready, or `most` has passed: then neither. kInterrupted within 100 ms
// of ctx.stop, kUnreachable at ctx.deadline.
Result<Readiness> wait_for(const Context& ctx, int fd, bool read, bool write, std::chrono::milliseconds most);

// A connected, non-blocking socket. Every address of the host is tried in turn. kUnreachable: transient, but
// for a host that does not exist.
Result<Socket> connect_tcp(const Context& ctx, const std::string& host, uint16_t port);
// To a socket in the file system.
Result<Socket> connect_local(const Context& ctx, const std::string& path);

}  // namespace varve::net
