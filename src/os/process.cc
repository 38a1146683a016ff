#include "os/process.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stop_token>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "base/text.h"
#include "os/file.h"

namespace varve::os {
namespace {

constexpr size_t kMostError = 4096;

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  Fd& operator=(Fd&& o) noexcept {
    std::swap(fd_, o.fd_);
    return *this;
  }
  ~Fd() { reset(); }
  void reset() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

struct Pipe {
  Fd read, write;
};

Result<Pipe> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return fail(errno_error(errno, "create", "a pipe"));
  return Pipe{Fd(fds[0]), Fd(fds[1])};
}

void set_nonblocking(const Fd& fd) {
  ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
}

// The spawn call with its attributes: own process group (a kill reaches the grandchildren too), default
// signals, and no descriptor of ours but the three.
int spawn(pid_t* pid, const std::vector<std::string>& argv, int in, int out, int err) {
  std::vector<char*> args;
  for (const std::string& a : argv) args.push_back(const_cast<char*>(a.c_str()));
  args.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&actions, in, 0);
  posix_spawn_file_actions_adddup2(&actions, out, 1);
  posix_spawn_file_actions_adddup2(&actions, err, 2);
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  sigset_t none, defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  for (int s : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&defaults, s);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  const int rc = ::posix_spawnp(pid, args[0], &actions, &attributes, args.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  return rc;
}

// A child under way. Whatever way it is left, no process and no zombie stays behind.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid), exit_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}
  ~Child() {
    if (!reaped_) {
      ::kill(-pid_, SIGKILL);
      wait(0);
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // -1 on kernels without pidfd: then the caller looks now and then.
  int exit_fd() const { return exit_.get(); }
  bool has_ended() { return reaped_ || wait(WNOHANG); }
  int exit_code() const { return WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_); }

 private:
  bool wait(int flags) {
    pid_t rc;
    do {
      rc = ::waitpid(pid_, &status_, flags);
    } while (rc < 0 && errno == EINTR);
    reaped_ = rc != 0;  // an error means that someone else reaped it: gone either way
    return reaped_;
  }

  pid_t pid_;
  Fd exit_;
  int status_ = 0;
  bool reaped_ = false;
};

// Reads what is there. False at the end of the stream.
template <typename Take>
bool drain(const Fd& fd, const Take& take) {
  std::array<std::byte, 65536> piece;
  for (;;) {
    const ssize_t n = ::read(fd.get(), piece.data(), piece.size());
    if (n > 0) {
      if (!take(ByteView(piece.data(), static_cast<size_t>(n)))) return false;
    } else if (n < 0 && errno == EINTR) {
      continue;
    } else {
      return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    }
  }
}

int wait_ms(const Context& ctx, bool must_look) {
  if (must_look) return 20;
  if (ctx.deadline == SteadyClock::time_point::max()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(ctx.deadline - SteadyClock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30));
}

// Moves bytes both ways until the child has ended; what its own children still hold open is not waited for.
class Exchange {
 public:
  Exchange(Fd in, Fd out, Fd err, ByteView input, size_t most)
      : in_(std::move(in)), out_(std::move(out)), err_(std::move(err)), input_(input), most_(most) {
    for (const Fd* fd : {&in_, &out_, &err_}) set_nonblocking(*fd);
    if (input_.empty()) in_.reset();
  }

  Result<> run(const Context& ctx, Child& child, ProcessResult& result) {
    Fd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    std::stop_callback on_stop(ctx.stop, [&] {
      const uint64_t one = 1;
      (void)!::write(wake.get(), &one, sizeof one);
    });
    bool ended = false;
    while (!ended) {
      TRY_OK(ctx.check());
      std::array<pollfd, 5> fds = {{{wake.get(), POLLIN, 0},
                                    {child.exit_fd(), POLLIN, 0},
                                    {in_.get(), POLLOUT, 0},
                                    {out_.get(), POLLIN, 0},
                                    {err_.get(), POLLIN, 0}}};
      if (::poll(fds.data(), fds.size(), wait_ms(ctx, child.exit_fd() < 0)) < 0 && errno != EINTR)
        return fail(errno_error(errno, "wait for", "a program"));
      // Asked before the last drain: what it wrote before its end is in the pipe by now.
      ended = child.has_ended();
      if (in_.get() >= 0) feed();
      TRY_OK(collect(result));
    }
    return {};
  }

 private:
  void feed() {
    while (!input_.empty()) {
      const ssize_t n = ::write(in_.get(), input_.data(), input_.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return;
      if (n < 0) break;  // it closed its input: its own affair
      input_ = input_.subspan(static_cast<size_t>(n));
    }
    in_.reset();
  }

  Result<> collect(ProcessResult& result) {
    bool too_much = false;
    if (out_.get() >= 0 && !drain(out_, [&](ByteView piece) {
          too_much = piece.size() > most_ - result.out.size();
          if (!too_much) append(result.out, piece);
          return !too_much;
        })) {
      out_.reset();
    }
    if (err_.get() >= 0 && !drain(err_, [&](ByteView piece) {
          result.err += as_text(piece);
          if (result.err.size() > kMostError) result.err.erase(0, result.err.size() - kMostError);
          return true;
        })) {
      err_.reset();
    }
    if (too_much) return fail(Code::kIo, fmt::format("the program wrote more than {}", human_size(most_)));
    return {};
  }

  Fd in_, out_, err_;
  ByteView input_;
  size_t most_;
};

// A write to a child that is gone must be an error, not the end of us, whether or not main() ignores SIGPIPE.
class BlockSigpipe {
 public:
  BlockSigpipe() {
    sigset_t pending;
    sigemptyset(&set_);
    sigaddset(&set_, SIGPIPE);
    ::sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    ::pthread_sigmask(SIG_BLOCK, &set_, &old_);
  }
  ~BlockSigpipe() {
    const timespec now = {0, 0};
    if (!was_pending_) ::sigtimedwait(&set_, nullptr, &now);
    ::pthread_sigmask(SIG_SETMASK, &old_, nullptr);
  }
  BlockSigpipe(const BlockSigpipe&) = delete;
  BlockSigpipe& operator=(const BlockSigpipe&) = delete;

 private:
  sigset_t set_, old_;
  bool was_pending_;
};

}  // namespace

Result<ProcessResult> run(const Context& ctx, const std::vector<std::string>& argv, ByteView input,
                          size_t max_output) {
  if (argv.empty() || argv[0].empty()) return fail(Code::kUsage, "no program to run");
  TRY_OK(ctx.check());
  TRY_ASSIGN(Pipe in, make_pipe());
  TRY_ASSIGN(Pipe out, make_pipe());
  TRY_ASSIGN(Pipe err, make_pipe());
  pid_t pid = 0;
  if (const int rc = spawn(&pid, argv, in.read.get(), out.write.get(), err.write.get()); rc != 0) {
    Error error = errno_error(rc, "run", argv[0]);
    if (rc == ENOENT) error.hint = "install it, or give its whole path";
    return fail(std::move(error));
  }
  Child child(pid);
  in.read.reset();
  out.write.reset();
  err.write.reset();
  BlockSigpipe block;
  ProcessResult result;
  Exchange exchange(std::move(in.write), std::move(out.read), std::move(err.read), input, max_output);
  if (auto done = exchange.run(ctx, child, result); !done) {
    return fail(std::move(done).error().with_context("while running " + printable(argv[0])));
  }
  result.exit_code = child.exit_code();
  return result;
}

}  // namespace varve::os
