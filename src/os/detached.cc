// Programs that outlive us. Not by posix_spawn(3): that cannot become another user.
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"
#include "os/process.h"

namespace varve::os {
namespace {

constexpr unsigned kCloseOnExec = 1u << 2;  // CLOSE_RANGE_CLOEXEC, in kernels since 5.11
constexpr int kMostDescriptors = 65536;     // looked at on older ones

// What the child tells through a pipe that exec closes.
struct Report {
  int64_t pid = 0;
  int error = 0;  // errno; 0: exec is next
  enum Step : int { kRuns, kFork, kUser, kFolder, kExec } step = kRuns;
};

// All that the child needs, made before the fork: after it only async-signal-safe calls are allowed.
struct Plan {
  std::vector<char*> argv;
  std::string program;
  std::string folder;
  const Account* account = nullptr;
  std::vector<gid_t> groups;
  int input = -1, output = -1, report = -1;
};

// The whole path of a program, by $PATH where it has no slash.
Result<std::string> find_program(const std::string& name) {
  if (name.find('/') != name.npos) return name;
  const char* path = ::getenv("PATH");
  for (const std::string_view folder : split(path ? path : "/usr/bin:/bin", ':')) {
    std::string candidate = fmt::format("{}/{}", folder.empty() ? "." : folder, name);
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return fail(Code::kNotFound, fmt::format("there is no program {}", printable(name)),
              "install it, or give its whole path");
}

// The raw calls: those of the C library would change all threads of this process, of which the child has only
// one.
bool become(const Plan& plan) {
  const auto& a = *plan.account;
  return ::syscall(SYS_setgroups, plan.groups.size(), plan.groups.data()) == 0 &&
         ::syscall(SYS_setresgid, a.gid, a.gid, a.gid) == 0 &&
         ::syscall(SYS_setresuid, a.uid, a.uid, a.uid) == 0;
}

[[noreturn]] void tell_and_end(const Plan& plan, Report::Step step, int error) {
  const Report report{.pid = 0, .error = error, .step = step};
  (void)!::write(plan.report, &report, sizeof report);
  ::_exit(127);
}

// In the grandchild.
[[noreturn]] void run_program(const Plan& plan) {
  const Report begins{.pid = ::getpid(), .error = 0, .step = Report::kRuns};
  (void)!::write(plan.report, &begins, sizeof begins);
  if (::chdir(plan.folder.c_str()) != 0) tell_and_end(plan, Report::kFolder, errno);
  if (plan.account && !become(plan)) tell_and_end(plan, Report::kUser, errno);
  ::dup2(plan.input, 0);
  ::dup2(plan.output, 1);
  ::dup2(plan.output, 2);
  for (int s : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGQUIT, SIGUSR1, SIGUSR2}) ::signal(s, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  // All above the three is closed by exec, the pipe too.
  if (::syscall(SYS_close_range, 3u, ~0u, kCloseOnExec) != 0) {
    for (int fd = 3; fd < kMostDescriptors; ++fd) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  ::execv(plan.program.c_str(), plan.argv.data());
  tell_and_end(plan, Report::kExec, errno);
}

[[noreturn]] void run_child(const Plan& plan) {
  ::setsid();
  const pid_t pid = ::fork();
  if (pid < 0) tell_and_end(plan, Report::kFork, errno);
  if (pid > 0) ::_exit(0);
  run_program(plan);
}

struct Fd {
  int fd = -1;
  ~Fd() {
    if (fd >= 0) ::close(fd);
  }
};

bool read_report(int fd, Report& out) {
  ssize_t n;
  do {
    n = ::read(fd, &out, sizeof out);
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(sizeof out);
}

Error failure(const Report& report, const Plan& plan) {
  switch (report.step) {
    case Report::kUser: {
      Error error = errno_error(report.error, "become the user", plan.account->name);
      error.hint = fmt::format("run as root, or as the user {}", printable(plan.account->name));
      return error;
    }
    case Report::kFolder:
      return errno_error(report.error, "enter", plan.folder);
    default: {
      Error error = errno_error(report.error, "run", plan.program);
      if (report.error == ENOENT) error.hint = "install it, or give its whole path";
      return error;
    }
  }
}

}  // namespace

Account account_of(uint32_t uid, uint32_t gid_without_entry) {
  Account out{.uid = uid, .gid = gid_without_entry, .groups = {}, .name = ""};
  passwd entry;
  passwd* found = nullptr;
  std::array<char, 16384> buffer;
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) != 0 || !found) return out;
  out.gid = found->pw_gid;
  out.name = found->pw_name;
  int count = NGROUPS_MAX;
  std::vector<gid_t> groups(static_cast<size_t>(count));
  if (::getgrouplist(found->pw_name, found->pw_gid, groups.data(), &count) >= 0) {
    groups.resize(static_cast<size_t>(count));
    out.groups.assign(groups.begin(), groups.end());
  }
  return out;
}

Result<int64_t> start_detached(const std::vector<std::string>& argv, const DetachedOptions& options) {
  if (argv.empty() || argv[0].empty()) return fail(Code::kUsage, "no program to run");
  Plan plan;
  TRY_ASSIGN(plan.program, find_program(argv[0]));
  for (const std::string& a : argv) plan.argv.push_back(const_cast<char*>(a.c_str()));
  plan.argv.push_back(nullptr);
  plan.folder = options.folder.native();
  if (options.account) {
    plan.account = &*options.account;
    plan.groups.assign(options.account->groups.begin(), options.account->groups.end());
  }
  const Fd input{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
  const Fd output{
      ::open(options.output.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (output.fd < 0) return fail(errno_error(errno, "write to", options.output));
  if (plan.account && ::fchown(output.fd, plan.account->uid, plan.account->gid) != 0)
    return fail(errno_error(errno, "change the owner of", options.output));
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return fail(errno_error(errno, "create", "a pipe"));
  const Fd reading{fds[0]};
  plan.input = input.fd;
  plan.output = output.fd;
  plan.report = fds[1];

  const pid_t pid = ::fork();
  if (pid == 0) run_child(plan);
  const int fork_error = errno;
  ::close(fds[1]);
  if (pid < 0) return fail(errno_error(fork_error, "start", plan.program));
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  Report begins, ends;
  if (!read_report(reading.fd, begins))
    return fail(Code::kIo, fmt::format("{} did not start", printable(argv[0])));
  if (begins.error != 0) return fail(failure(begins, plan));
  // Nothing more comes when exec went well: the pipe just closes.
  if (read_report(reading.fd, ends)) return fail(failure(ends, plan));
  return begins.pid;
}

}  // namespace varve::os
