#include "cli/values.h"

#include <fmt/format.h>

namespace varve::cli {
namespace {

template <typename T>
Result<T> named(const char* option, Result<T> value) {
  if (value) return value;
  Error error = std::move(value).error();
  error.message = fmt::format("{}: {}", option, error.message);
  return fail(std::move(error));
}

}  // namespace

Result<Seconds> duration_value(const char* option, const std::string& text) {
  return named(option, parse_duration(text));
}

Result<Timestamp> moment_value(const char* option, const std::string& text) {
  return named(option, parse_moment(text, now()));
}

Result<uint32_t> number_within(const char* option, uint32_t value, uint32_t least, uint32_t most) {
  if (value >= least && value <= most) return value;
  return fail(Code::kUsage, fmt::format("{} {} is out of bounds", option, value),
              fmt::format("from {} to {}", least, most));
}

}  // namespace varve::cli
