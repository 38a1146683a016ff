// The keys below a folder in the order of keys, which is not the order of a walk through folders.
#pragma once

#include "os/file.h"
#include "store/store.h"

namespace varve::store {

// A page of the objects below root whose keys begin with prefix and come after token. Memory is bounded by
// `most`, not by the folders. Names that are no keys are not objects; a symbolic link with a key's name is
// kDenied.
Result<ListPage> list_folder(const Context& ctx, const os::Path& root, const std::string& prefix,
                             const std::string& token, size_t most);

}  // namespace varve::store
