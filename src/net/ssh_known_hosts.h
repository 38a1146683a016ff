// The keys that servers are known by: files in the form of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace varve::net {

// A server's key as it is sent: "ssh-ed25519", "ecdsa-sha2-nistp256", …; empty when it is none.
std::string host_key_type(ByteView key);
// "SHA256:…", as `ssh-keygen -l` shows it.
std::string host_key_fingerprint(ByteView key);
// How the files name a server: "host", or "[host]:port" when the port is not 22.
std::string host_name_in_files(std::string_view host, uint16_t port);
// The line that makes a server known.
std::string known_hosts_line(std::string_view host, uint16_t port, ByteView key);

class KnownHosts {
 public:
  // Files that are absent count as empty; one that cannot be read is an error.
  static Result<KnownHosts> read(const std::vector<std::string>& files);
  // Lines that cannot be understood are left out, as ssh does; "@cert-authority" is not supported and left
  // out, too. `name`: for place().
  void add(std::string_view text, const std::string& name);

  enum class Verdict {
    kKnown,
    kUnknown,  // no line names the server
    kChanged,  // known, by other keys
    kRevoked,  // this key was declared void
  };
  struct Answer {
    Verdict verdict = Verdict::kUnknown;
    std::string place = {};  // the line that decided: "/root/.ssh/known_hosts:12"
  };
  // A server at another port than 22 may be known without it as well, as ssh has it.
  Answer check(std::string_view host, uint16_t port, ByteView key) const;
  // The kinds of keys that the server is known by, in the order of the lines; each once.
  std::vector<std::string> types(std::string_view host, uint16_t port) const;
  size_t size() const { return lines_.size(); }

 private:
  struct Line {
    std::string hosts;  // patterns, or "|1|salt|hash"
    Buffer key;
    bool revoked = false;
    std::string place;
  };
  std::vector<Line> lines_;
};

}  // namespace varve::net
