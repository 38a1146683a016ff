#include "base/time.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <date/date.h>
#include <fmt/format.h>
#include <optional>

#include "base/text.h"

namespace varve {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::minutes;

constexpr Timestamp kEarliest = date::sys_days{date::January / 1 / 1};
constexpr Timestamp kLatest = date::sys_days{date::January / 1 / 10000} - microseconds{1};
// Longer than any moment can be away from another; in microseconds it still fits 64 bits.
constexpr Seconds kLongest{400'000'000'000};

constexpr char kExamples[] =
    "for example: 2026-11-23T14:32:05Z, \"2026-11-23 14:32\" (local time), 14:32:05, \"yesterday 14:30\", "
    "\"5 minutes ago\"";

tl::unexpected<Error> not_a_moment(std::string_view text, std::string_view why = {}) {
  std::string message = fmt::format("cannot read \"{}\" as a moment", printable(text.substr(0, 80)));
  if (!why.empty()) message += fmt::format(": {}", why);
  return fail(Code::kUsage, std::move(message), kExamples);
}

bool is_space(char c) {
  return c == ' ' || c == '\t';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// Reads pieces off the front of a text; a piece that does not fit is left where it is.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}
  bool done() const { return rest_.empty(); }
  char peek() const { return rest_.empty() ? '\0' : rest_[0]; }
  bool eat(char c) {
    if (peek() != c || rest_.empty()) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool eat_any(std::string_view set) {
    if (rest_.empty() || set.find(rest_[0]) == set.npos) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void skip_spaces() {
    while (!rest_.empty() && is_space(rest_[0])) rest_.remove_prefix(1);
  }
  // Exactly n digits, n ≤ 9.
  std::optional<int> digits(size_t n) {
    if (rest_.size() < n || !std::all_of(rest_.begin(), rest_.begin() + static_cast<ptrdiff_t>(n), is_digit))
      return std::nullopt;
    int value = 0;
    for (size_t i = 0; i < n; ++i) value = value * 10 + (rest_[i] - '0');
    rest_.remove_prefix(n);
    return value;
  }
  template <typename Pred>
  std::string_view run(Pred pred) {
    size_t n = 0;
    while (n < rest_.size() && pred(rest_[n])) ++n;
    std::string_view out = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return out;
  }

 private:
  std::string_view rest_;
};

std::optional<date::year_month_day> scan_date(Scanner& in) {
  Scanner at = in;
  auto y = at.digits(4);
  if (!y || !at.eat('-')) return std::nullopt;
  auto m = at.digits(2);
  if (!m || !at.eat('-')) return std::nullopt;
  auto d = at.digits(2);
  if (!d) return std::nullopt;
  in = at;
  return date::year{*y} / date::month{static_cast<unsigned>(*m)} / date::day{static_cast<unsigned>(*d)};
}

struct TimeOfDay {
  microseconds since_midnight{0};
  bool has_seconds = false;
  bool leap_second = false;
};

std::optional<TimeOfDay> scan_time(Scanner& in) {
  Scanner at = in;
  TimeOfDay out;
  auto h = at.digits(2);
  if (!h || *h > 23 || !at.eat(':')) return std::nullopt;
  auto m = at.digits(2);
  if (!m || *m > 59) return std::nullopt;
  out.since_midnight = hours{*h} + minutes{*m};
  if (at.eat(':')) {
    auto s = at.digits(2);
    if (!s || *s > 60) return std::nullopt;
    out.has_seconds = true;
    out.leap_second = *s == 60;
    out.since_midnight += Seconds{*s};
    if (at.eat_any(".,")) {
      std::string_view fraction = at.run(is_digit);
      if (fraction.empty() || fraction.size() > 9) return std::nullopt;
      int64_t us = 0;
      for (size_t i = 0; i < 6; ++i) us = us * 10 + (i < fraction.size() ? fraction[i] - '0' : 0);
      out.since_midnight += microseconds{us};
    }
  }
  in = at;
  return out;
}

// "Z", "UTC", "+01:00", "+0100", "+01"; spaces before it are the caller's.
std::optional<minutes> scan_offset(Scanner& in) {
  Scanner at = in;
  if (is_letter(at.peek())) {
    std::string word = to_lower(at.run(is_letter));
    if (word != "z" && word != "utc") return std::nullopt;
    in = at;
    return minutes{0};
  }
  bool west = at.peek() == '-';
  if (!at.eat_any("+-")) return std::nullopt;
  auto h = at.digits(2);
  if (!h || *h > 23) return std::nullopt;
  minutes out = hours{*h};
  bool colon = at.eat(':');
  if (colon || is_digit(at.peek())) {
    auto m = at.digits(2);
    if (!m || *m > 59) return std::nullopt;
    out += minutes{*m};
  }
  in = at;
  return west ? -out : out;
}

Timestamp clamped(Timestamp t) {
  return std::clamp(t, kEarliest, kLatest);
}

bool broken_down(time_t t, std::tm& out) {
  return localtime_r(&t, &out) != nullptr;
}

bool same_clock(const std::tm& a, const std::tm& b) {
  return a.tm_year == b.tm_year && a.tm_mon == b.tm_mon && a.tm_mday == b.tm_mday && a.tm_hour == b.tm_hour &&
         a.tm_min == b.tm_min && a.tm_sec == b.tm_sec;
}

// What a local clock shows is one moment, none (clocks went forward) or two (back); only one is not a guess.
Result<Timestamp> from_local(date::year_month_day day, microseconds since_midnight, std::string_view text) {
  const auto whole = std::chrono::floor<Seconds>(since_midnight);
  const date::hh_mm_ss<Seconds> clock{whole};
  std::tm wanted{};
  wanted.tm_year = int{day.year()} - 1900;
  wanted.tm_mon = static_cast<int>(unsigned{day.month()}) - 1;
  wanted.tm_mday = static_cast<int>(unsigned{day.day()});
  wanted.tm_hour = static_cast<int>(clock.hours().count());
  wanted.tm_min = static_cast<int>(clock.minutes().count());
  wanted.tm_sec = static_cast<int>(clock.seconds().count());
  wanted.tm_isdst = -1;
  std::tm normalised = wanted, shown{};
  const time_t t = std::mktime(&normalised);
  if (!broken_down(t, shown) || !same_clock(shown, wanted))
    return not_a_moment(text, "clocks went forward over it in the local zone; give an offset such as +01:00");
  for (int step = -6; step <= 6; ++step) {
    if (step != 0 && broken_down(t + step * 1800, shown) && same_clock(shown, wanted))
      return not_a_moment(text, "the local clock showed it twice that day; give an offset such as +01:00");
  }
  return Timestamp{Seconds{t}} + (since_midnight - whole);
}

date::year_month_day local_day(Timestamp t) {
  std::tm tm{};
  broken_down(std::chrono::floor<Seconds>(t).time_since_epoch().count(), tm);
  return date::year{tm.tm_year + 1900} / date::month{static_cast<unsigned>(tm.tm_mon + 1)} /
         date::day{static_cast<unsigned>(tm.tm_mday)};
}

Result<Timestamp> in_bounds(Timestamp t, std::string_view text) {
  if (t < kEarliest || t > kLatest) return not_a_moment(text, "it is outside of the years 1 to 9999");
  return t;
}

// A date, with perhaps a time and an offset. `strict`: RFC 3339, that is all three.
Result<Timestamp> parse_dated(std::string_view text, bool strict) {
  Scanner in(text);
  auto day = scan_date(in);
  if (!day) return not_a_moment(text);
  if (!day->ok()) return not_a_moment(text, "there is no such day");
  if (int{day->year()} < 1) return not_a_moment(text, "it is outside of the years 1 to 9999");
  TimeOfDay time;
  std::optional<minutes> offset;
  if (!in.done()) {
    if (!in.eat_any("Tt \t")) return not_a_moment(text);
    in.skip_spaces();
    auto scanned = scan_time(in);
    if (!scanned) return not_a_moment(text);
    time = *scanned;
    in.skip_spaces();
    if (!in.done()) {
      offset = scan_offset(in);
      if (!offset || !in.done()) return not_a_moment(text);
    }
  }
  if (time.leap_second) return not_a_moment(text, "second 60 (a leap second) is not a moment of its own");
  if (strict && !time.has_seconds) return not_a_moment(text, "hours, minutes and seconds are needed");
  if (strict && !offset) {
    return fail(Code::kUsage, fmt::format("\"{}\" has no time zone", printable(text)),
                "end it with Z (UTC) or an offset such as +01:00");
  }
  if (offset) return in_bounds(Timestamp{date::sys_days{*day}} + time.since_midnight - *offset, text);
  TRY_ASSIGN(Timestamp local, from_local(*day, time.since_midnight, text));
  return in_bounds(local, text);
}

// "yesterday 14:30", "today", "14:32:05": a time on a day near the reference.
std::optional<Result<Timestamp>> parse_near_day(std::string_view lower, Timestamp reference) {
  date::sys_days day = local_day(reference);
  Scanner in(lower);
  Scanner after = in;
  std::string_view word = after.run(is_letter);
  bool named = word == "yesterday" || word == "today";
  if (named) {
    in = after;
    if (word == "yesterday") day -= date::days{1};
    in.skip_spaces();
    after = in;
    if (after.run(is_letter) == "at") in = after;
    in.skip_spaces();
  }
  TimeOfDay time;
  if (!in.done() || !named) {
    auto scanned = scan_time(in);
    if (!scanned || !in.done()) return std::nullopt;
    time = *scanned;
  }
  if (time.leap_second) return not_a_moment(lower, "second 60 (a leap second) is not a moment of its own");
  return from_local(day, time.since_midnight, lower);
}

struct Unit {
  std::array<std::string_view, 6> names;
  int64_t seconds;
};
constexpr Unit kUnits[] = {
    {{"s", "sec", "secs", "second", "seconds"}, 1}, {{"m", "min", "mins", "minute", "minutes"}, 60},
    {{"h", "hr", "hrs", "hour", "hours"}, 3600},    {{"d", "day", "days"}, 86400},
    {{"w", "wk", "week", "weeks"}, 7 * 86400},      {{"y", "yr", "year", "years"}, 365 * 86400},
};

std::optional<int64_t> unit_seconds(std::string_view word) {
  if (word.empty()) return std::nullopt;
  for (const Unit& unit : kUnits) {
    if (std::find(unit.names.begin(), unit.names.end(), word) != unit.names.end()) return unit.seconds;
  }
  return std::nullopt;
}

struct Shown {
  int64_t seconds;
  const char* one;
  const char* many;
};
constexpr Shown kShown[] = {{86400, "day", "days"}, {3600, "h", "h"}, {60, "min", "min"}, {1, "s", "s"}};

}  // namespace

Timestamp now() {
  return std::chrono::floor<microseconds>(std::chrono::system_clock::now());
}

std::string to_rfc3339(Timestamp t) {
  t = clamped(t);
  const auto midnight = std::chrono::floor<date::days>(t);
  const date::year_month_day day{midnight};
  const date::hh_mm_ss<microseconds> clock{t - midnight};
  std::string out = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", int{day.year()}, unsigned{day.month()},
                                unsigned{day.day()}, clock.hours().count(), clock.minutes().count(),
                                clock.seconds().count());
  if (clock.subseconds().count() != 0) out += fmt::format(".{:06}", clock.subseconds().count());
  return out + 'Z';
}

std::string to_local(Timestamp t) {
  std::tm tm{};
  tzset();  // localtime_r need not
  if (!broken_down(std::chrono::floor<Seconds>(clamped(t)).time_since_epoch().count(), tm))
    return to_rfc3339(t);
  const long offset = std::abs(tm.tm_gmtoff) / 60;
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02} {}{:02}:{:02}", tm.tm_year + 1900, tm.tm_mon + 1,
                     tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, tm.tm_gmtoff < 0 ? '-' : '+', offset / 60,
                     offset % 60);
}

int local_minute_of_day(Timestamp t) {
  std::tm tm{};
  tzset();
  broken_down(std::chrono::floor<Seconds>(clamped(t)).time_since_epoch().count(), tm);
  return tm.tm_hour * 60 + tm.tm_min;
}

Result<Timestamp> parse_rfc3339(std::string_view text) {
  return parse_dated(text, /*strict=*/true);
}

Result<Timestamp> parse_moment(std::string_view text, Timestamp reference) {
  tzset();
  reference = clamped(reference);
  text = trim(text);
  const std::string lower = to_lower(text);
  if (lower == "now") return reference;
  constexpr std::string_view kAgo = "ago";
  if (lower.size() > kAgo.size() && lower.ends_with(kAgo)) {
    auto duration = parse_duration(trim(std::string_view(lower).substr(0, lower.size() - kAgo.size())));
    if (!duration) return not_a_moment(text, duration.error().message);
    return in_bounds(reference - *duration, text);
  }
  if (auto near = parse_near_day(lower, reference)) return std::move(*near);
  return parse_dated(text, /*strict=*/false);
}

Result<Seconds> parse_duration(std::string_view text) {
  auto junk = [&](std::string_view why) {
    return fail(Code::kUsage,
                fmt::format("cannot read \"{}\" as a duration: {}", printable(text.substr(0, 80)), why),
                "for example: 90s, 15m, 2h, 1h30m, 35d, 8w, 1y");
  };
  const std::string lower = to_lower(trim(text));
  Scanner in(lower);
  if (in.done()) return junk("it is empty");
  int64_t total = 0;
  while (!in.done()) {
    std::string_view number = in.run(is_digit);
    in.skip_spaces();
    std::string_view word = in.run(is_letter);
    in.skip_spaces();
    // "an hour", "a minute"
    if (number.empty() && (word == "a" || word == "an")) {
      number = "1";
      word = in.run(is_letter);
      in.skip_spaces();
    }
    if (number.empty()) return junk("a number is missing");
    auto unit = unit_seconds(word);
    if (!unit) return junk(word.empty() ? "a unit is missing" : "the unit is not known");
    int64_t count = 0, product = 0;
    auto [end, err] = std::from_chars(number.data(), number.data() + number.size(), count);
    if (err != std::errc{} || __builtin_mul_overflow(count, *unit, &product) ||
        __builtin_add_overflow(total, product, &total) || total > kLongest.count())
      return junk("it is too long");
  }
  return Seconds{total};
}

std::string to_human(microseconds d) {
  if (d < microseconds{0}) return "-" + to_human(d == microseconds::min() ? microseconds::max() : -d);
  if (d < Seconds{1}) return d.count() == 0 ? "0 s" : fmt::format("{} ms", (d.count() + 999) / 1000);
  if (d < Seconds{10} && d % Seconds{1} >= microseconds{100'000})
    return fmt::format("{}.{} s", d.count() / 1'000'000, d.count() / 100'000 % 10);
  int64_t left = std::chrono::floor<Seconds>(d).count();
  for (size_t i = 0; i < std::size(kShown); ++i) {
    const int64_t n = left / kShown[i].seconds;
    if (n == 0) continue;
    std::string out = fmt::format("{} {}", n, n == 1 ? kShown[i].one : kShown[i].many);
    left %= kShown[i].seconds;
    const bool want_more = i + 1 < std::size(kShown) && !(i == 0 && n >= 10);
    if (want_more && left >= kShown[i + 1].seconds)
      out += fmt::format(" {} {}", left / kShown[i + 1].seconds, kShown[i + 1].many);
    return out;
  }
  return "0 s";
}

std::string to_ago(Timestamp t, Timestamp reference) {
  const auto away = std::chrono::floor<Seconds>(clamped(reference)) - std::chrono::floor<Seconds>(clamped(t));
  if (away == Seconds{0}) return "now";
  return away > Seconds{0} ? to_human(away) + " ago" : "in " + to_human(-away);
}

}  // namespace varve
