// Other programs, started by argument list: no shell is ever between.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/context.h"
#include "os/file.h"

namespace varve::os {

struct ProcessResult {
  int exit_code = 0;  // 128 + n when ended by signal n
  Buffer out;         // standard output, at most max_output bytes (more is an error)
  std::string err;    // standard error, the last 4 KiB
};

// Runs to the end, bounded by the context's deadline and stop (then killed). kNotFound when there is no such
// program. The output is wiped from no log; callers that read secrets do not print it.
Result<ProcessResult> run(const Context& ctx, const std::vector<std::string>& argv, ByteView input = {},
                          size_t max_output = 1 << 20);
// A user of this system, as a child process becomes one.
struct Account {
  uint32_t uid = 0, gid = 0;
  std::vector<uint32_t> groups;  // supplementary ones
  std::string name;              // empty: no entry in the system's list of users
};
Account account_of(uint32_t uid, uint32_t gid_without_entry);

struct DetachedOptions {
  std::optional<Account> account;  // become this user first; only root may
  Path output;                     // appended to; created with mode 0600, owned by the account
  Path folder = "/";               // working directory
};
// Starts a program that outlives us: its own session, no descriptor of ours, input from /dev/null, both
// outputs to the file. Returns its process id once it runs; kNotFound when there is no such program, kDenied
// when we may not become that user. Nobody waits for its end: liveness() says.
Result<int64_t> start_detached(const std::vector<std::string>& argv, const DetachedOptions& options);

// Splits "vault read -field=key 'secret/x'" in words by the rules of a shell's quotes, without running one.
Result<std::vector<std::string>> split_words(std::string_view command);

// Who a process is, so that another on the same host can tell whether it still runs: survives pid reuse and
// reboot.
struct ProcessIdentity {
  std::string host;  // host name
  std::string boot;  // boot id
  int64_t pid = 0;
  uint64_t started = 0;  // start time in ticks since boot
};
ProcessIdentity self_identity();
ProcessIdentity identity_of(int64_t pid);  // started: 0 when there is no such process
enum class Liveness { kAlive, kDead, kUnknown /* another host or boot */ };
Liveness liveness(const ProcessIdentity& id);

}  // namespace varve::os
