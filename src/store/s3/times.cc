#include "store/s3/times.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include "base/text.h"

namespace varve::store::s3 {
namespace {

constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

// A field of digits only; -1 for anything else.
int number(std::string_view digits) {
  int out = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return -1;
    out = out * 10 + (c - '0');
  }
  return out;
}

}  // namespace

Result<Timestamp> parse_http_date(std::string_view text) {
  using namespace std::chrono;
  const auto wrong = [&] {
    return fail(Code::kUnreachable, fmt::format("\"{}\" is no date", printable(text.substr(0, 80))));
  };
  // Tue, 24 Nov 2026 18:58:13 GMT
  // 01234567890123456789012345678
  if (text.size() != 29 || text.substr(3, 2) != ", " || text[7] != ' ' || text[11] != ' ' ||
      text[16] != ' ' || text[19] != ':' || text[22] != ':' || text.substr(25) != " GMT")
    return wrong();
  const auto month_at = std::find(kMonths.begin(), kMonths.end(), text.substr(8, 3));
  const int day_of = number(text.substr(5, 2)), year_of = number(text.substr(12, 4));
  const int hour = number(text.substr(17, 2)), minute = number(text.substr(20, 2)),
            second = number(text.substr(23, 2));
  if (month_at == kMonths.end() || day_of < 0 || year_of < 0 || hour < 0 || hour > 23 || minute < 0 ||
      minute > 59 || second < 0 || second > 60)
    return wrong();
  const auto date = year(year_of) / month(static_cast<unsigned>(month_at - kMonths.begin() + 1)) /
                    day(static_cast<unsigned>(day_of));
  if (!date.ok()) return wrong();
  return Timestamp(sys_days(date)) + hours(hour) + minutes(minute) + seconds(second);
}

std::string to_milliseconds(Timestamp at) {
  using namespace std::chrono;
  const auto up = ceil<milliseconds>(at);
  const auto whole = floor<seconds>(up);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(system_clock::to_time_t(whole)),
                     (up - whole).count());
}

}  // namespace varve::store::s3
