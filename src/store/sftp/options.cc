#include "store/sftp/options.h"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include "base/text.h"
#include "base/time.h"
#include "os/file.h"

namespace varve::store::sftp {
namespace {

constexpr uint64_t kMostPassphrase = 4096;
constexpr uint64_t kMostConnections = 64;

constexpr Setting kSettings[] = {
    {"user", "NAME", "who logs in, where the address does not say; without both: who runs varve"},
    {"identity_file", "FILE", "the private key; without it: the ssh-agent's keys, then those in ~/.ssh"},
    {"identity_passphrase_file", "FILE", "holds the passphrase of an encrypted private key"},
    {"agent", "true|false", "whether the ssh-agent ($SSH_AUTH_SOCK) is asked; default true"},
    {"known_hosts", "FILE",
     "the servers that are known, in place of ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts"},
    {"host_key_fingerprint", "SHA256:…",
     "the server's key, as ssh-keygen -l shows it, in place of known_hosts; several with commas"},
    {"connections", "NUMBER", "how many connections to use at once; default 4"},
    {"connect_timeout", "DURATION", "until the server has let us in; default 20s"},
    {"stall_timeout", "DURATION", "a server that is silent for so long is given up; default 30s"},
};

struct Login {
  std::string home, name;
};

Login who_runs() {
  Login out;
  passwd entry{}, *found = nullptr;
  std::vector<char> room(16384);
  if (::getpwuid_r(::geteuid(), &entry, room.data(), room.size(), &found) == 0 && found != nullptr)
    out = {entry.pw_dir, entry.pw_name};
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') out.home = home;
  return out;
}

// [user@]host[:port]
Result<> read_authority(std::string_view text, Options& out) {
  auto& ssh = out.ssh;
  if (const size_t at = text.rfind('@'); at != text.npos) {
    ssh.user = text.substr(0, at);
    if (ssh.user.find(':') != ssh.user.npos) {
      return fail(Code::kUsage, "the address of the SFTP server holds a password",
                  "take it out: Varve logs in by keys (identity_file, or an ssh-agent)");
    }
    text.remove_prefix(at + 1);
  }
  std::string_view port;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == text.npos)
      return fail(Code::kUsage, fmt::format("the host \"{}\" lacks its ]", printable(text)));
    ssh.host = text.substr(1, end - 1);
    port = text.substr(end + 1);
    if (!port.empty() && !port.starts_with(':'))
      return fail(Code::kUsage, fmt::format("\"{}\" is no host and port", printable(text)));
  } else {
    const size_t colon = text.find(':');
    if (colon != text.rfind(':')) {
      return fail(Code::kUsage, fmt::format("\"{}\" is no host and port", printable(text)),
                  "an IPv6 address stands in brackets: [::1]");
    }
    ssh.host = text.substr(0, colon);
    if (colon != text.npos) port = text.substr(colon);
  }
  if (ssh.host.empty() || ssh.host.find_first_of(" \t/@,\"'\\%") != ssh.host.npos || ssh.host[0] == '-')
    return fail(Code::kUsage, fmt::format("\"{}\" is no host's name", printable(ssh.host)));
  if (port.empty()) return {};
  port.remove_prefix(1);
  uint32_t number = 0;
  for (char c : port) {
    if (c < '0' || c > '9' || number > 65535)
      return fail(Code::kUsage, fmt::format("\"{}\" is no port", printable(port)));
    number = number * 10 + static_cast<uint32_t>(c - '0');
  }
  if (number == 0 || number > 65535)
    return fail(Code::kUsage, fmt::format("\"{}\" is no port", printable(port)));
  ssh.port = static_cast<uint16_t>(number);
  return {};
}

Result<std::string> read_passphrase(const std::string& file) {
  auto bytes = os::read_file(file, kMostPassphrase);
  if (!bytes) return fail(std::move(bytes).error().with_context("identity_passphrase_file"));
  std::string out(as_text(*bytes));
  std::fill(bytes->begin(), bytes->end(), std::byte{});
  out.resize(std::min(out.size(), out.find_first_of("\r\n")));
  return out;
}

Result<std::chrono::milliseconds> duration(const Settings& settings, std::string_view name,
                                           Seconds otherwise) {
  const std::string text = settings.text(name);
  if (text.empty()) return otherwise;
  auto seconds = parse_duration(text);
  if (!seconds) return fail(std::move(seconds).error().with_context(std::string(name)));
  if (*seconds < Seconds(1) || *seconds > std::chrono::hours(24))
    return fail(Code::kUsage, fmt::format("{} = {} is not between 1s and 1d", name, printable(text)));
  return *seconds;
}

Result<std::vector<std::string>> fingerprints(const std::string& text) {
  std::vector<std::string> out;
  for (std::string_view pin : split(text, ',')) {
    pin = trim(pin);
    while (pin.ends_with('=')) pin.remove_suffix(1);
    if (pin.empty()) continue;
    if (!pin.starts_with("SHA256:") || pin.size() != 50) {
      return fail(Code::kUsage, fmt::format("host_key_fingerprint: \"{}\" is none", printable(pin)),
                  "ssh-keygen -l -f KEY shows it: SHA256: and 43 letters");
    }
    out.emplace_back(pin);
  }
  return out;
}

Result<> read_settings(const Settings& settings, Options& out) {
  const Login login = who_runs();
  auto& ssh = out.ssh;
  auto path = [&](std::string text) { return text.starts_with("~/") ? login.home + text.substr(1) : text; };
  if (ssh.user.empty()) ssh.user = settings.text("user", login.name);
  if (ssh.user.empty())
    return fail(Code::kUsage, "the address does not say who logs in", "write sftp://user@host/folder");

  ssh.identity = path(settings.text("identity_file"));
  for (const char* name : {"id_ed25519", "id_ecdsa", "id_rsa"})
    ssh.other_identities.push_back(login.home + "/.ssh/" + name);
  if (const std::string file = path(settings.text("identity_passphrase_file")); !file.empty())
    ssh.passphrase = [file] { return read_passphrase(file); };
  TRY_ASSIGN(const bool agent, settings.flag("agent", true));
  if (const char* socket = std::getenv("SSH_AUTH_SOCK"); agent && socket != nullptr)
    ssh.agent_socket = socket;

  const std::string known_hosts = path(settings.text("known_hosts"));
  ssh.known_hosts = known_hosts.empty() ? std::vector{login.home + "/.ssh/known_hosts",
                                                      std::string("/etc/ssh/ssh_known_hosts")}
                                        : std::vector{known_hosts};
  TRY_ASSIGN(ssh.fingerprints, fingerprints(settings.text("host_key_fingerprint")));

  TRY_ASSIGN(out.connections, settings.size("connections", out.connections));
  if (out.connections == 0 || out.connections > kMostConnections)
    return fail(Code::kUsage,
                fmt::format("connections = {} is not from 1 to {}", out.connections, kMostConnections));
  TRY_ASSIGN(ssh.connect_within, duration(settings, "connect_timeout", Seconds(20)));
  TRY_ASSIGN(ssh.stalled_after, duration(settings, "stall_timeout", Seconds(30)));
  return {};
}

}  // namespace

std::span<const Setting> sftp_settings() {
  return kSettings;
}

Result<Options> read_options(const Place& place) {
  Options out;
  TRY_OK(read_authority(place.authority, out));
  TRY_OK(read_settings(place.settings, out));
  // "/~/backups" is below the home of who logs in, as other programs have it.
  if (place.path == "~") {
    out.folder = ".";
  } else if (place.path.starts_with("~/")) {
    out.folder = place.path.substr(2);
  } else {
    out.folder = "/" + place.path;
  }
  for (std::string_view segment : split(out.folder, '/')) {
    if (segment == "..")
      return fail(Code::kUsage, fmt::format("the folder \"{}\" leads upward", printable(out.folder)));
  }
  const bool ipv6 = out.ssh.host.find(':') != std::string::npos;
  out.address = fmt::format("sftp://{}@{}{}/{}", out.ssh.user, ipv6 ? "[" + out.ssh.host + "]" : out.ssh.host,
                            out.ssh.port == 22 ? "" : fmt::format(":{}", out.ssh.port), place.path);
  return out;
}

}  // namespace varve::store::sftp
