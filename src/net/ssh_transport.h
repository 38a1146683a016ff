// A libssh2 session on a socket that never blocks. Inside of net/ only.
#pragma once

#include <libssh2.h>
#include <string>

#include "net/ssh.h"
#include "net/ssh_known_hosts.h"
#include "net/ssh_socket.h"

namespace varve::net {

class SshTransport {
 public:
  explicit SshTransport(const SshOptions& options);
  ~SshTransport();
  SshTransport(const SshTransport&) = delete;
  SshTransport& operator=(const SshTransport&) = delete;

  // Up to and with the check of the server's key; who we are is still to be shown.
  Result<> connect(const Context& ctx);
  LIBSSH2_SESSION* session() const { return session_; }
  const std::string& peer() const { return peer_; }

  // Repeats a call of libssh2 for as long as it would block; then its result, 0 or above or an error's
  // number.
  template <typename Call>
  Result<long> settle(const Context& ctx, const Call& call) {
    begun_ = alive_ = reminded_ = SteadyClock::now();
    for (;;) {
      TRY_OK(ctx.check());
      const long done = call();
      if (done != LIBSSH2_ERROR_EAGAIN) return done;
      TRY_OK(wait(ctx));
    }
  }
  // From here on a server that is slow is asked whether it lives; before the login it may not be.
  void logged_in();
  // The Error of a call that failed with this number. `doing`: "logging in at".
  Error error(long number, const std::string& doing) const;
  // Looks at the socket, without waiting; false when it has ended.
  bool looks_open() const;

 private:
  Result<> handshake(const Context& ctx);
  Result<> check_server() const;
  Result<> wait(const Context& ctx);

  const SshOptions& options_;
  const std::string peer_;
  Socket socket_;
  LIBSSH2_SESSION* session_ = nullptr;
  KnownHosts known_;
  // Of the call that is being settled: since when, when the server last gave a sign of life, and when it was
  // last asked for one.
  SteadyClock::time_point begun_, alive_, reminded_;
};

// Shows who we are: by the agent and by key files, in the order that SshOptions tells.
Result<> ssh_log_in(const Context& ctx, SshTransport& transport, const SshOptions& options);

}  // namespace varve::net
