// The program's diary, on standard error. Never secrets, never data.
#pragma once

#include <fmt/format.h>
#include <string_view>

namespace varve::log {

enum class Level { kQuiet, kError, kWarn, kInfo, kDebug };
void set_level(Level level);
Level level();
void write(Level level, std::string_view text);

template <typename... A>
void error(fmt::format_string<A...> f, A&&... a) {
  write(Level::kError, fmt::format(f, std::forward<A>(a)...));
}
template <typename... A>
void warn(fmt::format_string<A...> f, A&&... a) {
  write(Level::kWarn, fmt::format(f, std::forward<A>(a)...));
}
template <typename... A>
void info(fmt::format_string<A...> f, A&&... a) {
  write(Level::kInfo, fmt::format(f, std::forward<A>(a)...));
}
template <typename... A>
void debug(fmt::format_string<A...> f, A&&... a) {
  if (level() >= Level::kDebug) write(Level::kDebug, fmt::format(f, std::forward<A>(a)...));
}

}  // namespace varve::log
