// Whether a store keeps its word about create-only puts: some accept the condition and ignore it.
#pragma once

#include "store/store.h"

namespace varve::repo {

inline constexpr std::string_view kProbePrefix = "probe/";

// Races pairs of puts for names under probe/, and puts once more where one is; removes them again (what
// cannot be removed is left, with a warning). False: not honoured.
Result<bool> probe_create_only(const Context& ctx, store::Store& store);

// One thing that a store must let us do, and how the try went.
struct Ability {
  const char* what;  // "put", "get", "list", "remove", "lock": as people are told
  Result<> tried;
};
// Tries each by itself, on a name under probe/. `lock`: also whether varve.json, which is to be locked
// anyway, can be locked until then.
std::vector<Ability> probe_abilities(const Context& ctx, store::Store& store, std::optional<Timestamp> lock);

}  // namespace varve::repo
