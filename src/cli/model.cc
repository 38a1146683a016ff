#include "cli/model.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/text.h"

namespace varve::cli {
namespace {

std::string repeat_mark(const OptionModel& option) {
  return option.repeatable ? " (may be repeated)" : "";
}

// `text` in lines of at most `width`, the first at the cursor's column, the others indented.
std::string wrapped(const std::string& text, size_t indent, size_t width) {
  std::string out;
  size_t column = indent;
  for (std::string_view line : split(text, '\n')) {
    if (!out.empty()) {
      out += '\n' + std::string(indent, ' ');
      column = indent;
    }
    bool first = true;
    for (std::string_view word : split(line, ' ')) {
      if (!first && column + 1 + word.size() > width) {
        out += '\n' + std::string(indent, ' ');
        column = indent;
        first = true;
      }
      if (!first) {
        out += ' ';
        ++column;
      }
      out += word;
      column += word.size();
      first = false;
    }
  }
  // A line kept for its paragraph must not end in blanks.
  std::string clean;
  for (std::string_view line : split(out, '\n')) {
    const size_t end = line.find_last_not_of(' ');
    clean += std::string(end == std::string_view::npos ? "" : line.substr(0, end + 1)) + '\n';
  }
  clean.pop_back();
  return clean;
}

constexpr size_t kWidth = 100;

void add_rows(std::string& out, const std::vector<std::pair<std::string, std::string>>& rows) {
  size_t widest = 0;
  for (const auto& [left, right] : rows) widest = std::max(widest, left.size());
  widest = std::min<size_t>(widest, 28);
  for (const auto& [left, right] : rows) {
    out += "  " + left;
    if (left.size() > widest)
      out += '\n' + std::string(2 + widest, ' ');
    else
      out += std::string(widest - left.size(), ' ');
    out += "  " + wrapped(right, widest + 4, kWidth) + '\n';
  }
}

void add_options(std::string& out, const std::vector<OptionModel>& options) {
  std::vector<std::pair<std::string, std::string>> rows;
  for (const auto& o : options) {
    std::string text = o.description + repeat_mark(o);
    if (!o.environment.empty()) text += fmt::format(" [${}]", o.environment);
    rows.emplace_back(o.spelled(), text);
  }
  add_rows(out, rows);
}

OptionModel describe(const CLI::Option& option) {
  OptionModel out;
  for (const auto& s : option.get_snames()) out.names.push_back("-" + s);
  for (const auto& l : option.get_lnames()) out.names.push_back("--" + l);
  if (option.get_items_expected_max() > 0) out.type = option.get_type_name();
  out.description = option.get_description();
  out.environment = option.get_envname();
  out.repeatable = option.get_expected_max() > 1;
  return out;
}

}  // namespace

std::vector<std::string> OptionModel::choices() const {
  std::vector<std::string> out;
  if (type.find('|') == std::string::npos) return out;
  for (auto word : split(type, '|')) out.emplace_back(word);
  return out;
}

std::string OptionModel::spelled() const {
  std::string out;
  for (const auto& n : names) out += (out.empty() ? "" : ", ") + n;
  return type.empty() ? out : out + " " + type;
}

std::string CommandModel::usage() const {
  std::string out = path;
  if (!options.empty()) out += " [OPTIONS]";
  for (const auto& p : positionals) {
    out += p.required ? " " + p.name : " [" + p.name + "]";
    if (p.repeatable) out += "...";
  }
  if (!commands.empty()) out += " COMMAND";
  return out;
}

const std::vector<std::pair<int, std::string>>& exit_statuses() {
  static const std::vector<std::pair<int, std::string>> kAll = {
      {0, "done"},
      {1, "a mistake of varve itself; please report it"},
      {2, "wrong usage or configuration, or the wrong key"},
      {3, "not found: a source, a backup, a repository"},
      {4, "damaged, or a verification that failed"},
      {5, "the store or the disk cannot be reached, is full, or refused"},
      {6, "the database refused, or is not one"},
      {7, "locked, or in conflict with what exists"},
      {8, "incomplete: the moment asked for is not covered"},
      {130, "interrupted"}};
  return kAll;
}

const std::vector<std::pair<std::string, std::string>>& environment_variables() {
  static const std::vector<std::pair<std::string, std::string>> kAll = {
      {"VARVE_REPO", "the repository, as --repo"},
      {"VARVE_CONFIG", "the configuration file, as --config"},
      {"VARVE_PASSPHRASE", "the passphrase; programs that varve starts do not see it"},
      {"NO_COLOR", "set to anything: no colours"}};
  return kAll;
}

CommandModel describe(const CLI::App& app, const std::string& above) {
  CommandModel out;
  out.name = app.get_name();
  out.path = above.empty() ? out.name : above + " " + out.name;
  out.is_hidden = app.get_group().empty();
  const std::string description = app.get_description();
  const size_t cut = description.find("\n\n");
  out.summary = description.substr(0, cut);
  if (cut != std::string::npos) out.about = description.substr(cut + 2);
  // CLI11 keeps one text after the help; Command::example() wrote it as pairs of lines.
  const std::string footer = app.get_footer();
  const auto lines = split(footer, '\n');
  for (size_t i = 0; i + 1 < lines.size(); i += 2)
    out.examples.push_back({std::string(lines[i]), std::string(lines[i + 1])});
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional())
      out.positionals.push_back({option->get_name(true), option->get_description(), option->get_required(),
                                 option->get_items_expected_max() > 1});
    else if (!app.get_parent() || option != app.get_help_ptr())
      out.options.push_back(describe(*option));
  }
  for (const CLI::App* below : app.get_subcommands([](const CLI::App*) { return true; }))
    out.commands.push_back(describe(*below, out.path));
  return out;
}

std::vector<const CommandModel*> visible_commands(const CommandModel& root) {
  std::vector<const CommandModel*> out;
  for (const auto& c : root.commands) {
    if (c.is_hidden) continue;
    out.push_back(&c);
    for (const CommandModel* below : visible_commands(c)) out.push_back(below);
  }
  return out;
}

std::string help_text(const CommandModel& command, const CommandModel& root) {
  const bool is_root = command.path == root.path;
  std::string out = fmt::format("{}: {}\n\nUsage: {}\n", command.path, command.summary, command.usage());
  if (!command.about.empty()) out += '\n' + wrapped(command.about, 0, kWidth) + '\n';
  if (!command.positionals.empty()) {
    std::vector<std::pair<std::string, std::string>> rows;
    for (const auto& p : command.positionals) rows.emplace_back(p.name, p.description);
    out += '\n';
    add_rows(out, rows);
  }
  if (!command.commands.empty()) {
    std::vector<std::pair<std::string, std::string>> rows;
    for (const auto& c : command.commands) {
      if (c.is_hidden) continue;
      std::string below;
      for (const auto& b : c.commands)
        if (!b.is_hidden) below += (below.empty() ? " " : "|") + b.name;
      rows.emplace_back(c.name + below, c.summary);
    }
    out += "\nCommands:\n";
    add_rows(out, rows);
  }
  if (!is_root && !command.options.empty()) {
    out += "\nOptions:\n";
    add_options(out, command.options);
  }
  if (is_root) {
    out += "\nOptions of every command, before or after its name:\n";
    add_options(out, root.options);
  } else {
    std::string names;
    for (const auto& o : root.options) names += (names.empty() ? "" : " ") + o.names.back();
    out += "\nOptions of every command (varve --help tells what they do):\n  " + wrapped(names, 2, kWidth) +
           '\n';
  }
  if (!command.examples.empty()) out += "\nExamples:\n";
  for (const auto& e : command.examples) out += fmt::format("  # {}\n  {}\n", e.what, e.line);
  if (is_root) {
    std::vector<std::pair<std::string, std::string>> rows;
    for (const auto& [code, meaning] : exit_statuses()) rows.emplace_back(std::to_string(code), meaning);
    out += "\nExit status:\n";
    add_rows(out, rows);
    rows.clear();
    for (const auto& [variable, meaning] : environment_variables())
      rows.emplace_back("$" + variable, meaning);
    out += "\nEnvironment:\n";
    add_rows(out, rows);
  }
  return out;
}

}  // namespace varve::cli
