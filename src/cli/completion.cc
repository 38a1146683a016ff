// Completions for three shells, from the table of commands. Each script finds the command that the words so
// far name, then offers its commands and options, the words a value is limited to, or files.
#include <fmt/format.h>
#include <functional>

#include "cli/model.h"

namespace varve::cli {
namespace {

std::string quoted(const std::string& text) {
  std::string out = "'";
  for (char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string out;
  for (const auto& w : words) out += (out.empty() ? "" : between) + w;
  return out;
}

std::vector<const CommandModel*> with_root(const CommandModel& root) {
  auto out = visible_commands(root);
  out.insert(out.begin(), &root);
  return out;
}

std::vector<OptionModel> options_of(const CommandModel& command, const CommandModel& root) {
  auto out = command.options;
  if (command.path != root.path) out.insert(out.end(), root.options.begin(), root.options.end());
  return out;
}

// "a"|"b": the paths at which a word is a command's name, as a shell's case pattern.
std::string path_patterns(const CommandModel& root) {
  std::string out;
  for (const CommandModel* c : visible_commands(root)) out += (out.empty() ? "" : "|") + quoted(c->path);
  return out;
}

std::string one_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

// Cases that say what follows an option which takes a value: its words, or files.
std::string value_cases(const CommandModel& root,
                        const std::function<std::string(const std::string&)>& offer_words,
                        const std::string& offer_files) {
  std::string out;
  for (const CommandModel* c : with_root(root)) {
    for (const auto& o : c->options) {
      if (o.type.empty()) continue;
      std::vector<std::string> patterns;
      for (const auto& n : o.names)
        patterns.push_back((c == &root ? std::string("*") : quoted(c->path)) + ":" + n);
      const auto choices = o.choices();
      out += fmt::format("    {}) {}; return ;;\n", joined(patterns, "|"),
                         choices.empty() ? offer_files : offer_words(joined(choices, " ")));
    }
  }
  return out;
}

std::string bash_script(const CommandModel& root) {
  std::string out =
      "# bash completion for varve, written by `varve completion bash`\n_varve() {\n"
      "  local cur=\"${COMP_WORDS[COMP_CWORD]}\" prev=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
      "  local at=varve i commands='' options=''\n  COMPREPLY=()\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n    case \"$at ${COMP_WORDS[i]}\" in\n      " +
      path_patterns(root) +
      ") at=\"$at ${COMP_WORDS[i]}\" ;;\n    esac\n  done\n"
      "  case \"$at:$prev\" in\n";
  out += value_cases(
      root,
      [](const std::string& words) {
        return fmt::format("COMPREPLY=($(compgen -W {} -- \"$cur\"))", quoted(words));
      },
      "COMPREPLY=()");
  out += "  esac\n  case \"$at\" in\n";
  for (const CommandModel* c : with_root(root)) {
    std::vector<std::string> commands, options;
    for (const auto& below : c->commands)
      if (!below.is_hidden) commands.push_back(below.name);
    for (const auto& o : options_of(*c, root)) options.insert(options.end(), o.names.begin(), o.names.end());
    out += fmt::format("    {}) commands={} options={} ;;\n", quoted(c->path), quoted(joined(commands, " ")),
                       quoted(joined(options, " ")));
  }
  out +=
      "  esac\n  if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W \"$options\" -- \"$cur\"))\n"
      "  elif [[ -n $commands ]]; then COMPREPLY=($(compgen -W \"$commands\" -- \"$cur\")); fi\n}\n"
      "complete -o bashdefault -o default -F _varve varve\n";
  return out;
}

// _describe splits a name from its description at the first colon.
std::string zsh_item(const std::string& name, const std::string& description) {
  return quoted(name + ":" + one_line(description));
}

std::string zsh_script(const CommandModel& root) {
  std::string out =
      "#compdef varve\n# zsh completion for varve, written by `varve completion zsh`\n_varve() {\n"
      "  local at=varve i\n  local -a commands options\n"
      "  for ((i = 2; i < CURRENT; i++)); do\n    case \"$at ${words[i]}\" in\n      " +
      path_patterns(root) +
      ") at=\"$at ${words[i]}\" ;;\n    esac\n  done\n"
      "  case \"$at:${words[CURRENT-1]}\" in\n";
  out += value_cases(
      root, [](const std::string& words) { return "compadd -- " + words; }, "_files");
  out += "  esac\n  case \"$at\" in\n";
  for (const CommandModel* c : with_root(root)) {
    std::string commands, options;
    for (const auto& below : c->commands)
      if (!below.is_hidden) commands += " " + zsh_item(below.name, below.summary);
    for (const auto& o : options_of(*c, root))
      for (const auto& n : o.names) options += " " + zsh_item(n, o.description);
    out += fmt::format("    {})\n      commands=({})\n      options=({}) ;;\n", quoted(c->path), commands,
                       options);
  }
  out +=
      "  esac\n  if [[ ${words[CURRENT]} == -* ]]; then _describe -o option options\n"
      "  elif (( ${#commands} )); then _describe command commands\n  else _files; fi\n}\n"
      "if [[ ${funcstack[1]} == _varve ]]; then _varve \"$@\"; else compdef _varve varve; fi\n";
  return out;
}

// fish quotes with ' as well, and wants \' inside.
std::string fish_quoted(const std::string& text) {
  std::string out = "'";
  for (char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

std::string fish_script(const CommandModel& root) {
  std::string out =
      "# fish completion for varve, written by `varve completion fish`\nfunction __varve_at\n"
      "  set -l at varve\n  for word in (commandline -opc)[2..-1]\n    switch \"$at $word\"\n      case";
  for (const CommandModel* c : visible_commands(root)) out += " " + fish_quoted(c->path);
  out += "\n        set at \"$at $word\"\n    end\n  end\n  test \"$at\" = \"$argv\"\nend\n";
  for (const CommandModel* c : with_root(root)) {
    const std::string at = "-n " + fish_quoted("__varve_at " + c->path);
    for (const auto& below : c->commands) {
      if (below.is_hidden) continue;
      out += fmt::format("complete -c varve -f {} -a {} -d {}\n", at, below.name,
                         fish_quoted(one_line(below.summary)));
    }
    for (const auto& o : c->options) {
      out += "complete -c varve " + (c == &root ? std::string() : at + " ");
      for (const auto& n : o.names)
        out += n.size() == 2 ? "-s " + n.substr(1) + " " : "-l " + n.substr(2) + " ";
      const auto choices = o.choices();
      if (!choices.empty())
        out += "-x -a " + fish_quoted(joined(choices, " ")) + " ";
      else if (!o.type.empty())
        out += "-r ";
      out += "-d " + fish_quoted(one_line(o.description)) + "\n";
    }
  }
  return out;
}

}  // namespace

Result<std::string> completion_script(const CommandModel& root, const std::string& shell) {
  if (shell == "bash") return bash_script(root);
  if (shell == "zsh") return zsh_script(root);
  if (shell == "fish") return fish_script(root);
  return fail(Code::kUsage, fmt::format("no completions for the shell \"{}\"", shell),
              "there are: bash, zsh, fish");
}

}  // namespace varve::cli
