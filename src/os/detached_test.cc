#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/process.h"

namespace varve::os {
namespace {

std::string when_written(const Path& path, std::string_view end) {
  for (int i = 0; i < 500; ++i) {
    if (auto text = read_file(path, 1 << 20); text && as_text(*text).ends_with(end))
      return std::string(as_text(*text));
    ::usleep(20'000);
  }
  return "nothing came";
}

TEST(Detached, OutlivesTheCallAndWritesToItsFile) {
  const auto dir = TempDir::create();
  const Path out = dir->path() / "out";
  const auto pid = start_detached({"sh", "-c", "echo begun; pwd; echo worse >&2; exec sleep 60"},
                                  {.account = {}, .output = out, .folder = dir->path()});
  ASSERT_TRUE(pid) << pid.error().describe();
  EXPECT_EQ(when_written(out, "worse\n"), "begun\n" + dir->path().native() + "\nworse\n");
  const ProcessIdentity identity = identity_of(*pid);
  EXPECT_EQ(liveness(identity), Liveness::kAlive);
  EXPECT_EQ(::getsid(static_cast<pid_t>(*pid)) == ::getsid(0), false);
  ASSERT_EQ(::kill(static_cast<pid_t>(*pid), SIGKILL), 0);
  for (int i = 0; i < 500 && liveness(identity) != Liveness::kDead; ++i) ::usleep(20'000);
  EXPECT_EQ(liveness(identity), Liveness::kDead);
}

TEST(Detached, SaysWhatDoesNotStart) {
  const auto dir = TempDir::create();
  const DetachedOptions options{.account = {}, .output = dir->path() / "out"};
  EXPECT_EQ(start_detached({"no-such-program-here"}, options).error().code, Code::kNotFound);
  EXPECT_EQ(start_detached({"/no/such/program"}, options).error().code, Code::kNotFound);
  EXPECT_EQ(start_detached({"/etc/passwd"}, options).error().code, Code::kDenied);
  DetachedOptions elsewhere = options;
  elsewhere.folder = "/no/such/folder";
  EXPECT_EQ(start_detached({"true"}, elsewhere).error().code, Code::kNotFound);
}

TEST(Detached, BecomesAnotherUser) {
  if (::geteuid() != 0) return;  // only root may
  const auto dir = TempDir::create();
  const Account nobody = account_of(65534, 65534);
  const Path out = dir->path() / "out";
  const auto pid =
      start_detached({"sh", "-c", "id -u; id -g; exit 0"}, {.account = nobody, .output = out, .folder = "/"});
  ASSERT_TRUE(pid) << pid.error().describe();
  EXPECT_EQ(when_written(out, "65534\n65534\n"), "65534\n65534\n");
  EXPECT_EQ(os::status(out).value()->uid, 65534u);
}

}  // namespace
}  // namespace varve::os
