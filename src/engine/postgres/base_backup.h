// PostgreSQL's BASE_BACKUP: the server sends the files of a cluster, one tar archive for each tablespace and,
// as the last one, that of the data directory. Servers from 15 on send all archives in one copy of typed
// messages, older ones a copy for each. Source: PostgreSQL's documentation, "Streaming Replication Protocol",
// and src/backend/backup/basebackup.c (versions 13 to 18).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/postgres/connection.h"
#include "engine/postgres/data_directory.h"
#include "engine/postgres/lsn.h"
#include "engine/postgres/tar.h"

namespace varve::engine::postgres {

struct BaseBackupOptions {
  std::string label;
  bool fast_checkpoint = true;
  uint64_t read_rate = 0;  // bytes a second that the server sends at most; 0: no limit
};

// The command for a server of that version. Neither WAL nor a manifest is asked for, the server verifies no
// checksums (a wrong one would fail the whole backup), and does not wait for its archive.
std::string base_backup_command(int major_version, const BaseBackupOptions& options);

struct BaseBackupHead {
  Lsn start = 0;
  Timeline timeline = 0;
  std::vector<Tablespace> tablespaces;  // ascending by oid
  uint64_t bytes = 0;                   // about what will be sent
};

struct BaseBackupEnd {
  Lsn stop = 0;
  Timeline timeline = 0;
};

// Not thread-safe. Destroying it before finish() ends the session, and the server the backup.
class BaseBackup {
 public:
  // Waits for the checkpoint. `session`: of the replication protocol; open still after finish(). The context
  // is kept, and ends every wait.
  static Result<std::unique_ptr<BaseBackup>> start(const Context& ctx, std::unique_ptr<Connection> session,
                                                   const BaseBackupOptions& options);

  const BaseBackupHead& head() const { return head_; }
  // Its path is relative to the data directory; a tablespace's begins with "pg_tblspc/<oid>/". nullopt: all
  // archives have come, whole.
  Result<std::optional<TarEntry>> next();
  // The next bytes of the file that next() gave last.
  Result<> read(MutableBytes out);
  // After the last file. Only then the server has said that there is a backup.
  Result<BaseBackupEnd> finish();
  std::unique_ptr<Connection> take_connection() && { return std::move(session_); }

 private:
  BaseBackup(const Context& ctx, std::unique_ptr<Connection> session)
      : ctx_(ctx), session_(std::move(session)), typed_(session_->major() >= 15) {}
  Result<> read_head();
  Result<bool> next_archive();  // false: that was the last
  Result<bool> more(Buffer& bytes);
  Result<Connection::Received> receive(Buffer& message);
  tl::unexpected<Error> cut(Error error);

  const Context ctx_;
  std::unique_ptr<Connection> session_;
  const bool typed_;
  BaseBackupHead head_;
  std::vector<std::string> archives_;      // as they must come: an oid, or "" for the data directory
  size_t begun_ = 0;                       // of them
  std::optional<std::string> next_begun_;  // an archive's name that ended the one before
  bool in_copy_ = false, copies_over_ = false;
  std::optional<TarReader> archive_;
  Buffer message_;
};

}  // namespace varve::engine::postgres
