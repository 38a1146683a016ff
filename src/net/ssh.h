// SSH connections, over libssh2: who the server is and who we are is settled before anything else is said.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/context.h"

namespace varve::net {

struct SshOptions {
  std::string host;  // a name or an address; IPv6 without brackets
  uint16_t port = 22;
  std::string user;

  // Who the server must be. Pins ("SHA256:…", as `ssh-keygen -l` shows them) take the place of the files.
  std::vector<std::string> known_hosts = {};  // files as ssh(1) reads them; an absent one counts as empty
  std::vector<std::string> fingerprints = {};

  // Who we are. A named identity is the only key that is tried (by the agent, when the agent holds it and its
  // ".pub" lies beside it; else from the file). Without one: the agent's keys, then the files that are there.
  std::string agent_socket = {};  // empty: no agent
  std::string identity = {};      // a private key's file
  std::vector<std::string> other_identities = {};
  std::function<Result<std::string>()> passphrase = {};  // of encrypted keys; what it returns is wiped

  std::chrono::milliseconds connect_within{20'000};  // until we are let in
  std::chrono::milliseconds stalled_after{30'000};   // nothing came from the server for so long: given up
};

// One connection with one channel, a stream of bytes. One thread at a time; calls end within 100 ms of
// ctx.stop, and at ctx.deadline. After any failure the connection is of no more use: destroy it.
// Failures: kUnreachable, transient for what may pass (refused, reset, closed, stalled), never for what will
// not (no such host, no common algorithm); kDenied for a server that is not known or not the one that was,
// and for keys that the server refuses. Errors name host and user, never a secret.
class SshSession {
 public:
  // Connects, checks the server's key, logs in. Server and known_hosts agree on the kind of key: one that is
  // known by its ed25519 key is asked for that one.
  static Result<std::unique_ptr<SshSession>> connect(const Context& ctx, const SshOptions& options);
  ~SshSession();  // closes, without waiting for the server
  SshSession(const SshSession&) = delete;
  SshSession& operator=(const SshSession&) = delete;

  // Starts a subsystem ("sftp"): from here on, read and write are its ends. Once.
  Result<> start_subsystem(const Context& ctx, const std::string& name);
  Result<> write(const Context& ctx, ByteView bytes);   // all of them
  Result<> read(const Context& ctx, MutableBytes out);  // as many as asked for
  // Answers what the server asked while nobody was here, and tells whether the connection stands. No waiting.
  bool still_open();
  // "ssh://user@host:port"
  const std::string& peer() const;
  // The algorithms in use, for the diary: "curve25519-sha256, ssh-ed25519, aes256-ctr, hmac-sha2-256".
  std::string algorithms() const;

  struct Impl;
  explicit SshSession(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace varve::net
