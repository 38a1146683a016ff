#include "os/trace.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/file.h"

namespace varve::os {
namespace {

// Runs `body` in a child with the fault in its environment; the child's wait status.
int in_child(const std::string& fault, const std::function<int()>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::setenv("VARVE_TEST_FAULT", fault.c_str(), 1);
    ::exit(install_fault_from_environment() ? body() : 99);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return status;
}

class FaultTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = TempDir::create("varve-trace-test");
    ASSERT_TRUE(made);
    dir_.emplace(std::move(*made));
  }
  // Four traced calls: create, write, sync, remove.
  int work() const {
    auto file = File::open(dir_->path() / "a", File::Mode::kCreateNew);
    if (!file) return file.error().code == Code::kNoSpace ? 1 : 2;
    if (auto w = file->write_at(0, as_bytes("x")); !w) return w.error().code == Code::kNoSpace ? 3 : 4;
    if (!file->sync()) return 5;
    if (!remove_file(dir_->path() / "a")) return 6;
    return 0;
  }
  std::optional<TempDir> dir_;
};

TEST_F(FaultTest, KillEndsTheProcessAtTheCall) {
  const int status = in_child("kill@2", [&] { return work(); });
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  auto left = read_file(dir_->path() / "a", 10);
  ASSERT_TRUE(left);
  EXPECT_TRUE(left->empty());
}

TEST_F(FaultTest, NoSpaceStaysButRemovalWorks) {
  EXPECT_EQ(WEXITSTATUS(in_child("enospc@2", [&] { return work(); })), 3);
  ASSERT_TRUE(remove_file(dir_->path() / "a"));
  EXPECT_EQ(WEXITSTATUS(in_child("enospc@3", [&] { return work(); })),
            0);  // nothing grows after the second call
  EXPECT_EQ(WEXITSTATUS(in_child("enospc@2",
                                 [&] {
                                   (void)work();
                                   return remove_file(dir_->path() / "a") ? work() : 50;
                                 })),
            1);
}

TEST_F(FaultTest, IoErrorComesOnce) {
  EXPECT_EQ(WEXITSTATUS(in_child("eio@1",
                                 [&] {
                                   const int first = work();
                                   return first == 2 ? work() : 50;
                                 })),
            0);
}

TEST_F(FaultTest, CountIsWritten) {
  const Path count = dir_->path() / "count";
  EXPECT_EQ(WEXITSTATUS(in_child("count:" + count.native(), [&] { return work(); })), 0);
  EXPECT_EQ(as_text(*read_file(count, 100)), "4\n");
}

TEST_F(FaultTest, NonsenseIsRefused) {
  for (const char* text : {"kill", "kill@", "kill@0", "kill@x", "kill@1x", "burn@3", "counter"})
    EXPECT_EQ(WEXITSTATUS(in_child(text, [] { return 0; })), 99) << text;
}

}  // namespace
}  // namespace varve::os
