// The files of a cluster's backup, brought into a target directory.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "backup/page_writer.h"
#include "backup/postgres/target_directory.h"
#include "engine/postgres/capture_data.h"
#include "repo/file_table.h"

namespace varve::backup::postgres {

// Where each tablespace goes: its place in the backup → its new place.
using TablespaceMap = std::map<std::string, std::string>;

struct FilesRestored {
  uint64_t files = 0, bytes = 0;  // of the cluster
  uint64_t kept = 0;              // bytes that were there already (delta)
  Buffer control_file;            // not written: TargetDirectory::finish() does
  uint32_t control_mode = 0600;
  std::vector<std::string> notes;
};

struct FilesOptions {
  TablespaceMap tablespaces;
  bool delta =
      false;  // what is there already is compared, by content, and files that the backup lacks are removed
  // Only these get their content; every other file is as long, and sparse. Empty: all.
  std::function<bool(const std::string& path)> wanted = {};
  struct Owner {
    uint32_t uid = 0, gid = 0;
  };
  std::optional<Owner> owner = {};  // of everything; else, as root, who owned it at the backup
};

// Folders, links and files but for global/pg_control; modes and (as root) owners. kConflict when the place of
// a tablespace is not free. The directory must have been begun.
Result<FilesRestored> restore_files(const repo::Repository& repo, const Context& ctx,
                                    const TargetDirectory& target, repo::SlotReader& slots,
                                    const repo::Manifest& manifest, const engine::postgres::CaptureData& data,
                                    const FilesOptions& options, Progress& progress);

}  // namespace varve::backup::postgres
