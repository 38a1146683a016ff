// The table of commands read back from the parser as plain data: what help, man page, reference and
// completions show.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cli/command_line.h"

namespace varve::cli {

struct OptionModel {
  std::vector<std::string> names;  // "-q", "--quiet"
  std::string type;                // empty: a flag
  std::string description, environment;
  bool repeatable = false;
  // The words a value is limited to; empty: any.
  std::vector<std::string> choices() const;
  std::string spelled() const;  // "-q, --quiet", "--to POINT"
};
struct PositionalModel {
  std::string name, description;
  bool required = false, repeatable = false;
};
struct ExampleModel {
  std::string line, what;
};
struct CommandModel {
  std::string name, path;  // "follow", "varve log follow"
  std::string summary, about;
  std::vector<OptionModel> options;
  std::vector<PositionalModel> positionals;
  std::vector<ExampleModel> examples;
  std::vector<CommandModel> commands;
  bool is_hidden = false;
  std::string usage() const;  // "varve show [OPTIONS] [SOURCE] BACKUP"
};

CommandModel describe(const CLI::App& app, const std::string& above = {});
// Every command that is told, depth first, without the root.
std::vector<const CommandModel*> visible_commands(const CommandModel& root);

// What the process's exit status and the environment mean, for help, man page and reference alike.
const std::vector<std::pair<int, std::string>>& exit_statuses();
const std::vector<std::pair<std::string, std::string>>& environment_variables();

// One page of `--help`. `root` gives the options that every command takes.
std::string help_text(const CommandModel& command, const CommandModel& root);
std::string man_page(const CommandModel& root, const std::string& version);
std::string markdown_reference(const CommandModel& root);
// kUsage for another shell than bash, zsh and fish.
Result<std::string> completion_script(const CommandModel& root, const std::string& shell);

}  // namespace varve::cli
