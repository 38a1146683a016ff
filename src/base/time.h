// Moments: microseconds since the Unix epoch, UTC. Text is RFC 3339.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/error.h"

namespace varve {

using Timestamp = std::chrono::sys_time<std::chrono::microseconds>;
using Seconds = std::chrono::seconds;

Timestamp now();

// "2026-11-23T14:32:05Z", with ".123456" only where the moment has a fraction.
std::string to_rfc3339(Timestamp t);
// For people, in the local zone: "2026-11-23 15:32:05 +01:00".
std::string to_local(Timestamp t);
// Of the local clock: 0 to 1439.
int local_minute_of_day(Timestamp t);
// RFC 3339 with a zone ("Z" or an offset); 'T' or a space; fraction optional. A zone is demanded: hint says
// so.
Result<Timestamp> parse_rfc3339(std::string_view text);
// What a person types for a moment: RFC 3339, "now", "5 minutes ago", "2h ago", "yesterday 14:30", "14:32:05"
// (today, local zone), "2026-11-23", "2026-11-23 14:32" (local zone). `reference` is what "now" means.
Result<Timestamp> parse_moment(std::string_view text, Timestamp reference);
// "90s", "15m", "2h", "35d", "8w", "1y" and sums such as "1h30m".
Result<Seconds> parse_duration(std::string_view text);
// "3 s", "4 min 5 s", "2 h 10 min", "3 days": two units at most.
std::string to_human(std::chrono::microseconds d);
// "3 s ago", "2 days ago".
std::string to_ago(Timestamp t, Timestamp reference);

}  // namespace varve
