// Two stores' listings side by side. Part of copy.
#pragma once

#include <functional>

#include "store/store.h"

namespace varve::backup {

// Calls back for each key below the prefix that either has, ascending; the one that lacks it is null. Memory
// is bounded by a page of each listing. `to` may be null: then nothing is there. An error of the callback
// ends it.
using PairCallback = std::function<Result<>(const store::ObjectInfo* from, const store::ObjectInfo* to)>;
Result<> for_each_pair(const Context& ctx, store::Store& from, store::Store* to, const std::string& prefix,
                       const PairCallback& callback);

}  // namespace varve::backup
