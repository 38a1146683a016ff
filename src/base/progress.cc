#include "base/progress.h"

#include <fmt/format.h>

#include "base/text.h"
#include "base/time.h"

namespace varve {

void Progress::begin(const char* name, uint64_t bytes, uint64_t items) {
  phase = name;
  total_bytes = bytes;
  done_bytes = 0;
  total_items = items;
  done_items = 0;
}

std::string progress_line(const Progress& p, double seconds) {
  const uint64_t done = p.done_bytes, total = p.total_bytes;
  if (done == 0 && total == 0)  // what is not counted
    return fmt::format("{}  {}", p.phase.load(),
                       to_human(std::chrono::seconds(static_cast<int64_t>(seconds))));
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  std::string out = fmt::format("{}  {}", p.phase.load(), human_size(done));
  if (total > 0) {
    out += fmt::format(" of {} ({:.0f} %)", human_size(total),
                       100.0 * static_cast<double>(done) / static_cast<double>(total));
  }
  out += fmt::format(", {}/s", human_size(static_cast<uint64_t>(rate)));
  if (total > done && rate > 0) {
    auto left = std::chrono::seconds(static_cast<int64_t>(static_cast<double>(total - done) / rate) + 1);
    out += fmt::format(", {} left", to_human(left));
  }
  return out;
}

}  // namespace varve
