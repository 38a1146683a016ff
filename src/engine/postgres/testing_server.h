// For tests: a real PostgreSQL server in a temporary folder, reached by its socket only, and the database's
// own programs as the witness. Run as root, everything of it belongs to the user postgres.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "base/context.h"
#include "base/text.h"
#include "engine/postgres/server.h"
#include "os/file.h"
#include "os/process.h"

namespace varve::engine::postgres::testing {

inline Context patience(int seconds = 240) {
  return Context{}.with_deadline(std::chrono::seconds(seconds));
}

// 15, or what $VARVE_TEST_POSTGRES says (its programs in $PGBIN, where they lie elsewhere).
inline int major_version() {
  const char* given = ::getenv("VARVE_TEST_POSTGRES");
  return given ? std::atoi(given) : 15;
}

// As the user postgres where we are root.
inline std::vector<std::string> as_postgres(std::vector<std::string> argv) {
  if (::geteuid() != 0) return argv;
  std::vector<std::string> out = {"setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"};
  out.insert(out.end(), argv.begin(), argv.end());
  return out;
}

inline std::string run(const std::vector<std::string>& argv, std::string_view input = {}) {
  const auto result = os::run(patience(), argv, as_bytes(input), 256u << 20);
  if (!result) return "error: " + result.error().describe();
  if (result->exit_code != 0) return "error: " + argv[0] + ": " + result->err;
  return std::string(as_text(result->out));
}

inline void give_to_postgres(const os::Path& path) {
  if (::geteuid() != 0) return;
  const passwd* user = ::getpwnam("postgres");
  ASSERT_NE(user, nullptr) << "PostgreSQL is not installed: ./test.sh installs it";
  ASSERT_EQ(::lchown(path.c_str(), user->pw_uid, user->pw_gid), 0);
}

struct TakeOver {};

class Server {
 public:
  // `initdb`: more arguments for it. `settings`: for the server. Fails the test when it does not start.
  explicit Server(std::vector<std::string> initdb = {"--data-checksums"},
                  std::map<std::string, std::string> settings = {})
      : settings_(std::move(settings)) {
    auto dir = os::TempDir::create("varve-pg");
    if (!dir) {
      ADD_FAILURE() << dir.error().describe();
      return;
    }
    dir_.emplace(std::move(*dir));
    give_to_postgres(dir_->path());
    const auto binaries = find_binaries(patience(), major_version());
    if (!binaries) {
      ADD_FAILURE() << binaries.error().describe() << "; " << binaries.error().hint;
      return;
    }
    binaries_ = *binaries;
    std::vector<std::string> argv = {(binaries_.folder / "initdb").native(),
                                     "-D",
                                     data().native(),
                                     "-U",
                                     "postgres",
                                     "-A",
                                     "trust",
                                     "--no-sync",
                                     "--locale=C.UTF-8",
                                     "-E",
                                     "UTF8"};
    argv.insert(argv.end(), initdb.begin(), initdb.end());
    if (const std::string said = run(as_postgres(argv)); said.starts_with("error:")) {
      ADD_FAILURE() << said;
      return;
    }
    start();
  }
  // Takes over a restored data directory below `folder`, and starts nothing.
  Server(TakeOver, os::TempDir folder, Binaries binaries) : binaries_(std::move(binaries)) {
    dir_.emplace(std::move(folder));
    give_to_postgres(dir_->path());
  }
  ~Server() { stop(); }

  os::Path folder() const { return dir_->path(); }
  os::Path data() const { return dir_->path() / "data"; }
  const Binaries& binaries() const { return binaries_; }
  ClusterSpec spec() const { return running_->spec(); }
  const std::optional<RunningServer>& running() const { return running_; }

  // Starts, and waits until it serves or rests at its recovery target.
  RecoveryEnd start(bool isolated = false) {
    ServerOptions options;
    options.socket_folder = dir_->path();
    options.isolated = isolated;
    options.settings = settings_;
    options.settings["fsync"] = "off";
    auto running = start_server(patience(), data(), binaries_, options);
    EXPECT_TRUE(running) << running.error().describe();
    if (!running) return RecoveryEnd::kShutDown;
    running_ = *running;
    const auto end = wait_until_recovered(patience(), *running_);
    EXPECT_TRUE(end) << end.error().describe();
    return end ? *end : RecoveryEnd::kShutDown;
  }
  void stop() {
    if (!running_) return;
    const auto stopped = stop_server(patience(), *running_);
    EXPECT_TRUE(stopped) << stopped.error().describe();
    running_.reset();
  }

  // What psql prints: rows as "a|b" lines.
  std::string ask(const std::string& sql, const std::string& database = "postgres") const {
    return run({"psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", folder().native(), "-p", "5432", "-U",
                "postgres", "-d", database, "-f", "-"},
               sql);
  }
  void exec(const std::string& sql, const std::string& database = "postgres") const {
    const std::string answer = ask(sql, database);
    EXPECT_FALSE(answer.starts_with("error:")) << answer << " in: " << sql;
  }
  // pg_dumpall's, without the lines that hold a random word ("\\restrict …").
  std::string dump() const {
    std::string out;
    const std::string all = run({"pg_dumpall", "-h", folder().native(), "-p", "5432", "-U", "postgres"});
    for (const std::string_view line : split(all, '\n')) {
      if (line.starts_with("\\restrict ") || line.starts_with("\\unrestrict ")) continue;
      out += line;
      out += '\n';
    }
    return out;
  }

 private:
  std::optional<os::TempDir> dir_;
  std::map<std::string, std::string> settings_;
  Binaries binaries_;
  std::optional<RunningServer> running_;
};

}  // namespace varve::engine::postgres::testing
