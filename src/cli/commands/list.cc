#include <fmt/format.h>

#include "base/log.h"
#include "cli/commands/commands.h"
#include "cli/json.h"
#include "cli/session.h"
#include "cli/words.h"

namespace varve::cli {
namespace {

struct Options {
  std::string source;
  std::vector<std::string> fallback;
};

Result<int> run(Session& session, const Options& o) {
  TRY_ASSIGN(repo::RepositoryPtr repo,
             session.open(o.source, Session::Access::kRead, {o.fallback, !o.fallback.empty()}));
  TRY_ASSIGN(const std::vector<std::string> names, session.stored_sources(*repo, o.source));
  std::vector<backup::SourceState> states;
  for (const auto& name : names) {
    TRY_ASSIGN(auto state, backup::load_source(*repo, session.ctx(), name));
    states.push_back(std::move(state));
  }
  for (const auto& n : session.fallback_notes()) log::warn("{}", n);
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
  auto o = std::make_shared<Options>();
  root.command("list", "backups, and the windows in which any moment can be recovered")
      .positional("SOURCE", o->source, kOneSourceHelp)
      .option("--fallback", o->fallback, "REPO", kFallbackHelp)
      .example("varve list", "everything in the repository")
      .example("varve list app.db --json", "one source, for a program")
      .action([o](Session& s) { return run(s, *o); });
}

}  // namespace varve::cli
