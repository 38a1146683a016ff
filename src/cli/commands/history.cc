#include "backup/history.h"

#include <fmt/format.h>

#include "cli/commands/commands.h"
#include "cli/json.h"
#include "cli/session.h"
#include "cli/values.h"
#include "cli/words.h"

namespace varve::cli {
namespace {

struct Options {
  std::string source, since, until, table;
};

// For people: the way back to just before the last loss.
std::string way_back(const Options& o, const backup::SourceState& state, const engine::Event& event,
                     const Style& style) {
  std::vector<std::string> words = {"varve", "restore", o.source.empty() ? state.source : o.source, "--to",
                                    "before:" + event.xid};
  if (event.kind != "drop_table" && !event.table.empty()) {
    words.insert(words.end(), {"--table", event.table});
  }
  words.insert(words.end(), {"--target", state.engine == "sqlite" ? "restored.db" : "/srv/restored"});
  return fmt::format("to go back to just before the last {}:\n  {}",
                     event.kind == "drop_table" ? "dropped table" : event.kind,
                     style.bold(shell_words(words)));
}

Result<int> run(Session& session, const Options& o) {
  backup::HistoryQuery query;
  query.table = o.table;
  if (!o.since.empty()) {
    TRY_ASSIGN(query.since, moment_value("--since", o.since));
  }
  if (!o.until.empty()) {
    TRY_ASSIGN(query.until, moment_value("--until", o.until));
  }
  TRY_ASSIGN(repo::RepositoryPtr repo, session.open(o.source, Session::Access::kRead));
  TRY_ASSIGN(const std::string source, session.stored_source(*repo, o.source));
  TRY_ASSIGN(const auto state, backup::load_source(*repo, session.ctx(), source));

  const Output& out = session.out();
  uint64_t events = 0;
  std::optional<engine::Event> last_loss;
  if (out.json()) out.raw(json_history_begin());
  const auto done =
      backup::for_each_event(repo, session.ctx(), state, query, [&](const engine::Event& event) -> Result<> {
        if (out.json())
          out.raw((events > 0 ? ",\n" : "\n") + json_event(event));
        else if (events == 0)
          out.line(history_header(out.style()));
        out.line(is_destructive(event) ? out.style().yellow(history_line(event)) : history_line(event));
        ++events;
        if (is_destructive(event) && !event.xid.empty()) last_loss = event;
        return {};
      });
  if (!done) {
    // The document is begun already: it ends with the error inside, and only standard error tells it again.
    if (!out.json()) return fail(done.error());
    out.raw(json_history_end(done.error()) + "\n");
    Output(false, false).error(done.error());
    return exit_code(done.error().code);
  }
  if (out.json()) out.raw(json_history_end() + "\n");
  if (events == 0)
    out.line(state.epochs.empty()
                 ? "the log of this source is not followed, so there is no history: varve log follow"
                 : "nothing happened in that time");
  if (last_loss) out.line("\n" + way_back(o, state, *last_loss, out.style()));
  return 0;
}

}  // namespace

void declare_history(Command root) {
  auto o = std::make_shared<Options>();
  root.command(
          "history", "what happened to a source, and which transaction did it",
          "From the followed log: commits with their time and the tables they changed. The position of the "
          "transaction that did the damage is what varve restore --to before:N takes.")
      .positional("SOURCE", o->source, kSourceHelp)
      .option("--since", o->since, "TIME", "From this moment on, such as \"2 hours ago\"")
      .option("--until", o->until, "TIME", "Up to this moment")
      .option("--table", o->table, "NAME", "Only what happened to this table")
      .example("varve history app.db --since '2 hours ago'", "the last two hours")
      .example("varve history app.db --table orders", "what happened to one table")
      .action([o](Session& s) { return run(s, *o); });
}

}  // namespace varve::cli
