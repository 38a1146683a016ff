#include "os/process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "os/file.h"
#include "os/signals.h"

namespace varve::os {
namespace {

using namespace std::chrono_literals;

Context bounded(SteadyClock::duration d = 20s) {
  return Context{}.with_deadline(d);
}

TEST(Run, TakesOutputErrorAndExitCode) {
  auto r = run(bounded(), {"sh", "-c", "echo out; echo err >&2; exit 7"});
  ASSERT_TRUE(r) << r.error().describe();
  EXPECT_EQ(as_text(r->out), "out\n");
  EXPECT_EQ(r->err, "err\n");
  EXPECT_EQ(r->exit_code, 7);
  EXPECT_EQ(run(bounded(), {"sh", "-c", "kill -9 $$"})->exit_code, 137);
}

TEST(Run, ArgumentsAreNotInterpreted) {
  auto r = run(bounded(), {"printf", "%s|", "a b", "$HOME", "*", ""});
  ASSERT_TRUE(r);
  EXPECT_EQ(as_text(r->out), "a b|$HOME|*||");
}

TEST(Run, AbsentProgram) {
  auto r = run(bounded(), {"/no/such/program"});
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, Code::kNotFound);
  EXPECT_FALSE(r.error().hint.empty());
  EXPECT_EQ(run(bounded(), {"no-such-program-anywhere"}).error().code, Code::kNotFound);
  EXPECT_EQ(run(bounded(), {}).error().code, Code::kUsage);
}

TEST(Run, LargeInputAndOutputAtOnce) {
  const std::string input(3 << 20, 'q');
  auto r = run(bounded(), {"cat"}, as_bytes(input), 4 << 20);
  ASSERT_TRUE(r) << r.error().describe();
  EXPECT_EQ(as_text(r->out), input);
  // Much on both outputs, and an input that nobody reads.
  r = run(bounded(), {"sh", "-c", "head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero"}, as_bytes(input));
  ASSERT_TRUE(r) << r.error().describe();
  EXPECT_EQ(r->out.size(), 300000u);
  EXPECT_EQ(r->err.size(), 4096u);
}

TEST(Run, TooMuchOutputIsAnError) {
  auto r = run(bounded(), {"cat", "/dev/zero"}, {}, 1000);
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, Code::kIo);
  EXPECT_EQ(run(bounded(), {"head", "-c", "1000", "/dev/zero"}, {}, 1000)->out.size(), 1000u);
}

TEST(Run, DeadlineAndStopEndIt) {
  const auto begin = SteadyClock::now();
  auto r = run(bounded(100ms), {"sh", "-c", "sleep 30"});
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, Code::kUnreachable);
  std::stop_source source;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(100ms);
    source.request_stop();
  });
  Context ctx = bounded();
  ctx.stop = source.get_token();
  r = run(ctx, {"sleep", "30"});
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, Code::kInterrupted);
  EXPECT_LT(SteadyClock::now() - begin, 10s);
}

TEST(Run, GrandchildrenThatHoldTheOutputAreNotWaitedFor) {
  const auto begin = SteadyClock::now();
  auto r = run(bounded(), {"sh", "-c", "sleep 20 & echo done"});
  ASSERT_TRUE(r) << r.error().describe();
  EXPECT_EQ(as_text(r->out), "done\n");
  EXPECT_LT(SteadyClock::now() - begin, 10s);
}

TEST(Run, OurDescriptorsStayOurs) {
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);  // without O_CLOEXEC, as a careless library would
  auto r = run(bounded(), {"sh", "-c", "ls /proc/self/fd | wc -l"});
  ::close(fds[0]);
  ::close(fds[1]);
  ASSERT_TRUE(r);
  EXPECT_EQ(as_text(r->out), "4\n");  // the three, and that of ls on the folder
}

TEST(SplitWords, FollowsTheShellsQuotes) {
  using Words = std::vector<std::string>;
  EXPECT_EQ(*split_words("vault read -field=key 'secret/x y'"),
            (Words{"vault", "read", "-field=key", "secret/x y"}));
  EXPECT_EQ(*split_words("  a\t\"b \\\"c\\n\"  d\\ e '' "), (Words{"a", "b \"c\\n", "d e", ""}));
  EXPECT_EQ(*split_words("a'b'\"c\"$HOME"), (Words{"abc$HOME"}));
  for (const char* bad : {"", "  ", "'a", "a \"b", "a\\"})
    EXPECT_EQ(split_words(bad).error().code, Code::kUsage) << bad;
  for (std::string_view zero :
       {std::string_view("a\0b", 3), std::string_view("a\\\0", 3), std::string_view("'\0'", 3)})
    EXPECT_EQ(split_words(zero).error().code, Code::kUsage);
}

TEST(Identity, TellsTheLivingFromTheDead) {
  ProcessIdentity self = self_identity();
  EXPECT_EQ(self.pid, ::getpid());
  EXPECT_GT(self.started, 0u);
  EXPECT_FALSE(self.boot.empty());
  EXPECT_EQ(liveness(self), Liveness::kAlive);
  ProcessIdentity other = self;
  other.started += 1;  // the same pid, given to someone else
  EXPECT_EQ(liveness(other), Liveness::kDead);
  other = self;
  other.boot = "another";
  EXPECT_EQ(liveness(other), Liveness::kUnknown);
  other = self;
  other.host += "x";
  EXPECT_EQ(liveness(other), Liveness::kUnknown);
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(pid, nullptr, 0), pid);
  other = self;
  other.pid = pid;
  EXPECT_EQ(liveness(other), Liveness::kDead);
}

// Each in a child of its own: signals belong to the whole process.
int signalled(const std::function<void(pid_t)>& act, bool ignore_hup = false) {
  int ready[2];
  EXPECT_EQ(::pipe(ready), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (ignore_hup) ::signal(SIGHUP, SIG_IGN);
    std::stop_token token = install_stop_signals();
    (void)!::write(ready[1], "r", 1);
    for (int i = 0; i < 1000 && !token.stop_requested(); ++i) std::this_thread::sleep_for(10ms);
    if (!token.stop_requested()) ::_exit(1);
    (void)!::write(ready[1], "s", 1);
    std::this_thread::sleep_for(500ms);
    ::_exit(42);
  }
  char c = 0;
  EXPECT_EQ(::read(ready[0], &c, 1), 1);
  if (ignore_hup) ::kill(pid, SIGHUP);
  if (ignore_hup) std::this_thread::sleep_for(50ms);
  ::kill(pid, SIGTERM);
  EXPECT_EQ(::read(ready[0], &c, 1), 1);
  act(pid);
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  ::close(ready[0]);
  ::close(ready[1]);
  return status;
}

TEST(Signals, TheFirstStopsTheSecondEnds) {
  EXPECT_EQ(WEXITSTATUS(signalled([](pid_t) {})), 42);
  const int status = signalled([](pid_t pid) { ::kill(pid, SIGINT); });
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGINT);
}

TEST(Signals, NohupIsRespected) {
  EXPECT_EQ(WEXITSTATUS(signalled([](pid_t) {}, true)), 42);
}

}  // namespace
}  // namespace varve::os
