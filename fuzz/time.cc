// Moments and durations as people type them: no junk crashes, and what is accepted survives the way through
// text.
#include "base/time.h"

#include <cstdlib>

#include "fuzz.h"

using namespace varve;

FUZZ_TARGET(input) {
  static const int zone = setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
  FUZZ_CHECK(zone == 0);
  const std::string_view text = as_text(input);
  const Timestamp reference{std::chrono::seconds{1795440725}};
  if (auto t = parse_rfc3339(text)) {
    auto back = parse_rfc3339(to_rfc3339(*t));
    FUZZ_CHECK(back && *back == *t);
    auto moment = parse_moment(text, reference);
    FUZZ_CHECK(moment && *moment == *t);
  }
  if (auto t = parse_moment(text, reference)) {
    auto back = parse_rfc3339(to_rfc3339(*t));
    FUZZ_CHECK(back && *back == *t);
    FUZZ_CHECK(!to_ago(*t, reference).empty());
    auto local = parse_moment(to_local(*t), reference);
    FUZZ_CHECK(!local || *local == std::chrono::floor<Seconds>(*t));
  } else {
    FUZZ_CHECK(t.error().code == Code::kUsage && !t.error().hint.empty());
  }
  if (auto d = parse_duration(text)) FUZZ_CHECK(*d >= Seconds{0} && !to_human(*d).empty());
  if (input.size() >= 8) {
    const Timestamp any{std::chrono::microseconds{static_cast<int64_t>(load_le<uint64_t>(input.data()))}};
    FUZZ_CHECK(parse_rfc3339(to_rfc3339(any)));
    FUZZ_CHECK(!to_local(any).empty() && !to_human(any.time_since_epoch()).empty());
  }
}
