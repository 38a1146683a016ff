// What a person, or a program, reads: standard output and standard error, and how they look.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace varve::cli {

// Marks for a terminal; each gives the text as it is when colours are off.
struct Style {
  bool colour = false;
  std::string bold(std::string_view text) const { return mark("1", text); }
  std::string dim(std::string_view text) const { return mark("2", text); }
  std::string red(std::string_view text) const { return mark("31", text); }
  std::string green(std::string_view text) const { return mark("32", text); }
  std::string yellow(std::string_view text) const { return mark("33", text); }

 private:
  std::string mark(const char* code, std::string_view text) const;
};

// Columns that line up. Cells may hold marks; their width is what a terminal shows.
class Table {
 public:
  enum class Align { kLeft, kRight };
  explicit Table(std::vector<std::pair<std::string, Align>> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.empty(); }
  // Header and rows, each line with its '\n' and without trailing blanks.
  std::string render(const Style& style, size_t indent = 2) const;

 private:
  std::vector<std::pair<std::string, Align>> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// Columns a text takes: escape sequences none, an UTF-8 character one.
size_t display_width(std::string_view text);

class Output {
 public:
  Output(bool json, bool quiet);
  bool json() const { return json_; }
  bool quiet() const { return quiet_; }
  const Style& style() const { return out_style_; }
  bool out_is_terminal() const { return out_terminal_; }
  bool err_is_terminal() const { return err_terminal_; }

  // For people, to standard output; nothing with --json or --quiet.
  void line(std::string_view text) const;
  void text(std::string_view whole) const;  // as it stands, with its own line ends
  // For people, to standard error, under the same rule.
  void note(std::string_view text) const;
  // The document of --json; nothing without it.
  void object(std::string_view json) const;
  // What was asked for as such (a script, a page): always.
  void raw(std::string_view text) const;
  // `error: …` and `hint: …` on standard error; with --json an error object on standard output as well.
  void error(const Error& error) const;
  // kIo when standard output could not take everything; a reader that went away is no failure.
  Result<> flush() const;

 private:
  bool json_, quiet_, out_terminal_, err_terminal_;
  Style out_style_, err_style_;
};

}  // namespace varve::cli
