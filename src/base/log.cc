#include "base/log.h"

#include <atomic>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace varve::log {
namespace {
std::atomic<Level> g_level = Level::kWarn;

spdlog::logger& logger() {
  static auto instance = [] {
    auto l = spdlog::stderr_color_mt("varve");
    l->set_pattern("%^%l%$: %v");
    l->set_level(spdlog::level::trace);
    return l;
  }();
  return *instance;
}
}  // namespace

void set_level(Level l) {
  g_level = l;
}
Level level() {
  return g_level;
}

void write(Level l, std::string_view text) {
  if (l > g_level.load()) return;
  switch (l) {
    case Level::kQuiet:
      break;
    case Level::kError:
      logger().error("{}", text);
      break;
    case Level::kWarn:
      logger().warn("{}", text);
      break;
    case Level::kInfo:
      logger().info("{}", text);
      break;
    case Level::kDebug:
      logger().debug("{}", text);
      break;
  }
}

}  // namespace varve::log
