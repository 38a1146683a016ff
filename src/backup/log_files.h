// The log's own files, on their way into the repository and out of it: what PostgreSQL's archive_command and
// restore_command call.
#pragma once

#include <string>

#include "base/context.h"
#include "os/file.h"
#include "repo/repository.h"

namespace varve::backup {

// Each call is a process of its own, and the server waits for it. So a call does the work of those that
// follow too, and leaves what came of it in the folder pg_wal/varve. `origin` tells repository and source, as
// they are asked for: what was left for another one is not used; empty: nothing is left.
struct PushOptions {
  unsigned workers = 4;
  unsigned ahead = 64;  // files that the server has ready too, stored in the same go
  std::string origin;
};
struct PushReport {
  bool stored = false;  // false: it was there before, with the same content
  uint64_t ahead = 0;   // others stored meanwhile
};
// Durable in the repository when it returns: a segment, the last part of one, or a history. What recovery
// never reads (backup histories) is not kept. kConflict: other content stands under the name.
Result<PushReport> push_log_file(const repo::RepositoryPtr& repo, const Context& ctx,
                                 const std::string& source, const os::Path& file, const PushOptions& options);
// Whether a call before has stored this very file, unchanged since: then it is durable. Needs no repository.
bool was_pushed_ahead(const std::string& origin, const os::Path& file);

struct FetchOptions {
  os::Path data_directory;  // of the server that asks, to know which cluster it is
  unsigned workers = 4;
  unsigned ahead = 16;  // at most so many segments; the first calls of a row fetch fewer
  std::string origin;
};
// Puts the file `name` at `target`, in the server's pg_wal, whole or not at all. False: the log does not have
// it.
Result<bool> fetch_log_file(const repo::RepositoryPtr& repo, const Context& ctx, const std::string& source,
                            const std::string& name, const os::Path& target, const FetchOptions& options);
// The same of what a call before has fetched ahead: false when it has not. Needs no repository.
bool take_fetched_ahead(const std::string& name, const os::Path& target, const FetchOptions& options);

}  // namespace varve::backup
