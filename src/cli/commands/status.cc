#include <fmt/format.h>

#include "base/log.h"
#include "cli/commands/commands.h"
#include "cli/json.h"
#include "cli/session.h"
#include "cli/words.h"

namespace varve::cli {
namespace {

// The trail is kept for ever; a proof older than this is as good as none.
constexpr auto kTrail = std::chrono::hours(24 * 400);

struct Options {
  std::string source;
  std::vector<std::string> fallback;
};

Result<int> run(Session& session, const Options& o) {
  TRY_ASSIGN(repo::RepositoryPtr repo,
             session.open(o.source, Session::Access::kRead, {o.fallback, !o.fallback.empty()}));
  TRY_ASSIGN(const std::vector<std::string> names, session.stored_sources(*repo, o.source));
  TRY_ASSIGN(const auto events, repo::list_events(*repo, session.ctx(), now() - kTrail));
  RepositoryStatus status;
  status.repository = repo->store().describe();
  status.encrypted = repo->encrypted();
  bool recoverable = true;
  for (const auto& name : names) {
    TRY_ASSIGN(const auto state, backup::load_source(*repo, session.ctx(), name));
    for (const auto& m : state.backups.manifests) status.stored += m.stored;
    status.sources.push_back(assess(state, events));
    recoverable = recoverable && status.sources.back().recoverable;
  }
  for (const auto& n : session.fallback_notes()) log::warn("{}", n);
  session.out().object(json_status(status));
  std::string text;
  for (const auto& s : status.sources)
    text += (text.empty() ? "" : "\n") + status_text(s, now(), session.out().style());
  session.out().text(text);
  if (names.empty()) session.out().line("no backups yet: varve backup sqlite:app.db");
  return recoverable ? 0 : exit_code(Code::kDamaged);
}

}  // namespace

void declare_status(Command root) {
  auto o = std::make_shared<Options>();
  root.command("status", "can I get it back, to which moment, how fast, and when was that last proven?",
               "Ends with 4 when a source cannot be recovered at all.")
      .positional("SOURCE", o->source, kOneSourceHelp)
      .option("--fallback", o->fallback, "REPO", kFallbackHelp)
      .example("varve status", "every source of the repository")
      .action([o](Session& s) { return run(s, *o); });
}

}  // namespace varve::cli
