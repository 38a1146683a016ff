#include <cerrno>
#include <charconv>
#include <fmt/format.h>
#include <limits.h>
#include <optional>
#include <signal.h>
#include <unistd.h>

#include "base/text.h"
#include "os/file.h"
#include "os/process.h"

namespace varve::os {
namespace {

std::string host_name() {
  char name[HOST_NAME_MAX + 1] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

// The kernel's boot id and our process-id namespace: containers on one host share the boot id, and may share
// the host name, but what pid 7 means differs between them.
std::string boot_id() {
  std::string boot;
  if (auto text = read_file("/proc/sys/kernel/random/boot_id", 256)) boot = trim(as_text(*text));
  char space[64] = {};
  const ssize_t n = ::readlink("/proc/self/ns/pid", space, sizeof space - 1);
  if (n > 0) boot += fmt::format(" {}", std::string_view(space, static_cast<size_t>(n)));
  return boot;
}

struct Stat {
  char state = 0;
  uint64_t started = 0;
};

std::optional<Stat> process_stat(int64_t pid) {
  auto text = read_file(fmt::format("/proc/{}/stat", pid), 4096);
  if (!text) return std::nullopt;
  // The second field is the program's name in brackets, and may hold spaces and brackets itself.
  std::string_view rest = as_text(*text);
  const size_t bracket = rest.rfind(')');
  if (bracket == rest.npos || bracket + 2 > rest.size()) return std::nullopt;
  const auto fields = split(rest.substr(bracket + 2), ' ');
  if (fields.size() < 20 || fields[0].empty()) return std::nullopt;
  Stat out;
  out.state = fields[0][0];
  const std::string_view started = fields[19];  // the 22nd field of proc(5)
  if (std::from_chars(started.data(), started.data() + started.size(), out.started).ec != std::errc())
    return std::nullopt;
  return out;
}

}  // namespace

ProcessIdentity self_identity() {
  return identity_of(::getpid());
}

ProcessIdentity identity_of(int64_t pid) {
  ProcessIdentity id;
  id.host = host_name();
  id.boot = boot_id();
  id.pid = pid;
  if (auto stat = process_stat(id.pid)) id.started = stat->started;
  return id;
}

Liveness liveness(const ProcessIdentity& id) {
  const std::string boot = boot_id();
  if (id.host != host_name() || id.boot != boot || boot.empty()) return Liveness::kUnknown;
  const auto stat = process_stat(id.pid);
  // Asked of the kernel, not of /proc: mounted with hidepid, that shows only our own processes.
  if (!stat)
    return ::kill(static_cast<pid_t>(id.pid), 0) != 0 && errno == ESRCH ? Liveness::kDead
                                                                        : Liveness::kUnknown;
  const bool ended = stat->state == 'Z' || stat->state == 'X';
  return stat->started == id.started && !ended ? Liveness::kAlive : Liveness::kDead;
}

}  // namespace varve::os
