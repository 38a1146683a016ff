// A SQLite source: one database file, or all that match a glob, each under its path relative to the source's
// root.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/context.h"
#include "engine/engine.h"
#include "os/file.h"

namespace varve::engine::sqlite {

// "sqlite:app.db", "sqlite:/srv/data/*.db". Relative paths are made absolute against the working folder.
struct SourceSpec {
  std::string pattern;  // absolute path or glob
  bool is_glob = false;
  os::Path root;  // the folder above the first wildcard, or the file's folder
};
Result<SourceSpec> parse_source(const std::string& address);

struct DatabaseFile {
  os::Path path;     // absolute
  std::string name;  // relative to root: the FileSpec path
};
// The databases there are now, ascending by name. With a glob, files that are not SQLite databases are left
// out and named in `skipped`; without one, a missing file is kNotFound and another kind of file kDatabase.
Result<std::vector<DatabaseFile>> find_databases(const SourceSpec& spec, std::vector<std::string>* skipped);

// What would make a backup or a follow of this source fail or surprise, each with its mend.
Result<std::vector<Problem>> probe(const Context& ctx, const SourceSpec& spec);

// kConflict when another process has the database open; a missing file, or one that is no database, is free
// to be replaced. Leaves it checkpointed: its WAL is empty afterwards.
Result<> ensure_unused(const Context& ctx, const os::Path& database);

struct CaptureOptions {
  std::chrono::milliseconds busy_timeout{30'000};  // how long to wait for locks
};
// Opens a read transaction on every database and keeps them to the end; WAL frames beyond the databases' own
// pages are read from the WAL, so that other processes keep writing. Rollback-journal databases are held
// under a shared lock.
Result<std::unique_ptr<Capture>> begin_capture(const Context& ctx, const SourceSpec& spec,
                                               const CaptureOptions& options);

// Where in a database's WAL a captured state ends; kept per database in CaptureEnd::engine_data (CaptureData,
// below).
struct WalPosition {
  uint32_t salt1 = 0, salt2 = 0;
  uint32_t frame = 0;  // the last commit's frame, 1-based; 0: nothing in the WAL yet
  // The WAL's running checksum at that frame: after a power cut a WAL can lose its end and grow again under
  // the same salts, and only this tells.
  uint32_t checksum1 = 0, checksum2 = 0;
  bool operator==(const WalPosition&) const = default;
};
struct CapturedDatabase {
  std::string name;
  bool wal_mode = false;
  WalPosition wal;  // when wal_mode
  uint32_t change_counter = 0;
  uint32_t page_size = 0;
  uint64_t pages = 0;
};
// The content of CaptureEnd::engine_data for SQLite. `txn` is set by a follower's base capture, or by whoever
// matched the state to the followed log: the state includes every commit ≤ txn.
struct CaptureData {
  std::vector<CapturedDatabase> databases;
  std::optional<uint64_t> txn;
};
Buffer encode_capture_data(const CaptureData& data);
Result<CaptureData> decode_capture_data(ByteView bytes);

}  // namespace varve::engine::sqlite
