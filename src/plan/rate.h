// How many bytes a second may cross to a store, by the time of day.
#pragma once

#include <string_view>
#include <vector>

#include "base/time.h"

namespace varve::plan {

// Bytes per second; 0: no limit.
struct RateLimit {
  // A part of each day, by the local clock: minutes since midnight, `to` not included. From 22:00 to 06:00 it
  // goes over midnight; from == to is the whole day.
  struct Span {
    int from = 0, to = 0;
    uint64_t rate = 0;
    bool covers(int minute) const;
  };
  std::vector<Span> spans;  // the first that covers the moment counts
  uint64_t otherwise = 0;

  bool none() const { return spans.empty() && otherwise == 0; }
  uint64_t at(Timestamp moment) const;
};

// "08:00-18:00"; kUsage otherwise. The rate is the caller's to fill in.
Result<RateLimit::Span> parse_span(std::string_view text);

}  // namespace varve::plan
