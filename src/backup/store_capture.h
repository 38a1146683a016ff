// From an open capture to a committed backup: what is alike for every engine.
#pragma once

#include <functional>
#include <string>

#include "backup/backup.h"

namespace varve::backup {

// What the engine's log tells of the pages since the parent was taken. Thread-safe.
class ChangedPages {
 public:
  virtual ~ChangedPages() = default;
  virtual std::string from() const = 0;  // how it knows, for the manifest: "wal"
  // False: all of the file is read.
  virtual bool knows(const engine::FileSpec& file) const = 0;
  // Of a file that it knows and a page that the parent has.
  virtual bool changed(const engine::FileSpec& file, uint64_t page) const = 0;
  // Whether a page called unchanged differs from the parent's in a way that the log must have told of.
  virtual bool contradicts(ByteView parent, ByteView now) const = 0;
};

// What an engine adds.
struct CaptureHooks {
  std::string id = {};  // the backup's; empty: a new one
  // Once the parent is chosen. Null: everything is read and compared; `why` says the reason, for the
  // manifest.
  std::function<Result<std::unique_ptr<ChangedPages>>(const repo::Manifest& parent, std::string& why)>
      changes = {};
  // Without `changes`: why everything is compared, for the manifest.
  std::string compared = {};
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
