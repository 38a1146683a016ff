// Copies WALs back into their databases, one at a time: SQLite before 3.51.3 can damage a database when
// checkpoints and restarts of a WAL meet in an unlucky moment, and a single checkpointer keeps our share of
// such moments small.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "engine/sqlite/reader.h"

namespace varve::engine::sqlite {

// Checkpoints are PASSIVE: they wait for nobody and make nobody wait for the write lock. Failures are only
// logged: the next request tries again, and the WAL keeps what was not copied. Thread-safe.
class Checkpointer {
 public:
  Checkpointer();
  ~Checkpointer();  // waits for the one under way, after asking SQLite to give it up

  // Returns at once. Asking for what is already asked for does nothing.
  void request(const os::Path& database);
  void forget_all();  // closes its connections

 private:
  void run(const std::stop_token& stop);
  void checkpoint(const os::Path& database);

  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::set<os::Path> wanted_;
  bool forget_ = false;
  std::map<os::Path, std::unique_ptr<Reader>> readers_;  // of the thread alone
  std::stop_source stop_;
  std::thread thread_;
};

}  // namespace varve::engine::sqlite
