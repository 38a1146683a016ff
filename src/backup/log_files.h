// The log's own files, on their way into the repository and out of it: what PostgreSQL's archive_command and
// restore_command call.
#pragma once

#include <string>

#include "base/context.h"
#include "os/file.h"
#include "repo/repository.h"

namespace varve::backup {

struct PushOptions {
  unsigned workers = 4;
  unsigned ahead = 16;  // files that the server has ready too, stored in the same go
};
struct PushReport {
  bool stored = false;  // false: it was there before, with the same content
  uint64_t ahead = 0;   // others stored meanwhile
};
// Durable in the repository when it returns: a segment, the last part of one, or a history. What recovery
// never reads (backup histories) is not kept. kConflict: other content stands under the name.
Result<PushReport> push_log_file(const repo::RepositoryPtr& repo, const Context& ctx,
                                 const std::string& source, const os::Path& file, const PushOptions& options);

// Puts the file `name` at `target`, whole or not at all. False: the log does not have it. `data_directory`:
// of the server that asks, to know which cluster it is.
Result<bool> fetch_log_file(const repo::RepositoryPtr& repo, const Context& ctx, const std::string& source,
                            const std::string& name, const os::Path& target, const os::Path& data_directory);

}  // namespace varve::backup
