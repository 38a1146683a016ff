// For the tests of live databases: other processes that have a database open, since locks mean nothing within
// one.
#pragma once

#include <fmt/format.h>
#include <functional>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <string>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "os/file.h"
#include "os/process.h"

namespace varve::engine::sqlite::testing {

// A child that runs `work` and ends with what it returns.
class Child {
 public:
  explicit Child(const std::function<int()>& work) : pid_(::fork()) {
    if (pid_ == 0) ::_exit(work());
  }
  ~Child() { kill(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  pid_t pid() const { return pid_; }
  void signal(int number) const { ::kill(pid_, number); }
  void kill() {
    if (pid_ <= 0) return;
    signal(SIGKILL);
    ::waitpid(std::exchange(pid_, 0), nullptr, 0);
  }
  // Its exit code; -1 when a signal ended it.
  int wait() {
    int status = 0;
    ::waitpid(std::exchange(pid_, 0), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t pid_;
};

// A program with one connection to a database, which runs what it is told.
class Program {
 public:
  explicit Program(const os::Path& database) : ends_(connect()), child_([&] { return serve(database); }) {
    ::close(ends_.theirs);
  }
  ~Program() { ::close(ends_.ours); }

  // The rows ("a|b" lines) of the last statements, or "error: …".
  std::string ask(const std::string& sql) {
    send(ends_.ours, sql);
    return receive(ends_.ours);
  }
  void exec(const std::string& sql) {
    const std::string answer = ask(sql);
    EXPECT_FALSE(answer.starts_with("error:")) << answer << " in: " << sql;
  }
  void kill() { child_.kill(); }  // as kill -9 does
  void close() {
    ::shutdown(ends_.ours, SHUT_WR);
    EXPECT_EQ(child_.wait(), 0);
  }

 private:
  struct Ends {
    int ours, theirs;
  };
  static Ends connect() {
    int fds[2] = {-1, -1};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) ADD_FAILURE() << "socketpair";
    return {fds[0], fds[1]};
  }
  static void send(int fd, const std::string& text) {
    const uint32_t size = static_cast<uint32_t>(text.size());
    if (::write(fd, &size, sizeof size) < 0 || ::write(fd, text.data(), size) < 0) ::perror("write");
  }
  static bool read_all(int fd, void* to, size_t size) {
    for (size_t got = 0; got < size;) {
      const ssize_t n = ::read(fd, static_cast<char*>(to) + got, size - got);
      if (n <= 0) return false;
      got += static_cast<size_t>(n);
    }
    return true;
  }
  static std::string receive(int fd) {
    uint32_t size = 0;
    if (!read_all(fd, &size, sizeof size)) return "error: gone";
    std::string text(size, '\0');
    return read_all(fd, text.data(), size) ? text : "error: gone";
  }
  int serve(const os::Path& database) const {
    ::close(ends_.ours);
    sqlite3* db = nullptr;
    if (sqlite3_open(database.c_str(), &db) != SQLITE_OK) return 1;
    for (;;) {
      uint32_t size = 0;
      if (!read_all(ends_.theirs, &size, sizeof size)) break;
      std::string sql(size, '\0');
      if (!read_all(ends_.theirs, sql.data(), size)) break;
      std::string rows;
      const auto row = [](void* to, int n, char** values, char**) {
        for (int i = 0; i < n; ++i) {
          *static_cast<std::string*>(to) += (i > 0 ? "|" : "") + std::string(values[i] ? values[i] : "NULL");
        }
        *static_cast<std::string*>(to) += '\n';
        return 0;
      };
      char* message = nullptr;
      if (sqlite3_exec(db, sql.c_str(), row, &rows, &message) != SQLITE_OK) {
        rows = std::string("error: ") + message;
        sqlite3_free(message);
      }
      send(ends_.theirs, rows);
    }
    return sqlite3_close(db) == SQLITE_OK ? 0 : 2;
  }

  Ends ends_;
  Child child_;
};

// What the sqlite3 program answers: an oracle that shares nothing with Varve's reading of pages.
inline std::string ask_sqlite3(const os::Path& database, const std::string& command) {
  const Context ctx = Context{}.with_deadline(std::chrono::seconds(60));
  const auto result =
      os::run(ctx, {"sqlite3", "-batch", "-cmd", ".timeout 5000", database.native(), command}, {}, 512 << 20);
  if (!result) return "error: " + result.error().describe();
  if (result->exit_code != 0) return "error: " + result->err;
  return std::string(as_text(result->out));
}
inline std::string dump(const os::Path& database) {
  return ask_sqlite3(database, ".dump");
}
inline std::string integrity(const os::Path& database) {
  return ask_sqlite3(database, "PRAGMA integrity_check");
}

}  // namespace varve::engine::sqlite::testing
