#include "cli/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"
#include "cli/model.h"

namespace varve::cli {
namespace {

CLI::App* deepest(CLI::App* app) {
  for (auto below = app->get_subcommands(); !below.empty(); below = app->get_subcommands())
    app = below.front();
  return app;
}

CLI::App* top(CLI::App* app) {
  while (app->get_parent()) app = app->get_parent();
  return app;
}

std::string path_of(const CLI::App* app) {
  std::string out = app->get_name();
  for (const CLI::App* up = app->get_parent(); up; up = up->get_parent()) out = up->get_name() + " " + out;
  return out;
}

std::vector<std::string> command_names(const CLI::App* app) {
  std::vector<std::string> out;
  for (const CLI::App* c : app->get_subcommands([](const CLI::App* a) { return !a->get_group().empty(); }))
    out.push_back(c->get_name());
  return out;
}

std::vector<std::string> option_names(const CLI::App* app) {
  std::vector<std::string> out;
  for (; app; app = app->get_parent()) {
    for (const CLI::Option* o : app->get_options()) {
      for (const auto& name : o->get_lnames()) out.push_back("--" + name);
    }
  }
  return out;
}

std::string joined(const std::vector<std::string>& words, std::string_view between) {
  std::string out;
  for (const auto& w : words) out += (out.empty() ? "" : std::string(between)) + w;
  return out;
}

Error unknown_command(CLI::App* at, const std::string& word) {
  const auto names = command_names(at);
  const std::string path = path_of(at);
  if (word.empty())
    return {Code::kUsage, fmt::format("{} needs a command", path), "one of: " + joined(names, ", ")};
  Error error{Code::kUsage, fmt::format("unknown command \"{} {}\"", path, printable(word))};
  if (const auto near = nearest(word, names, 1); !near.empty()) {
    error.hint = fmt::format("did you mean \"{} {}\"?", path, near[0]);
  } else {
    error.hint = fmt::format("commands: {}", joined(names, ", "));
  }
  return error;
}

Error unexpected(CLI::App* at, const std::vector<std::string>& extras) {
  const std::string& word = extras.front();
  const std::string see = fmt::format("see {} --help", path_of(at));
  if (word.size() > 1 && word[0] == '-') {
    const std::string name = word.substr(0, word.find('='));
    Error error{Code::kUsage, fmt::format("unknown option {}", printable(name)), see};
    if (const auto near = nearest(name, option_names(at), 1); !near.empty())
      error.hint = fmt::format("did you mean {}? Or {}", near[0], see);
    return error;
  }
  return {Code::kUsage, fmt::format("{} does not expect \"{}\"", path_of(at), printable(word)), see};
}

std::string lower_first(std::string text) {
  if (!text.empty() && text.size() > 1 && !(text[1] >= 'A' && text[1] <= 'Z'))
    text[0] = to_lower(text.substr(0, 1))[0];
  return text;
}

Error from_parser(CLI::App& root, const CLI::ParseError& e) {
  CLI::App* at = deepest(&root);
  const std::vector<std::string> extras = root.remaining(true);
  if (const auto bare =
          std::find_if(extras.begin(), extras.end(), [](const auto& w) { return w.empty() || w[0] != '-'; });
      !at->get_subcommands([](const CLI::App*) { return true; }).empty() &&
      at->get_require_subcommand_min() > 0) {
    if (bare == extras.end() && !extras.empty()) return unexpected(at, extras);
    return unknown_command(at, bare == extras.end() ? "" : *bare);
  }
  if (!extras.empty()) return unexpected(at, extras);
  const std::string see = fmt::format("see {} --help", path_of(at));
  if (dynamic_cast<const CLI::RequiredError*>(&e)) {
    std::string message = lower_first(e.what());
    if (const size_t cut = message.find(" is required"); cut != std::string::npos)
      message = fmt::format("{} needs {}", path_of(at), std::string(e.what()).substr(0, cut));
    return {Code::kUsage, message, see};
  }
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&e)) {
    const std::string what = e.what(), name = what.substr(0, what.find(':'));
    if (what.find("missing") != std::string::npos)
      return {Code::kUsage, fmt::format("{} needs a value", name), see};
    return {Code::kUsage, fmt::format("{} is given more than once", name), see};
  }
  return {Code::kUsage, lower_first(printable(e.what())), see};
}

std::string check_choice(const std::vector<std::string>& choices, const std::string& value) {
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return {};
  return fmt::format("\"{}\" is none of {}", printable(value), joined(choices, ", "));
}

void set_type(CLI::Option* option, const std::string& type) {
  option->type_name(type);
  if (type.find('|') == std::string::npos) return;
  std::vector<std::string> choices;
  for (auto word : split(type, '|')) choices.emplace_back(word);
  option->check([choices](const std::string& value) { return check_choice(choices, value); }, "");
}

std::string check_number(const std::string& value) {
  const bool digits = !value.empty() && value.size() <= 9 &&
                      std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; });
  return digits ? "" : fmt::format("\"{}\" is not a whole number", printable(value));
}

}  // namespace

Command Command::command(const std::string& name, const std::string& summary, const std::string& about) {
  CLI::App* below = app_->add_subcommand(name, about.empty() ? summary : summary + "\n\n" + about);
  below->fallthrough();
  app_->require_subcommand(1);
  return Command(below, chosen_);
}

Command& Command::hidden() {
  app_->group("");
  return *this;
}

Command& Command::flag(const std::string& names, bool& value, const std::string& description) {
  app_->add_flag(names, value, description)->disable_flag_override();
  return *this;
}

Command& Command::option(const std::string& names, std::string& value, const std::string& type,
                         const std::string& description) {
  set_type(app_->add_option(names, value, description), type);
  return *this;
}

Command& Command::option(const std::string& names, std::optional<std::string>& value, const std::string& type,
                         const std::string& description) {
  set_type(app_->add_option_function<std::string>(
               names, [&value](const std::string& text) { value = text; }, description),
           type);
  return *this;
}

Command& Command::option(const std::string& names, std::optional<uint32_t>& value, const std::string& type,
                         const std::string& description) {
  CLI::Option* option = app_->add_option_function<uint32_t>(
      names, [&value](uint32_t number) { value = number; }, description);
  option->type_name(type)->check(check_number, "");
  return *this;
}

Command& Command::option(const std::string& names, std::vector<std::string>& value, const std::string& type,
                         const std::string& description) {
  CLI::Option* option = app_->add_option(names, value, description);
  option->allow_extra_args(false);
  set_type(option, type);
  return *this;
}

Command& Command::environment(const std::string& variable) {
  app_->get_options().back()->envname(variable);
  return *this;
}

Command& Command::positional(const std::string& name, std::string& value, const std::string& description,
                             bool required) {
  app_->add_option(name, value, description)->required(required);
  return *this;
}

Command& Command::positional(const std::string& name, std::vector<std::string>& value,
                             const std::string& description) {
  app_->add_option(name, value, description);
  return *this;
}

Command& Command::example(const std::string& line, const std::string& what) {
  app_->footer(app_->get_footer() + line + '\n' + what + '\n');
  return *this;
}

Command& Command::action(Action action) {
  app_->callback([action = std::move(action), chosen = chosen_] { *chosen = action; });
  return *this;
}

CommandLine::CommandLine(const std::string& name, const std::string& summary, const std::string& about)
    : app_(std::make_unique<CLI::App>(summary + "\n\n" + about, name)) {
  app_->set_help_flag("-h,--help", "Show this help");
  app_->set_version_flag("--version", "varve " VARVE_VERSION, "Show the version");
}

CommandLine::~CommandLine() = default;

Command CommandLine::root() {
  return Command(app_.get(), &chosen_);
}

Result<CommandLine::Parsed> CommandLine::parse(const std::vector<std::string>& arguments) {
  const auto help = [&] {
    const CommandModel model = describe(*app_);
    const CLI::App* at = deepest(app_.get());
    if (at == app_.get()) return help_text(model, model);
    return help_text(describe(*at, path_of(at->get_parent())), model);
  };
  if (arguments.empty()) return Parsed{{}, help(), exit_code(Code::kUsage), {}};
  try {
    app_->parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::CallForHelp&) {
    return Parsed{{}, help(), 0, {}};
  } catch (const CLI::CallForVersion& e) {
    return Parsed{{}, std::string(e.what()) + "\n", 0, {}};
  } catch (const CLI::ParseError& e) {
    return fail(from_parser(*top(app_.get()), e));
  } catch (const std::exception& e) {
    return fail(Code::kInternal, fmt::format("the command line could not be read: {}", e.what()));
  }
  const std::string path = path_of(deepest(app_.get()));
  return Parsed{chosen_, {}, 0, path.substr(app_->get_name().size() + 1)};
}

}  // namespace varve::cli
