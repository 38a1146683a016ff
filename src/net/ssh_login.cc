#include <algorithm>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <openssl/crypto.h>
#include <optional>
#include <sys/stat.h>

#include "base/log.h"
#include "base/text.h"
#include "net/ssh_agent.h"
#include "net/ssh_known_hosts.h"
#include "net/ssh_transport.h"

namespace varve::net {
namespace {

constexpr size_t kMostPublicKey = 65536;

// What went wrong while libssh2 had its hands on the wheel: it only passes a number through.
struct AgentUse {
  SshAgent& agent;
  const Context& ctx;
  const Buffer& blob;
  Result<> failure = {};
};

// The algorithm that the signature must be made by, out of what is to be signed (RFC 4252, 7).
Result<std::string> algorithm_to_sign_by(ByteView data) {
  ByteReader reader(data);
  auto string = [&]() -> Result<ByteView> {
    TRY_ASSIGN(const uint32_t size, reader.be<uint32_t>());
    return reader.take(size);
  };
  TRY_OK(string());        // session
  TRY_OK(reader.take(1));  // SSH_MSG_USERAUTH_REQUEST
  TRY_OK(string());        // user
  TRY_OK(string());        // service
  TRY_OK(string());        // "publickey"
  TRY_OK(reader.take(1));
  TRY_ASSIGN(const ByteView name, string());
  return std::string(as_text(name));
}

int sign_by_agent(LIBSSH2_SESSION*, unsigned char** out, size_t* out_size, const unsigned char* data,
                  size_t size, void** abstract) {
  auto& use = *static_cast<AgentUse*>(*abstract);
  const ByteView bytes = std::as_bytes(std::span(data, size));
  auto sign = [&]() -> Result<Buffer> {
    TRY_ASSIGN(const std::string algorithm, algorithm_to_sign_by(bytes));
    return use.agent.sign(use.ctx, use.blob, bytes, algorithm);
  };
  auto signature = sign();
  if (!signature) {
    use.failure = fail(std::move(signature).error());
    return -1;
  }
  // libssh2 frees it by its own allocator, which is malloc's.
  auto* copy = static_cast<unsigned char*>(std::malloc(std::max<size_t>(signature->size(), 1)));
  if (copy == nullptr) return -1;
  std::copy_n(reinterpret_cast<const unsigned char*>(signature->data()), signature->size(), copy);
  *out = copy;
  *out_size = signature->size();
  return 0;
}

// The key beside a private key's file, "ssh-ed25519 AAAA… comment"; empty where there is none.
std::string public_key_beside(const std::string& identity) {
  std::ifstream file(identity + ".pub", std::ios::binary);
  std::string text;
  char c = 0;
  while (text.size() < kMostPublicKey && file.get(c)) text += c;
  const std::string_view line = trim(std::string_view(text).substr(0, text.find('\n')));
  const size_t space = line.find(' ');
  return space == line.npos ? "" : std::string(line.substr(0, line.find(' ', space + 1)));
}

std::string public_key_line(ByteView blob) {
  const std::string line = known_hosts_line("-", 22, blob);
  return line.substr(2);
}

bool is_refusal(long number) {
  return number == LIBSSH2_ERROR_AUTHENTICATION_FAILED || number == LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED;
}

class Login {
 public:
  Login(const Context& ctx, SshTransport& transport, const SshOptions& options)
      : ctx_(ctx), transport_(transport), options_(options) {}

  Result<> run() {
    TRY_ASSIGN(const bool done, ask_for_methods());
    if (done) return {};
    TRY_ASSIGN(const bool by_agent, try_agent());
    if (by_agent) return {};
    std::vector<std::string> files = options_.other_identities;
    if (!options_.identity.empty()) files = {options_.identity};
    for (const std::string& file : files) {
      TRY_ASSIGN(const bool by_file, try_file(file));
      if (by_file) return {};
    }
    return refused();
  }

 private:
  // true: let in without being asked anything.
  Result<bool> ask_for_methods() {
    const char* methods = nullptr;
    TRY_ASSIGN(const long done, transport_.settle(ctx_, [&]() -> long {
      methods = ::libssh2_userauth_list(transport_.session(), options_.user.data(),
                                        static_cast<unsigned>(options_.user.size()));
      return methods != nullptr ? 0 : ::libssh2_session_last_errno(transport_.session());
    }));
    if (methods == nullptr && ::libssh2_userauth_authenticated(transport_.session())) return true;
    if (done < 0 || methods == nullptr) return fail(transport_.error(done, "logging in at"));
    const std::string offered = methods;
    const auto names = split(offered, ',');
    if (std::find(names.begin(), names.end(), "publickey") != names.end()) return false;
    return fail(
        Code::kDenied,
        fmt::format("{} lets nobody in by a key; it offers {}", transport_.peer(), printable(offered)),
        "Varve logs in by keys only: allow them (PubkeyAuthentication) on the server");
  }

  Result<bool> try_agent() {
    if (options_.agent_socket.empty()) return false;
    std::string only;
    if (!options_.identity.empty()) {
      only = public_key_beside(options_.identity);
      if (only.empty()) return false;
    }
    auto agent = SshAgent::connect(ctx_, options_.agent_socket);
    if (!agent) return without_agent(std::move(agent).error());
    auto keys = agent->keys(ctx_);
    if (!keys) return without_agent(std::move(keys).error());
    for (const AgentKey& key : *keys) {
      const std::string type = host_key_type(key.blob);
      if (type.find("-cert-") != type.npos || type.starts_with("sk-")) continue;
      if (!only.empty() && public_key_line(key.blob) != only) continue;
      TRY_ASSIGN(const bool in, try_agent_key(*agent, key));
      if (in) return true;
    }
    return false;
  }

  // An agent that is not there is no failure while files may do.
  Result<bool> without_agent(Error error) {
    TRY_OK(ctx_.check());
    log::debug("{}", error.describe());
    tried_.push_back("no ssh-agent answers at " + options_.agent_socket);
    return false;
  }

  Result<bool> try_agent_key(SshAgent& agent, const AgentKey& key) {
    AgentUse use{agent, ctx_, key.blob};
    void* abstract = &use;
    TRY_ASSIGN(const long done, transport_.settle(ctx_, [&] {
      return ::libssh2_userauth_publickey(transport_.session(), options_.user.c_str(),
                                          reinterpret_cast<const unsigned char*>(key.blob.data()),
                                          key.blob.size(), &sign_by_agent, &abstract);
    }));
    if (done == 0) return true;
    TRY_OK(ctx_.check());
    tried_.push_back(fmt::format("{} {} of the ssh-agent{}", host_key_type(key.blob), printable(key.comment),
                                 use.failure ? "" : ": " + use.failure.error().message));
    return !use.failure || is_refusal(done) ? Result<bool>(false) : broken(done);
  }

  Result<bool> try_file(const std::string& file) {
    struct stat s {};
    if (::stat(file.c_str(), &s) != 0) {
      if (options_.identity.empty()) return false;
      return fail(Code::kUsage, fmt::format("there is no key file {}", printable(file)),
                  "check identity_file; ssh-keygen -t ed25519 makes a key");
    }
    if ((s.st_mode & 077) != 0 && S_ISREG(s.st_mode)) {
      if (options_.identity.empty()) {
        tried_.push_back(printable(file) + " (left out: others may read it)");
        return false;
      }
      return fail(Code::kDenied, fmt::format("others may read the private key {}", printable(file)),
                  fmt::format("chmod 600 {}; if others may have read it, make a new key", printable(file)));
    }
    TRY_ASSIGN(std::string passphrase, options_.passphrase ? options_.passphrase() : Result<std::string>(""));
    auto done = transport_.settle(ctx_, [&] {
      return ::libssh2_userauth_publickey_fromfile_ex(
          transport_.session(), options_.user.data(), static_cast<unsigned>(options_.user.size()), nullptr,
          file.c_str(), passphrase.empty() ? nullptr : passphrase.c_str());
    });
    const bool had_passphrase = !passphrase.empty();
    ::OPENSSL_cleanse(passphrase.data(), passphrase.size());
    if (!done) return fail(std::move(done).error());
    if (*done == 0) return true;
    if (is_refusal(*done)) {
      tried_.push_back(printable(file));
      return false;
    }
    if (*done != LIBSSH2_ERROR_FILE && *done != LIBSSH2_ERROR_METHOD_NONE) return broken(*done);
    if (options_.identity.empty()) {
      tried_.push_back(printable(file) + " (cannot be used: encrypted?)");
      return false;
    }
    return fail(Code::kDenied, fmt::format("cannot use the private key {}", printable(file)),
                had_passphrase ? "is the passphrase in identity_passphrase_file the right one?"
                               : "if it is encrypted, name a file that holds the passphrase "
                                 "(identity_passphrase_file), or load the key into an ssh-agent");
  }

  Result<bool> broken(long number) const {
    Error error = transport_.error(number, "logging in at");
    if (error.retry == Retry::kNever || tried_.empty()) return fail(std::move(error));
    // A server that has had enough of our keys hangs up; to come again with the same ones would get us
    // banned.
    return fail(
        Error{Code::kDenied, fmt::format("{} hung up on us (tried: {})", transport_.peer(), all_tried()),
              "name the right private key with identity_file, so that it is the only one that is shown"}
            .caused_by(std::move(error)));
  }

  std::string all_tried() const {
    std::string out;
    for (const std::string& t : tried_) out += (out.empty() ? "" : ", ") + t;
    return out;
  }

  Result<> refused() const {
    return fail(
        Code::kDenied,
        fmt::format("{} does not let us in ({})", transport_.peer(),
                    tried_.empty() ? "there is no key to show" : "tried: " + all_tried()),
        "put the public key in the user's authorized_keys on the server, or name another private key with "
        "identity_file. Use ed25519: servers refuse what libssh2 makes of RSA keys");
  }

  const Context& ctx_;
  SshTransport& transport_;
  const SshOptions& options_;
  std::vector<std::string> tried_;
};

}  // namespace

Result<> ssh_log_in(const Context& ctx, SshTransport& transport, const SshOptions& options) {
  return Login(ctx, transport, options).run();
}

}  // namespace varve::net
