#include "cli/output.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/json.h"

namespace varve::cli {
namespace {

bool colours_wanted(bool terminal) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return terminal && (!no_color || !*no_color) && term && std::strcmp(term, "dumb") != 0;
}

}  // namespace

std::string Style::mark(const char* code, std::string_view text) const {
  return colour ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string(text);
}

size_t display_width(std::string_view text) {
  size_t width = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b') {
      while (i < text.size() && text[i] != 'm') ++i;
    } else if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) {
      ++width;
    }
  }
  return width;
}

std::string Table::render(const Style& style, size_t indent) const {
  std::vector<size_t> widths;
  for (size_t c = 0; c < columns_.size(); ++c) {
    size_t width = display_width(columns_[c].first);
    for (const auto& row : rows_)
      if (c < row.size()) width = std::max(width, display_width(row[c]));
    widths.push_back(width);
  }
  std::string out;
  const auto add_row = [&](const std::vector<std::string>& row, bool header) {
    std::string line(indent, ' ');
    for (size_t c = 0; c < row.size() && c < columns_.size(); ++c) {
      const std::string blanks(widths[c] - display_width(row[c]), ' ');
      const std::string cell = header ? style.dim(row[c]) : row[c];
      if (c > 0) line += "  ";
      line += columns_[c].second == Align::kRight ? blanks + cell : cell + blanks;
    }
    line.resize(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  };
  std::vector<std::string> names;
  for (const auto& c : columns_) names.push_back(c.first);
  add_row(names, true);
  for (const auto& row : rows_) add_row(row, false);
  return out;
}

Output::Output(bool json, bool quiet)
    : json_(json), quiet_(quiet), out_terminal_(isatty(STDOUT_FILENO)), err_terminal_(isatty(STDERR_FILENO)) {
  out_style_.colour = colours_wanted(out_terminal_);
  err_style_.colour = colours_wanted(err_terminal_);
}

void Output::line(std::string_view text) const {
  if (!json_ && !quiet_) raw(fmt::format("{}\n", text));
}

void Output::text(std::string_view whole) const {
  if (!json_ && !quiet_) raw(whole);
}

void Output::note(std::string_view text) const {
  if (!json_ && !quiet_) fmt::print(stderr, "{}\n", text);
}

void Output::object(std::string_view json) const {
  if (json_) raw(fmt::format("{}\n", json));
}

void Output::raw(std::string_view text) const {
  std::fwrite(text.data(), 1, text.size(), stdout);
}

void Output::error(const Error& error) const {
  std::fflush(stdout);
  fmt::print(stderr, "{} {}\n", err_style_.red("error:"), printable(error.describe()));
  // A hint may have several lines; each is made harmless on its own.
  std::string hint;
  for (std::string_view line : split(error.hint, '\n'))
    hint += (hint.empty() ? "" : "\n      ") + printable(line);
  if (!error.hint.empty()) fmt::print(stderr, "{} {}\n", err_style_.yellow("hint:"), hint);
  object(json_error(error));
}

Result<> Output::flush() const {
  errno = 0;
  const bool failed = std::fflush(stdout) != 0 || std::ferror(stdout) != 0;
  if (!failed || errno == EPIPE) return {};
  return fail(Code::kIo, fmt::format("cannot write to standard output: {}", std::strerror(errno)));
}

}  // namespace varve::cli
