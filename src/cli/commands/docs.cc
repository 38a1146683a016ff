// What is generated from the table of commands itself: completions, the man page, the reference.
#include <fmt/format.h>

#include "cli/commands/commands.h"
#include "cli/model.h"
#include "cli/session.h"

namespace varve::cli {

void declare_completion(Command root, const CommandLine& line) {
  auto shell = std::make_shared<std::string>();
  root.command("completion", "completions for a shell",
               "Writes a script for bash, zsh or fish to standard output.")
      .positional("SHELL", *shell, "bash, zsh or fish", true)
      .example("varve completion bash > varve.bash",
               "for bash: source it, or put it into /etc/bash_completion.d")
      .action([shell, &line](Session& s) -> Result<int> {
        TRY_ASSIGN(const std::string script, completion_script(describe(line.app()), *shell));
        s.out().raw(script);
        return 0;
      });
}

void declare_docs(Command root, const CommandLine& line) {
  Command docs = root.command("docs", "texts for packages");
  docs.hidden();
  docs.command("man", "the man page").action([&line](Session& s) -> Result<int> {
    s.out().raw(man_page(describe(line.app()), VARVE_VERSION));
    return 0;
  });
  docs.command("markdown", "the reference of docs/cli.md").action([&line](Session& s) -> Result<int> {
    s.out().raw(markdown_reference(describe(line.app())));
    return 0;
  });
}

}  // namespace varve::cli
