// Whether a store keeps its word about create-only puts: some accept the condition and ignore it.
#pragma once

#include "store/store.h"

namespace varve::repo {

inline constexpr std::string_view kProbePrefix = "probe/";

// Races pairs of puts for names under probe/, and puts once more where one is; removes them again (what
// cannot be removed is left, with a warning). False: not honoured.
Result<bool> probe_create_only(const Context& ctx, store::Store& store);

}  // namespace varve::repo
