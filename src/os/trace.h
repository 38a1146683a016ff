// Sees, and may fail, every call that changes the disk or a store. For tests; costs one relaxed load when
// unused.
#pragma once

#include <functional>
#include <string>

#include "base/error.h"

namespace varve::os {

// The last two are of objects in stores other than a folder (store/wrap/traced.h).
enum class Op {
  kCreate,
  kWrite,
  kTruncate,
  kSync,
  kSyncDir,
  kMkdir,
  kLink,
  kRename,
  kRemove,
  kRemoveDir,
  kPutObject,
  kRemoveObject
};
const char* op_name(Op op);

struct Call {
  Op op;
  std::string path;
  std::string other;  // link, rename: the new name
  uint64_t offset = 0, size = 0;
};

// Called before the operation; an error is returned to the caller in its place. Must be thread-safe.
using Tracer = std::function<Result<>(const Call&)>;
// Installs (or, empty, removes) the tracer of the process. Not while calls are under way.
void set_tracer(Tracer tracer);

// Used by os/file.cc, and around stores that are no folder, before each call.
Result<> trace(const Call& call);

// From $VARVE_TEST_FAULT, for tests that run the program whole: "kill@N" ends the process at the N-th traced
// call (SIGKILL), "enospc@N" fails it and all later writes, "eio@N" fails it once; "count" only counts the
// calls and says the number on standard error at the end, "count:FILE" writes it into FILE. Called once by
// main(). kUsage for other values.
Result<> install_fault_from_environment();

}  // namespace varve::os
