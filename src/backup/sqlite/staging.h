// A file being made under a hidden name beside its place, that appears whole or not at all.
#pragma once

#include <string>
#include <vector>

#include "os/file.h"

namespace varve::backup::sqlite {

class StagedFile {
 public:
  // Makes ".<name>.varve-restore-<random>" in the target's folder. Leftovers of ended restores of this target
  // go first.
  static Result<StagedFile> create(const os::Path& target);
  StagedFile(StagedFile&&) noexcept = default;
  StagedFile& operator=(StagedFile&&) noexcept = default;
  ~StagedFile();  // removes what was not published

  os::File& file() { return file_; }
  const os::Path& path() const { return file_.path(); }
  const os::Path& target() const { return target_; }
  // Syncs, and gives the file its name. replace: an existing target and its companions ("-wal", "-shm",
  // "-journal") are moved aside first, never lost; the new names are appended to `kept`. Without it kConflict
  // when the target exists.
  Result<> publish(bool replace, std::vector<std::string>* kept);

 private:
  StagedFile(os::File file, os::Path target) : file_(std::move(file)), target_(std::move(target)) {}
  os::File file_;
  os::Path target_;
  bool published_ = false;
};

Error target_exists(const os::Path& target);

}  // namespace varve::backup::sqlite
