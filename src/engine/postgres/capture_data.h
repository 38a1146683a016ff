// What a backup of a cluster knows beside its files: kept in the manifest (CaptureEnd::engine_data).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"
#include "engine/postgres/data_directory.h"

namespace varve::engine::postgres {

struct BadPage {
  std::string path;    // of the file, relative to the data directory
  uint32_t block = 0;  // of the whole fork, not of the file
  bool operator==(const BadPage&) const = default;
};
inline constexpr size_t kMostBadPages = 1000;  // listed; more are only counted

// A configuration file that lies outside of the data directory (as Debian has them).
struct ConfigurationFile {
  std::string path;  // absolute, as on the server
  std::string kind;  // "config_file", "hba_file", "ident_file", or "include"
  Buffer content;
};

struct Relation {
  uint32_t oid = 0;
  std::string schema = {}, name = {};
  char kind = 'r';  // pg_class.relkind: r table, i index, S sequence, t TOAST, m materialized view, …
  char persistence = 'p';   // p permanent, u unlogged, t temporary
  uint32_t filenode = 0;    // 0: no file of its own (partitioned tables)
  uint32_t tablespace = 0;  // 0: its database's
  uint32_t toast = 0;       // oid of its TOAST table; 0: none
  uint32_t index_of = 0;    // oid of the table whose index it is; 0: no index
  uint32_t pages = 0;       // an estimate
  uint64_t rows = 0;        // likewise
  uint32_t parent = 0;      // oid of the table it is a partition of; 0: none
};

struct Database {
  uint32_t oid = 0;
  std::string name = {};
  uint32_t tablespace = 0;
  bool listed = false;  // false: its relations could not be listed (template0, no permission)
  std::vector<Relation> relations = {};  // ascending by oid; temporary ones are left out
};

struct CaptureData {
  uint64_t system_id = 0;
  uint32_t timeline = 0, stop_timeline = 0;
  uint64_t start_lsn = 0;       // where recovery begins (the checkpoint's redo position)
  uint64_t stop_lsn = 0;        // where the state is consistent; the WAL up to here is needed
  uint64_t checkpoint_lsn = 0;  // where the checkpoint record stands
  uint32_t version = 0;         // 150018
  std::string version_text;     // "15.18"
  uint32_t control_version = 0, catalog_version = 0;
  uint32_t page_size = 0, segment_pages = 0, wal_segment_size = 0, wal_page_size = 0;
  bool checksums = false;
  bool from_standby = false;
  os::Path data_directory;
  uint32_t mode = 0, uid = 0, gid = 0;  // of the data directory
  std::vector<Tablespace> tablespaces;
  std::vector<BadPage> bad_pages;
  uint64_t bad_page_count = 0;
  std::vector<ConfigurationFile> configuration;
  std::vector<Database> databases;       // ascending by oid
  Timestamp started = {}, stopped = {};  // by the server's clock

  int major() const { return static_cast<int>(version / 10000); }
};

Buffer encode_capture_data(const CaptureData& data);
Result<CaptureData> decode_capture_data(ByteView bytes);  // kDamaged when a value is impossible

// "db.schema.table" of every table of a person's: ordinary and partitioned ones, materialized views; not the
// system's.
std::vector<std::string> user_tables(const std::vector<Database>& databases);

}  // namespace varve::engine::postgres
