// Shows every change of a store to os/trace.h, as os/file.cc does of a folder: what tests end, count and
// fail.
#pragma once

#include "store/store.h"

namespace varve::store {

StorePtr with_trace(StorePtr inner);

}  // namespace varve::store
