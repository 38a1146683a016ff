// The one table of commands and options. Declared here once; parsing, help, completions, man page and
// reference all come from it (model.h reads it back). CLI11 stays inside command_line.cc and model.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace CLI {
class App;
}

namespace varve::cli {

class Session;
// The process's exit status, or what went wrong.
using Action = std::function<Result<int>(Session&)>;

// How a value is read and completed: "FILE", "DIR", "SOURCE", "POINT", …; words joined by '|' are the only
// ones allowed. Values live as long as the command line does (the commands keep them in shared structures).
class Command {
 public:
  explicit Command(CLI::App* app, Action* chosen) : app_(app), chosen_(chosen) {}
  // A command below this one. Hidden ones work but are not told.
  Command command(const std::string& name, const std::string& summary, const std::string& about = {});
  Command& hidden();
  Command& flag(const std::string& names, bool& value, const std::string& description);
  Command& option(const std::string& names, std::string& value, const std::string& type,
                  const std::string& description);
  Command& option(const std::string& names, std::optional<std::string>& value, const std::string& type,
                  const std::string& description);
  Command& option(const std::string& names, std::optional<uint32_t>& value, const std::string& type,
                  const std::string& description);
  // May be given more than once.
  Command& option(const std::string& names, std::vector<std::string>& value, const std::string& type,
                  const std::string& description);
  // Names the environment variable that is read when the option just declared is not given.
  Command& environment(const std::string& variable);
  Command& positional(const std::string& name, std::string& value, const std::string& description,
                      bool required = false);
  // Any number of them.
  Command& positional(const std::string& name, std::vector<std::string>& value,
                      const std::string& description);
  // A whole command line that works as it stands, and what it does.
  Command& example(const std::string& line, const std::string& what);
  // A command with others below it and no action needs one of them.
  Command& action(Action action);

 private:
  CLI::App* app_;
  Action* chosen_;
};

class CommandLine {
 public:
  CommandLine(const std::string& name, const std::string& summary, const std::string& about);
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  Command root();
  const CLI::App& app() const { return *app_; }

  struct Parsed {
    Action action;  // empty: print `text` and end with `exit_code`
    std::string text;
    int exit_code = 0;
    std::string command;  // "log follow"
  };
  // kUsage with the nearest command or option as a hint.
  Result<Parsed> parse(const std::vector<std::string>& arguments);

 private:
  std::unique_ptr<CLI::App> app_;
  Action chosen_;
};

}  // namespace varve::cli
