// The data directory that a cluster is restored into: what may stand there before, and what protects a
// half-made one from being started.
//
// While a restore is under way the directory holds kMarker and no global/pg_control, without which no server
// starts. pg_control comes last, when everything else is on disk; then the marker goes.
#pragma once

#include <string>

#include "base/context.h"
#include "os/file.h"

namespace varve::backup::postgres {

inline constexpr std::string_view kMarker = "varve-restore.unfinished";

class TargetDirectory {
 public:
  // Absent or empty: made, and ours. With `delta` also a cluster with the system identifier `system_id`, or
  // what an interrupted restore of it left. kConflict for anything else, and while a server may be running in
  // it.
  static Result<TargetDirectory> prepare(const Context& ctx, const os::Path& path, uint64_t system_id,
                                         bool delta);

  const os::Path& path() const { return path_; }
  bool had_files() const { return had_files_; }
  // From here on no server can start in it, until finish().
  Result<> begin(uint64_t system_id) const;
  // Everything is on disk, then pg_control, then the marker goes.
  Result<> finish(ByteView control_file, uint32_t mode) const;

 private:
  explicit TargetDirectory(os::Path path) : path_(std::move(path)) {}
  os::Path path_;
  bool had_files_ = false;
};

}  // namespace varve::backup::postgres
