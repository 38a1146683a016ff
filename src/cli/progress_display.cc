#include "cli/progress_display.h"

#include <chrono>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace varve::cli {
namespace {

using Clock = std::chrono::steady_clock;

size_t terminal_columns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

void redraw_line(std::string_view text) {
  const size_t columns = terminal_columns();
  // One column less: a full line would wrap, and could not be taken back.
  if (text.size() >= columns) text = text.substr(0, columns - 1);
  fmt::print(stderr, "\r\x1b[K{}", text);
  std::fflush(stderr);
}

ProgressDisplay::ProgressDisplay(const Progress& progress, Mode mode) : progress_(progress), mode_(mode) {
  if (mode_ != Mode::kNone) thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
}

ProgressDisplay::~ProgressDisplay() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
}

void ProgressDisplay::run(std::stop_token stop) {
  const auto start = Clock::now();
  const bool redraw = mode_ == Mode::kRedraw;
  const auto step = redraw ? std::chrono::milliseconds(200) : std::chrono::milliseconds(1000);
  auto phase_start = start, last_line = start;
  const char* phase = "";
  uint64_t last_done = 0;
  bool shown = false;
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, stop, step, [&] { return stop.stop_requested(); })) {
    const auto now = Clock::now();
    const char* current = progress_.phase;
    const uint64_t done = progress_.done_bytes;
    // A phase begun anew counts its own rate; the same name with less done is a new one too.
    if (std::strcmp(current, phase) != 0 || done < last_done) {
      phase = current;
      phase_start = now - step;
    }
    last_done = done;
    if (*current == '\0') continue;
    const double seconds = std::chrono::duration<double>(now - phase_start).count();
    if (redraw && now - start >= std::chrono::seconds(1)) {
      redraw_line(progress_line(progress_, seconds));
      shown = true;
    } else if (!redraw && now - last_line >= std::chrono::seconds(10)) {
      fmt::print(stderr, "{}\n", progress_line(progress_, seconds));
      last_line = now;
    }
  }
  if (shown) redraw_line("");
}

}  // namespace varve::cli
