// Key files and the recovery kit, handed to a person.
#pragma once

#include <string>

#include "cli/session.h"

namespace varve::cli {

// `path` is there afterwards: made anew (0600) with `generate`. kUsage when it is not there without, kExists
// when it is there with it.
Result<> prepare_key_file(const Session& session, const std::string& path, bool generate);

// The recovery kit to a new file (0600), or, where none is named, to standard output (with --json or --quiet
// nowhere). The page holds no secret.
Result<> write_kit(const Session& session, const repo::Repository& repo, const std::string& file);

}  // namespace varve::cli
