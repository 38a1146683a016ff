// The man page and the reference, from the table of commands.
#include <fmt/format.h>

#include "base/text.h"
#include "cli/model.h"

namespace varve::cli {
namespace {

constexpr char kRevised[] = "2026-11-23";  // of the texts, in the man page's header

// Text as troff reads it: no escapes, no requests, dashes that can be copied to a shell.
std::string roff(const std::string& text) {
  std::string out;
  bool line_start = true;
  for (char c : text) {
    if (line_start && (c == '.' || c == '\'')) out += "\\&";
    line_start = c == '\n';
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else
      out += c;
  }
  return out;
}

// Long lines are no mistake in troff but a warning of its checkers: one sentence or so a line.
std::string roff_lines(const std::string& text) {
  std::string out;
  for (std::string_view line : split(text, '\n')) {
    std::string current;
    for (std::string_view word : split(line, ' ')) {
      if (!current.empty() && current.size() + word.size() > 75) {
        out += roff(current) + '\n';
        current.clear();
      }
      current += (current.empty() ? "" : " ") + std::string(word);
    }
    if (current.empty())
      out += ".PP\n";
    else
      out += roff(current) + '\n';
  }
  return out;
}

std::string option_entry(const OptionModel& option) {
  std::string out = ".TP\n";
  std::string names;
  for (const auto& n : option.names) names += (names.empty() ? "" : ", ") + n;
  out += "\\fB" + roff(names) + "\\fR";
  if (!option.type.empty()) out += " \\fI" + roff(option.type) + "\\fR";
  out += '\n' + roff_lines(option.description + (option.repeatable ? " (may be repeated)" : ""));
  return out;
}

std::string command_section(const CommandModel& command) {
  std::string out = ".SS " + roff(command.usage()) + '\n' + roff_lines(command.summary + '.');
  if (!command.about.empty()) out += ".PP\n" + roff_lines(command.about);
  for (const auto& p : command.positionals)
    out += ".TP\n\\fI" + roff(p.name) + "\\fR\n" + roff_lines(p.description);
  for (const auto& o : command.options) out += option_entry(o);
  for (const auto& e : command.examples)
    out += ".PP\n" + roff_lines(e.what + ':') + ".PP\n.RS 4\n.nf\n" + roff(e.line) + "\n.fi\n.RE\n";
  return out;
}

std::string options_table(const std::vector<OptionModel>& options) {
  std::string out = "| option | |\n| --- | --- |\n";
  for (const auto& o : options) {
    std::string spelled;
    for (char c : o.spelled()) spelled += c == '|' ? std::string("\\|") : std::string(1, c);
    out +=
        fmt::format("| `{}` | {}{}{} |\n", spelled, o.description, o.repeatable ? " (may be repeated)" : "",
                    o.environment.empty() ? "" : fmt::format("; else `${}`", o.environment));
  }
  return out + '\n';
}

}  // namespace

std::string man_page(const CommandModel& root, const std::string& version) {
  std::string out = fmt::format(".TH VARVE 1 \"{}\" \"varve {}\" \"User Commands\"\n", kRevised, version);
  out += ".SH NAME\nvarve \\- " + roff(root.summary) + '\n';
  out += ".SH SYNOPSIS\n.B varve\n.I COMMAND\n[\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]\n";
  out += ".SH DESCRIPTION\n" + roff_lines(root.about);
  out += ".SH COMMANDS\n";
  for (const CommandModel* c : visible_commands(root))
    if (c->commands.empty()) out += command_section(*c);
  out += ".SH OPTIONS\nThese stand before or after the command's name.\n";
  for (const auto& o : root.options) out += option_entry(o);
  out += ".SH EXIT STATUS\n";
  for (const auto& [code, meaning] : exit_statuses())
    out += fmt::format(".TP\n.B {}\n{}", code, roff_lines(meaning));
  out += ".SH ENVIRONMENT\n";
  for (const auto& [variable, meaning] : environment_variables())
    out += fmt::format(".TP\n.B {}\n{}", variable, roff_lines(meaning));
  out +=
      ".SH FILES\n.TP\n.I ./varve.toml, /etc/varve/varve.toml\nThe configuration, unless "
      "\\fB\\-\\-config\\fR "
      "names another.\n";
  return out;
}

std::string markdown_reference(const CommandModel& root) {
  std::string out;
  for (const CommandModel* c : visible_commands(root)) {
    if (!c->commands.empty()) continue;
    out += fmt::format("### {}\n\n`{}`\n\n{}.", c->path, c->usage(), c->summary);
    out += c->about.empty() ? "\n\n" : ' ' + c->about + "\n\n";
    for (const auto& p : c->positionals) out += fmt::format("- `{}`: {}\n", p.name, p.description);
    if (!c->positionals.empty()) out += '\n';
    if (!c->options.empty()) out += options_table(c->options);
    if (c->examples.empty()) continue;
    out += "```sh\n";
    for (const auto& e : c->examples) out += fmt::format("# {}\n{}\n", e.what, e.line);
    out += "```\n\n";
  }
  out += "### Options of every command\n\n" + options_table(root.options);
  out += "### Environment\n\n";
  for (const auto& [variable, meaning] : environment_variables())
    out += fmt::format("- `{}`: {}\n", variable, meaning);
  out += "\n### Exit status\n\n| status | |\n| --- | --- |\n";
  for (const auto& [code, meaning] : exit_statuses()) out += fmt::format("| {} | {} |\n", code, meaning);
  return out;
}

}  // namespace varve::cli
