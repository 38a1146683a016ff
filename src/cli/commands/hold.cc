#include "repo/hold.h"

#include <fmt/format.h>

#include "base/text.h"
#include "cli/commands/commands.h"
#include "cli/json.h"
#include "cli/session.h"
#include "cli/words.h"

namespace varve::cli {
namespace {

struct Options {
  std::string source, backup, reason;
};

struct Held {
  repo::RepositoryPtr repo;
  std::string source, backup;
};

Result<Held> find(Session& session, Options o) {
  // One argument alone is the backup.
  if (o.backup.empty()) std::swap(o.source, o.backup);
  if (o.backup.empty()) return fail(Code::kUsage, "which backup?", session.typed("latest"));
  Held out;
  TRY_ASSIGN(out.repo, session.open(o.source, Session::Access::kWrite));
  TRY_ASSIGN(out.source, session.stored_source(*out.repo, o.source));
  TRY_ASSIGN(out.backup, session.stored_backup(*out.repo, out.source, o.backup));
  return out;
}

Result<int> run_place(Session& session, const Options& o) {
  TRY_ASSIGN(const Held h, find(session, o));
  TRY_OK(repo::place_hold(*h.repo, session.ctx(), h.source, h.backup, o.reason));
  session.record(*h.repo, "hold-place", h.source, h.backup, "done", o.reason);
  session.out().object(json_hold_change("placed", h.source, h.backup));
  session.out().line(
      fmt::format("{} of {} is held: varve expire will not remove it", h.backup, printable(h.source)));
  return 0;
}

Result<int> run_release(Session& session, const Options& o) {
  TRY_ASSIGN(const Held h, find(session, o));
  TRY_OK(repo::release_hold(*h.repo, session.ctx(), h.source, h.backup));
  session.record(*h.repo, "hold-release", h.source, h.backup, "done", "");
  session.out().object(json_hold_change("released", h.source, h.backup));
  session.out().line(fmt::format("{} of {} is held no longer", h.backup, printable(h.source)));
  return 0;
}

Result<int> run_list(Session& session, const Options& o) {
  TRY_ASSIGN(repo::RepositoryPtr repo, session.open(o.source, Session::Access::kRead));
  TRY_ASSIGN(const auto names, session.stored_sources(*repo, o.source));
  std::vector<SourceHold> holds;
  Table table({{"source", Table::Align::kLeft},
               {"backup", Table::Align::kLeft},
               {"since", Table::Align::kLeft},
               {"by", Table::Align::kLeft},
               {"reason", Table::Align::kLeft}});
  for (const auto& name : names) {
    TRY_ASSIGN(const auto list, repo::list_holds(*repo, session.ctx(), name));
    for (const auto& h : list) {
      holds.push_back({name, h});
      table.add({printable(name), h.backup, to_local(h.created), printable(h.user), printable(h.reason)});
    }
  }
  session.out().object(json_holds(holds));
  session.out().text(table.empty() ? "no backup is held\n" : table.render(session.out().style()));
  return 0;
}

}  // namespace

void declare_hold(Command root) {
  auto o = std::make_shared<Options>();
  Command hold = root.command("hold", "backups that no retention may remove");
  hold.command("place", "keep a backup whatever the retention says")
      .positional("SOURCE", o->source, kSourceHelp)
      .positional("BACKUP", o->backup, kBackupHelp)
      .option("--reason", o->reason, "TEXT", "Why, for those who find it later")
      .example("varve hold place app.db latest --reason 'before the migration'", "keep the newest backup")
      .action([o](Session& s) { return run_place(s, *o); });
  hold.command("release", "leave a backup to the retention again")
      .positional("SOURCE", o->source, kSourceHelp)
      .positional("BACKUP", o->backup, kBackupHelp)
      .example("varve hold release app.db latest", "the retention decides again")
      .action([o](Session& s) { return run_release(s, *o); });
  hold.command("list", "the backups under hold")
      .positional("SOURCE", o->source, kOneSourceHelp)
      .example("varve hold list", "in the whole repository")
      .action([o](Session& s) { return run_list(s, *o); });
}

}  // namespace varve::cli
