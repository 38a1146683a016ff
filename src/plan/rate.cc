#include "plan/rate.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"

namespace varve::plan {
namespace {

// "HH:MM" as minutes since midnight; -1 for anything else. 24:00 is the day's end.
int clock_minutes(std::string_view text) {
  const auto digit = [&](size_t i) { return text[i] >= '0' && text[i] <= '9' ? text[i] - '0' : -1; };
  if (text.size() != 5 || text[2] != ':') return -1;
  for (const size_t i : {0, 1, 3, 4})
    if (digit(i) < 0) return -1;
  const int hours = digit(0) * 10 + digit(1), minutes = digit(3) * 10 + digit(4);
  if (minutes > 59 || hours * 60 + minutes > 24 * 60) return -1;
  return hours * 60 + minutes;
}

}  // namespace

bool RateLimit::Span::covers(int minute) const {
  if (from < to) return minute >= from && minute < to;
  return minute >= from || minute < to;
}

uint64_t RateLimit::at(Timestamp moment) const {
  if (spans.empty()) return otherwise;
  const int minute = local_minute_of_day(moment);
  const auto it = std::find_if(spans.begin(), spans.end(), [&](const Span& s) { return s.covers(minute); });
  return it == spans.end() ? otherwise : it->rate;
}

Result<RateLimit::Span> parse_span(std::string_view text) {
  const auto ends = split(text, '-');
  RateLimit::Span out;
  if (ends.size() == 2) {
    out.from = clock_minutes(trim(ends[0]));
    out.to = clock_minutes(trim(ends[1]));
  }
  if (ends.size() != 2 || out.from < 0 || out.to < 0 || out.from == 24 * 60)
    return fail(Code::kUsage, fmt::format("\"{}\" is no part of a day", printable(text)),
                "write \"08:00-18:00\", or \"22:00-06:00\" over midnight");
  return out;
}

}  // namespace varve::plan
