// A connection to a live database that holds read transactions on it, and the raw file beside it. It never
// writes: not by statements, and not by checkpointing a WAL when it closes.
#pragma once

#include <optional>

#include "base/context.h"
#include "engine/sqlite/connection.h"
#include "engine/sqlite/shared_file.h"
#include "engine/sqlite/wal.h"

namespace varve::engine::sqlite {

// One thread at a time, but for file().
class Reader {
 public:
  // `path`: without symbolic links (the WAL stands beside the real file). Waits for locks for at most
  // `patience`, and no longer than the context allows.
  static Result<std::unique_ptr<Reader>> open(const Context& ctx, const os::Path& path,
                                              std::chrono::milliseconds patience);
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader();

  // Begins a read transaction that sees the latest commit, and takes its locks at once. kConflict when
  // another holds the database (the hint names it, where the system tells), kDatabase when it is none,
  // kDenied when the user may not.
  Result<> begin();
  void end();
  // When the transaction began: it sees every commit made before, and none made noticeably later, however
  // long the locks had to be waited for.
  Timestamp begun_at() const { return begun_at_; }
  // How long begin() waits from now on.
  void set_patience(std::chrono::milliseconds most) { patience_ = most; }

  // Within a read transaction: what the WAL's index says now; kConflict when it stays half written for
  // `patience`. kDenied when this user cannot share it.
  Result<WalIndex> wal_index(std::chrono::milliseconds patience);

  const SharedFile& file() const { return file_; }
  const os::Path& path() const { return path_; }
  Connection& connection() { return connection_; }

 private:
  Reader(SharedFile file, Connection connection, os::Path path, Context ctx,
         std::chrono::milliseconds patience);
  Result<> prepare();
  Result<> begin_once();
  Error explain(Error error) const;

  SharedFile file_;  // first: closed last
  Connection connection_;
  std::optional<Statement> begin_, touch_, end_;
  os::Path path_;
  Context ctx_;
  std::chrono::milliseconds patience_;
  Timestamp begun_at_ = {};
};

// What the lock on a database file's bytes says: "process 4711 (app)", or nothing.
std::optional<std::string> lock_holder(const SharedFile& file);

}  // namespace varve::engine::sqlite
