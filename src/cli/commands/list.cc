#include <fmt/format.h>

#include "cli/commands/commands.h"
#include "cli/json.h"
#include "cli/session.h"
#include "cli/words.h"

namespace varve::cli {
namespace {

Result<int> run(Session& session, const std::string& source) {
  TRY_ASSIGN(repo::RepositoryPtr repo, session.open(source, Session::Access::kRead));
  TRY_ASSIGN(const std::vector<std::string> names, session.stored_sources(*repo, source));
  std::vector<backup::SourceState> states;
  for (const auto& name : names) {
    TRY_ASSIGN(auto state, backup::load_source(*repo, session.ctx(), name));
    states.push_back(std::move(state));
  }
  session.out().object(json_list(states));
  if (states.empty()) session.out().line("no backups yet: varve backup sqlite:app.db");
  std::string text;
  for (const auto& state : states)
    text += (text.empty() ? "" : "\n") + source_text(state, now(), session.out().style());
  session.out().text(text);
  return 0;
}

}  // namespace

void declare_list(Command root) {
  auto source = std::make_shared<std::string>();
  root.command("list", "backups, and the windows in which any moment can be recovered")
      .positional("SOURCE", *source, kOneSourceHelp)
      .example("varve list", "everything in the repository")
      .example("varve list app.db --json", "one source, for a program")
      .action([source](Session& s) { return run(s, *source); });
}

}  // namespace varve::cli
