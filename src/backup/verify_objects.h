// The repository's small objects: varve.json, keys, pins, leases, events, holds, records of collections. Part
// of verify.
#pragma once

#include "backup/verify_findings.h"

namespace varve::backup {

struct SmallObject {
  std::string key, kind;  // as it was sealed
  uint64_t size = 0;
};
// nullopt: it is no small sealed object by its name.
std::optional<std::string> kind_of(std::string_view key);

// `all`: every small object there is, to tell which two were exchanged. One that goes meanwhile is passed
// over.
Result<> check_small_objects(const repo::Repository& repo, const Context& ctx, unsigned workers,
                             const std::vector<SmallObject>& objects, Findings& findings);

// What every backup depends on. The problems that keep the repository from being opened again.
Result<std::set<Findings::Id>> check_way_in(const repo::Repository& repo, const Context& ctx,
                                            Findings& findings);

}  // namespace varve::backup
