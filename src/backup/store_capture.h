// From an open capture to a committed backup: what is alike for every engine.
#pragma once

#include <functional>
#include <string>

#include "backup/backup.h"

namespace varve::backup {

// What an engine adds.
struct CaptureHooks {
  std::string id = {};  // the backup's; empty: a new one
  // After the capture has ended, before the commit: its place in the log. What recovery needs of the log must
  // be in the repository when it returns.
  std::function<Result<>(repo::Manifest&)> before_commit = {};
};

// Chooses the parent, stores every page and commits. kConflict when a collection took packs meanwhile: begin
// anew.
Result<repo::Manifest> store_capture(const repo::RepositoryPtr& repo, const Context& ctx,
                                     const Source& source, engine::Capture& capture,
                                     const BackupOptions& options, const CaptureHooks& hooks,
                                     Progress& progress);

// Opens a capture and stores it, again when a collection was in the way.
using OpenCapture = std::function<Result<std::unique_ptr<engine::Capture>>()>;
using MakeHooks = std::function<CaptureHooks(engine::Capture&)>;
Result<repo::Manifest> store_captures(const repo::RepositoryPtr& repo, const Context& ctx,
                                      const Source& source, const BackupOptions& options,
                                      const OpenCapture& open, const MakeHooks& hooks, Progress& progress);

}  // namespace varve::backup
