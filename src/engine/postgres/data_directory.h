// What lies in a cluster's data directory, and which of it belongs in a backup. The rules are those of
// PostgreSQL's own src/backend/backup/basebackup.c (versions 13 to 18), with differences that are named at
// walk().
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "engine/engine.h"
#include "engine/postgres/control_file.h"
#include "engine/postgres/rel_file.h"
#include "os/file.h"

namespace varve::engine::postgres {

inline constexpr uint32_t kDefaultTablespace = 1663, kGlobalTablespace = 1664;

// One file of a relation. "base/5/16384_vm.2": tablespace 1663, database 5, file node 16384, kVisibility,
// segment 2.
struct RelationFile {
  uint32_t tablespace = 0;
  uint32_t database = 0;  // 0: shared by all (global/)
  uint32_t filenode = 0;
  Fork fork = Fork::kMain;
  uint32_t segment = 0;
  bool operator==(const RelationFile&) const = default;
};
// From a path relative to the data directory; nullopt for what is no (permanent) relation's file.
std::optional<RelationFile> relation_file(std::string_view path);
// "t3_16384", "t3_16384_vm.1": a temporary relation's file (the name alone).
bool is_temporary_relation(std::string_view name);

struct Tablespace {
  uint32_t oid = 0;
  std::string location;   // where the link points; "" when in_place
  bool in_place = false;  // a folder of the data directory (allow_in_place_tablespaces)
};

// A small file whose content was read when it was listed: it may be replaced or change its size at any
// moment, and only whole is it of use.
struct ReadFile {
  std::string path;
  Buffer content;
};

struct DataDirectory {
  std::vector<FileSpec> files;          // ascending by path; folders and tablespaces' links too
  std::vector<ReadFile> read;           // ascending by path; regular files of `files`
  std::vector<Tablespace> tablespaces;  // ascending by oid
  std::vector<std::string> warnings;
  uint32_t mode = 0, uid = 0, gid = 0;  // of the data directory itself
};

// Lists everything a backup needs but what the end of the backup makes (pg_control, backup_label,
// tablespace_map). Left out: the contents of pg_wal (its folders are kept), of pg_replslot, pg_dynshmem,
// pg_notify, pg_serial, pg_snapshots, pg_stat_tmp and pg_subtrans; temporary files and relations; the
// relation cache; what belongs to the running server (postmaster.pid, …), to an earlier backup
// (backup_label…, backup_manifest) or to a standby's role (standby.signal, recovery.signal); of unlogged
// relations all but the init fork; of a tablespace all but the folder of this version.
//
// Differences to basebackup.c: a relation file's size is cut to whole pages (PostgreSQL ignores what is
// beyond); a link to a folder or file somewhere else, which it would skip, is followed, with a warning.
//
// A folder or file that vanishes meanwhile is left out. `control`: of this cluster, for page sizes. kDenied
// with a hint when something may not be read; kUnsupported for what a backup cannot express.
Result<DataDirectory> walk(const Context& ctx, const os::Path& data_directory, const ControlFile& control,
                           int major_version);

// What walk() leaves out by its name (not what it leaves out for an init fork beside it), and pg_control.
bool is_left_out(std::string_view path);

// What may vanish between walk() and reading, because the log makes it anew or no one needs it.
bool may_vanish(std::string_view path);
// What is zero-filled when it has become shorter: everything that the log repairs.
bool may_shrink(std::string_view path);

// "PG_15_202209061": the folder of a version in a tablespace.
std::string tablespace_version_folder(int major_version, uint32_t catalog_version);

}  // namespace varve::engine::postgres
