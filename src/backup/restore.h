// Bringing it back.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "backup/log_state.h"
#include "backup/point.h"
#include "base/progress.h"

namespace varve::backup {

struct RestoreOptions {
  // SQLite: one database: a file (or an existing folder to put it in); several: a folder. PostgreSQL: the
  // data directory.
  std::string target;
  Point point;
  std::optional<std::string> backup;
  bool force = false;  // replace an existing file; it is kept beside as "<name>.before-restore-<time>"
  std::vector<std::string> databases;  // of a source with several: only these
  unsigned workers = 0;

  // --- PostgreSQL ---
  bool delta = false;  // into a directory that holds this cluster: only what differs is written
  std::map<std::string, std::string> tablespaces;  // where each goes: old place → new place
  // The words of a program that brings the log's files: `varve log fetch … SOURCE`, to which the server's
  // names are added.
  std::vector<std::string> fetch_command;
  bool server_can_fetch = true;    // false: the key is only in our hands
  bool standby = false;            // goes on recovering for ever
  std::string action = "promote";  // when the point is reached: promote, pause or shutdown
  bool start = false;              // start it, and wait until the point is reached
  uint32_t port = 0;               // for start; 0: as its configuration says
};

// What a restore would use.
struct RestorePreview {
  repo::Manifest base;
  Timestamp moment = {};  // of the state that would be restored
  std::string position;   // "txn:42", or the backup's stop position
  uint64_t pieces = 0, log_bytes = 0;
};
// kNotFound: no such source or backup. kIncomplete: the point cannot be recovered, and the hint names the
// nearest moments that can. `backup`: use this one as the base (then `end` is its own state).
Result<RestorePreview> preview_restore(repo::RepositoryPtr repo, const Context& ctx,
                                       const std::string& source, const Point& point,
                                       const std::optional<std::string>& backup);

struct RestoreReport {
  std::string source, backup, target, point;  // point: the position restored, "txn:42"
  Timestamp moment = {};
  uint64_t files = 0, bytes = 0, fetched = 0;
  uint64_t commits = 0;  // replayed from the log
  double seconds = 0;
  std::vector<std::string> kept;  // what was moved aside
  std::vector<std::string> notes;
};

// The target appears whole, under its name, or not at all. kConflict: it exists (without force), or is open
// in another process. kDamaged: a needed object is damaged or missing; nothing is left behind. Every page is
// authenticated, and the restored database's header and size are checked before it gets its name.
Result<RestoreReport> run_restore(repo::RepositoryPtr repo, const Context& ctx, const std::string& source,
                                  const RestoreOptions& options, Progress& progress);

// Whether one database of the source is restored as TableOptions::database, not as RestoreOptions::databases.
Result<bool> extracts_databases(repo::RepositoryPtr repo, const Context& ctx, const std::string& source);

// A part of a source: tables or, of a cluster, one whole database.
struct TableOptions {
  std::vector<std::string> tables;  // "orders", or "app.db:orders" where a source has several databases
  std::string target;               // a new file, or …
  std::string into;                 // … a live database
  std::string as;
  Point point;
  std::optional<std::string> backup;

  // --- PostgreSQL ---
  std::string database;         // instead of tables
  std::string into_connection;  // a live database, as libpq names it; for a database: a live server
  std::string scratch;          // the folder for the server that replays the log; empty: $TMPDIR
};
// What it would cost.
struct TablePreview {
  struct Table {
    std::string name;
    std::optional<uint64_t> rows;  // the server's estimate at the backup; nullopt: it had none
    uint64_t bytes = 0;            // at the backup, with what belongs to it; 0: not known to it
  };
  RestorePreview restore;
  std::vector<Table> tables;   // or the database
  uint64_t replay_bytes = 0;   // of the log, as the server reads it
  uint64_t scratch_bytes = 0;  // of disk, meanwhile
};
Result<TablePreview> preview_tables(repo::RepositoryPtr repo, const Context& ctx, const std::string& source,
                                    const TableOptions& options);

struct TableReport {
  struct Table {
    std::string name;
    uint64_t rows;
  };
  std::vector<Table> tables;
  std::string database;  // when it was asked for, not tables
  std::string source, backup, target, point;
  Timestamp moment = {};
  uint64_t fetched = 0;
  double seconds = 0;
  std::vector<std::string> notes;
};
// `target` and what is added to a live database appear whole or not at all; nothing is ever replaced.
Result<TableReport> restore_tables(repo::RepositoryPtr repo, const Context& ctx, const std::string& source,
                                   const TableOptions& options, Progress& progress);

}  // namespace varve::backup
