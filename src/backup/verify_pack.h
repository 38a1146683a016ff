// One pack (or log piece) read from its first byte to its last. Part of verify.
#pragma once

#include <optional>
#include <vector>

#include "backup/verify_findings.h"
#include "base/progress.h"
#include "repo/slot_reader.h"

namespace varve::backup {

struct PackState {
  std::optional<Damage> damage;
  bool lost = false;  // nothing in it can be read
  struct Slots {
    uint32_t first, end;
  };
  std::vector<Slots> bad;  // ascending; what else is in it can be read
  bool is_bad(uint32_t ordinal) const;
};

// Streams the object once and checks its checksum; with `decode` also every frame, and every page against the
// identity that the index gives it. `expected`: what manifests say of it; none for log pieces. Memory: the
// index and one frame.
Result<PackState> check_pack(const repo::Repository& repo, const Context& ctx, const std::string& key,
                             uint64_t stored_size, const std::optional<repo::PackInfo>& expected, bool decode,
                             Progress& progress);

}  // namespace varve::backup
