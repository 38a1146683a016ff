#include "plan/retention.h"

#include <date/date.h>
#include <date/iso_week.h>
#include <fmt/format.h>
#include <set>

namespace varve::plan {
namespace {

date::sys_days day_of(Timestamp t) {
  return date::floor<date::days>(t);
}

std::string day_label(Timestamp t) {
  const date::year_month_day d{day_of(t)};
  return fmt::format("{:04}-{:02}-{:02}", int{d.year()}, unsigned{d.month()}, unsigned{d.day()});
}

// The ISO year is not the calendar's at its borders: 2027-01-01 lies in 2026-W53.
std::string week_label(Timestamp t) {
  const iso_week::year_weeknum_weekday w{day_of(t)};
  return fmt::format("{:04}-W{:02}", int{w.year()}, unsigned{w.weeknum()});
}

std::string month_label(Timestamp t) {
  const date::year_month_day d{day_of(t)};
  return fmt::format("{:04}-{:02}", int{d.year()}, unsigned{d.month()});
}

std::string year_label(Timestamp t) {
  return fmt::format("{:04}", int{date::year_month_day{day_of(t)}.year()});
}

// `moment >= now - window`, without an overflow for a window of centuries.
bool within(Timestamp moment, Timestamp now, Seconds window) {
  return moment >= now || std::chrono::floor<Seconds>(now - moment) <= window;
}

class Decider {
 public:
  Decider(const std::vector<Candidate>& candidates, std::vector<Decision>& decisions)
      : candidates_(candidates), decisions_(decisions) {}

  void keep(size_t i, std::string reason) {
    decisions_[i].keep = true;
    decisions_[i].reasons.push_back(std::move(reason));
  }

  void keep_last(uint32_t count) {
    for (size_t i = candidates_.size(); i-- > 0 && count > 0;) {
      if (!candidates_[i].readable) continue;
      keep(i, "last");
      --count;
    }
  }

  // From the newest back: the first readable one met in a unit stands for it.
  void keep_units(uint32_t count, const char* unit, std::string (*label)(Timestamp)) {
    std::string current;
    for (size_t i = candidates_.size(); i-- > 0 && count > 0;) {
      if (!candidates_[i].readable) continue;
      std::string here = label(candidates_[i].moment);
      if (here == current) continue;
      keep(i, fmt::format("{} {}", unit, here));
      current = std::move(here);
      --count;
    }
  }

  void keep_window(Seconds window, Timestamp now) {
    for (size_t i = candidates_.size(); i-- > 0;) {
      if (!candidates_[i].readable) continue;
      keep(i, "window");
      if (!within(candidates_[i].moment, now, window)) return;
    }
  }

 private:
  const std::vector<Candidate>& candidates_;
  std::vector<Decision>& decisions_;
};

}  // namespace

std::vector<Decision> decide(const std::vector<Candidate>& candidates, const Retention& retention,
                             Timestamp now) {
  std::vector<Decision> out;
  out.reserve(candidates.size());
  for (const Candidate& c : candidates) out.push_back({c.id, false, {}});
  Decider decider(candidates, out);
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (candidates[i].held) decider.keep(i, "held");
    // What cannot be read may be anything: nothing is decided about it, and it stands for no day or week.
    if (!candidates[i].readable) decider.keep(i, "unreadable");
    if (retention.empty()) decider.keep(i, "no retention set");
  }
  for (size_t i = candidates.size(); i-- > 0;) {
    if (!candidates[i].readable) continue;
    decider.keep(i, "newest");
    break;
  }
  decider.keep_last(retention.last);
  decider.keep_units(retention.daily, "daily", day_label);
  decider.keep_units(retention.weekly, "weekly", week_label);
  decider.keep_units(retention.monthly, "monthly", month_label);
  decider.keep_units(retention.yearly, "yearly", year_label);
  if (retention.window) decider.keep_window(*retention.window, now);
  return out;
}

}  // namespace varve::plan
