// Which backups a plan keeps. Pure arithmetic: no clock, no store.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/time.h"

namespace varve::plan {

struct Retention {
  uint32_t last = 0, daily = 0, weekly = 0, monthly = 0, yearly = 0;
  std::optional<Seconds> window = {};  // any moment within it stays recoverable, as far as the log goes
  bool empty() const { return !last && !daily && !weekly && !monthly && !yearly && !window; }
};

struct Candidate {
  std::string id;
  Timestamp moment = {};
  bool held = false;
  bool readable = true;
};

struct Decision {
  std::string id;
  bool keep = false;
  std::vector<std::string>
      reasons;  // why it is kept: "last", "daily 2026-11-23", "weekly 2026-W48", "held", "newest"
};

// candidates ascending by moment. Calendar units are UTC; of a unit the newest backup is kept, counting back
// over units that have one. The window keeps every backup in it, and the newest before it (moments at its
// start are reached from there). The newest readable one is always kept. An empty Retention keeps everything.
std::vector<Decision> decide(const std::vector<Candidate>& candidates, const Retention& retention,
                             Timestamp now);

}  // namespace varve::plan
