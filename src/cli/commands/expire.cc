#include "backup/expire.h"

#include <fmt/format.h>

#include "base/text.h"
#include "cli/commands/commands.h"
#include "cli/json.h"
#include "cli/session.h"
#include "cli/values.h"
#include "cli/words.h"

namespace varve::cli {
namespace {

struct Options {
  std::string source, window;
  std::optional<uint32_t> last, daily, weekly, monthly, yearly;
  bool dry_run = false;
};

// By flags altogether, or by the plan: a mixture would keep less than either says.
Result<plan::Retention> retention_of(Session& session, const Options& o, const std::string& source) {
  plan::Retention out;
  out.last = o.last.value_or(0);
  out.daily = o.daily.value_or(0);
  out.weekly = o.weekly.value_or(0);
  out.monthly = o.monthly.value_or(0);
  out.yearly = o.yearly.value_or(0);
  if (!o.window.empty()) {
    TRY_ASSIGN(out.window, duration_value("--window", o.window));
  }
  if (!out.empty()) return out;
  const bool any_flag = o.last || o.daily || o.weekly || o.monthly || o.yearly;
  TRY_ASSIGN(const plan::Configuration* config, session.configuration());
  const auto known = config->sources.find(source);
  if (!any_flag && known != config->sources.end() && !known->second.plan.empty()) {
    const auto& plan = config->plans.at(known->second.plan);
    if (!plan.retention.empty()) return plan.retention;
    return fail(Code::kUsage, fmt::format("the plan {} of {} has no retention", plan.name, printable(source)),
                fmt::format("in {}: retention = {{ last = 2, daily = 14 }}", printable(config->path)));
  }
  return fail(Code::kUsage, "nothing says what to keep",
              fmt::format("{}\nor give the source a plan with a retention in varve.toml",
                          session.typed("--keep-last 3 --keep-daily 14 --keep-weekly 8")));
}

std::string report_text(const backup::ExpireReport& r, const Style& style) {
  Table table({{"backup", Table::Align::kLeft}, {"", Table::Align::kLeft}, {"because", Table::Align::kLeft}});
  for (const auto& line : r.backups) {
    std::string reasons;
    for (const auto& reason : line.reasons) reasons += (reasons.empty() ? "" : ", ") + printable(reason);
    table.add({line.backup, line.keep ? style.green("keep") : style.yellow("remove"), reasons});
  }
  std::string out = table.empty() ? "" : table.render(style);
  if (r.removed_backups == 0 && r.removed_pieces == 0) return out + "nothing to remove\n";
  out += fmt::format("{} {}", r.dry_run ? "would remove" : "removed",
                     counted(r.removed_backups, "backup", "backups"));
  if (r.removed_pieces > 0)
    out += fmt::format(" and {} of the log ({})", counted(r.removed_pieces, "piece", "pieces"),
                       human_size(r.removed_bytes));
  out += '\n';
  if (!r.dry_run) out += "varve gc gives back the space of what only they needed\n";
  return out;
}

Result<int> run(Session& session, const Options& o) {
  TRY_ASSIGN(repo::RepositoryPtr repo,
             session.open(o.source, o.dry_run ? Session::Access::kRead : Session::Access::kWrite));
  TRY_ASSIGN(const std::string source, session.stored_source(*repo, o.source));
  TRY_ASSIGN(const plan::Retention retention, retention_of(session, o, source));
  auto report = backup::expire(*repo, session.ctx(), source, retention, now(), o.dry_run);
  if (!report) {
    if (!o.dry_run) session.record(*repo, "expire", source, "", "failed", report.error().describe());
    return fail(std::move(report).error());
  }
  if (!o.dry_run)
    session.record(*repo, "expire", source, "", "done",
                   fmt::format("backups={} pieces={}", report->removed_backups, report->removed_pieces));
  session.out().object(json_expire(source, *report));
  session.out().text(report_text(*report, session.out().style()));
  return 0;
}

}  // namespace

void declare_expire(Command root) {
  auto o = std::make_shared<Options>();
  root.command("expire", "remove backups and log that the retention does not keep",
               "By the plan of the source, or by the --keep options. Days, weeks, months and years are those "
               "of UTC; of "
               "each, the newest backup is kept. Never removed: the newest good backup, one under hold, and "
               "what a "
               "kept stretch of log stands on.")
      .positional("SOURCE", o->source, kSourceHelp)
      .option("--keep-last", o->last, "N", "The last N")
      .option("--keep-daily", o->daily, "N", "One of each of the last N days that have any")
      .option("--keep-weekly", o->weekly, "N", "One of each of the last N weeks (ISO) that have any")
      .option("--keep-monthly", o->monthly, "N", "One of each of the last N months that have any")
      .option("--keep-yearly", o->yearly, "N", "One of each of the last N years that have any")
      .option("--window", o->window, "DURATION",
              "Any moment of the last DURATION stays recoverable, such as 35d")
      .flag("--dry-run", o->dry_run, "Only tell what would go")
      .example("varve expire app.db --keep-last 2 --keep-daily 7 --dry-run", "what would go")
      .example("varve expire app.db --keep-last 2 --keep-daily 7 --window 7d", "remove it")
      .action([o](Session& s) { return run(s, *o); });
}

}  // namespace varve::cli
