// Shows a Progress while a long operation runs.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/progress.h"

namespace varve::cli {

// On a terminal one line, redrawn, from the first second on, and gone at the end. Elsewhere a line each ten
// seconds. On standard error. Ends with this object; `progress` must live longer.
class ProgressDisplay {
 public:
  enum class Mode { kNone, kRedraw, kLines };
  ProgressDisplay(const Progress& progress, Mode mode);
  ~ProgressDisplay();
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;

 private:
  void run(std::stop_token stop);
  const Progress& progress_;
  const Mode mode_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;
};

// Writes `text` over the terminal's current line on standard error, cut to its width; the next write begins
// the line anew.
void redraw_line(std::string_view text);

}  // namespace varve::cli
