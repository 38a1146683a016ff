// The server's part of a backup: the session that is held open from pg_backup_start to pg_backup_stop, and
// the temporary replication slot that keeps the WAL until it has been copied.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/time.h"
#include "engine/postgres/connection.h"

namespace varve::engine::postgres {

// What a server says about itself.
struct ServerIdentity {
  uint64_t system_id = 0;
  bool in_recovery = false;  // a standby
  os::Path data_directory;   // as the server sees it; empty: the role may not know
  uint32_t port = 0;
  int64_t started = 0;  // seconds since the Unix epoch
  std::string wal_level;
  bool full_page_writes = false;
  std::string pid_file;  // its postmaster.pid; empty: the role may not read it
};
Result<ServerIdentity> identify(const Context& ctx, Connection& session);

// Whether `data_directory` is that of the server: by the system identifier in pg_control and by
// postmaster.pid, for a standby on the same host has the same identifier. kUsage when it is not.
Result<> check_data_directory(const Context& ctx, const os::Path& data_directory,
                              const ServerIdentity& server);

struct BackupStop {
  uint64_t lsn = 0;
  std::string label;           // the content of backup_label, byte for byte
  std::string tablespace_map;  // the content of tablespace_map; empty: no such file
  Timestamp moment = {};       // of the server's clock, after the stop: every commit before it is in
};

// Not thread-safe. Destroying it ends the session: the server leaves backup mode and drops the slot by
// itself.
class BackupSession {
 public:
  // Makes the slot, then starts the backup: waits for a checkpoint. The label must be one line. `warnings`
  // says why there is no slot, when there is none.
  static Result<std::unique_ptr<BackupSession>> start(const Context& ctx, std::unique_ptr<Connection> session,
                                                      const std::string& label, bool fast_checkpoint,
                                                      std::vector<std::string>& warnings);
  uint64_t start_lsn() const { return start_lsn_; }
  Timestamp started() const { return started_; }
  bool is_open() const { return session_ && session_->is_open(); }
  // Once. The slot stays.
  Result<BackupStop> stop(const Context& ctx);
  // Whether the WAL from start_lsn() on is kept by the slot still; false without one.
  Result<bool> keeps_wal(const Context& ctx);
  void close() { session_.reset(); }

 private:
  explicit BackupSession(std::unique_ptr<Connection> session) : session_(std::move(session)) {}
  Result<> make_slot(const Context& ctx, std::vector<std::string>& warnings);

  std::unique_ptr<Connection> session_;
  std::string slot_;
  uint64_t start_lsn_ = 0;
  Timestamp started_ = {};
};

// For a slot that keeps a backup's WAL at the server until it was copied; and what to say when there is none.
std::string temporary_slot_name();
std::string no_slot_warning(const Error& why);

// What backup_label says.
struct BackupLabel {
  uint64_t start_lsn = 0, checkpoint_lsn = 0;
  uint32_t timeline = 0;
  bool from_standby = false;
};
Result<BackupLabel> parse_backup_label(std::string_view text);  // kDamaged when a line is missing

}  // namespace varve::engine::postgres
