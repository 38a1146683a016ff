// ssh-agent: keys that are used without being seen. (draft-ietf-sshm-ssh-agent)
#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/context.h"
#include "net/ssh_socket.h"

namespace varve::net {

struct AgentKey {
  Buffer blob;          // as the server sees it
  std::string comment;  // the agent's name for it
};

// What the agent may answer, taken apart; kDamaged for anything else. `body`: without the length.
Result<std::vector<AgentKey>> parse_agent_keys(ByteView body);
// The signature itself, without the name of its algorithm.
Result<Buffer> parse_agent_signature(ByteView body, std::string_view algorithm);

// A connection to the agent. One thread at a time. Waits end by the context: an agent may ask a person.
class SshAgent {
 public:
  static Result<SshAgent> connect(const Context& ctx, const std::string& path);
  Result<std::vector<AgentKey>> keys(const Context& ctx);
  // `algorithm` as SSH names it: "ssh-ed25519", "rsa-sha2-512". kDenied when the agent refuses.
  Result<Buffer> sign(const Context& ctx, ByteView blob, ByteView data, std::string_view algorithm);

 private:
  explicit SshAgent(Socket socket) : socket_(std::move(socket)) {}
  Result<Buffer> ask(const Context& ctx, ByteView request);
  Result<> send(const Context& ctx, ByteView bytes);
  Result<> receive(const Context& ctx, MutableBytes out);

  Socket socket_;
};

}  // namespace varve::net
