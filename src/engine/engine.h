// What Varve asks of a kind of database. An engine knows files, pages and the database's own log; it knows
// nothing of repositories. src/backup joins the two.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/context.h"
#include "base/time.h"

namespace varve::engine {

enum class FileType : uint8_t { kRegular = 0, kDirectory = 1, kSymlink = 2 };

// One file of a consistent capture. `path` is relative to the source's root, '/'-separated, without "." or
// "..".
struct FileSpec {
  std::string path;
  FileType type = FileType::kRegular;
  uint64_t size = 0;
  uint32_t page_size = 0;  // the unit in which it changes; the last page may be short
  uint32_t mode = 0;       // permission bits
  uint32_t uid = 0, gid = 0;
  int64_t mtime_us = 0;
  std::string link_target;
};

struct CaptureInfo {
  std::string engine;            // "sqlite"
  std::string database_version;  // "3.40.1"
  std::string lineage;           // identity of the continuous history this belongs to; may be empty
  std::string start_position;    // the engine's place in its log, as text ("txn:42", "wal:…")
  Timestamp moment = {};         // the moment whose state this is, unless CaptureEnd knows better
};

// A file that exists only once everything else was read (PostgreSQL's pg_control and backup_label). Its path
// is none of those that files() listed; content.size() == spec.size.
struct LateFile {
  FileSpec spec;
  Buffer content;
};

// What only the end of a capture knows.
struct CaptureEnd {
  std::string stop_position;
  // The moment whose state the capture is, where only its end decides that; takes the place of
  // CaptureInfo::moment.
  std::optional<Timestamp> moment;
  std::vector<LateFile> late_files;   // ascending by path; written to the backup like every other file
  Buffer engine_data;                 // opaque to everyone else; kept in the manifest
  std::vector<std::string> tables;    // catalogue: "main.orders" or "app.db:orders"
  std::vector<std::string> warnings;  // for people
};

// Reads one file of a capture. Thread-safe: ranges may be read side by side.
class FileReader {
 public:
  virtual ~FileReader() = default;
  // Fills out with the bytes at offset, exactly; kDatabase/kIo on failure.
  virtual Result<> read(uint64_t offset, MutableBytes out) = 0;
};

// Files that come one after another, in an order that is not ours, and can be read once. Not thread-safe.
class FileStream {
 public:
  virtual ~FileStream() = default;
  // What will come, about: bytes. 0: not known.
  virtual uint64_t expected() const = 0;
  // The next file; what is left of the one before is passed over. nullopt: that was the last.
  virtual Result<std::optional<FileSpec>> next() = 0;
  // Fills `out` with the next bytes of a regular file.
  virtual Result<> read(MutableBytes out) = 0;
};

// One consistent state of a source, readable until destroyed. Destroying it before finish() abandons it.
class Capture {
 public:
  virtual ~Capture() = default;
  virtual const CaptureInfo& info() const = 0;
  // Where the source sends its files instead of letting them be read: then this takes the place of files()
  // and open(). Null: it does not.
  virtual FileStream* stream() { return nullptr; }
  // Every file, ascending by path (bytewise). Called once, before open().
  virtual Result<std::vector<FileSpec>> files(const Context& ctx) = 0;
  // Null when the file vanished since files() listed it and the engine knows that its log repairs that: the
  // caller leaves such a file out. Any other missing file is an error.
  virtual Result<std::unique_ptr<FileReader>> open(const FileSpec& file) = 0;
  // True when the engine knows from its log that nothing in `file` changed since the parent's position.
  // Engines without such knowledge leave the comparing of contents to the caller. After the last read.
  // Everything read is then known to be one state, or it fails.
  virtual Result<CaptureEnd> finish(const Context& ctx) = 0;
};

// One thing that happened to the database, as a person asks about it (`varve history`).
struct Event {
  Timestamp time = {};
  std::string position;  // "txn:42"
  std::string xid;       // transaction id where the engine has one apart from the position
  std::string kind;  // insert update delete truncate drop_table create_table alter_table vacuum restore_point
                     // commit …
  std::string table;  // with the database's file name before it where a source has several: "app.db:orders"
  std::optional<uint64_t> rows;
};

// One finding of `varve check` or of probing.
struct Problem {
  enum class Severity { kNote, kWarning, kError } severity = Severity::kError;
  std::string what;
  std::string mend;
};

}  // namespace varve::engine
