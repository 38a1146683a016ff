#include <fmt/format.h>

#include "base/text.h"
#include "cli/commands/commands.h"
#include "cli/json.h"
#include "cli/session.h"
#include "cli/values.h"
#include "cli/words.h"
#include "repo/collect.h"

namespace varve::cli {
namespace {

struct Options {
  std::string grace, unfinished;
  bool now = false, dry_run = false;
};

std::string report_text(const repo::CollectReport& r, bool dry_run) {
  std::string out;
  const auto add = [&](uint64_t n, const std::string& text) {
    if (n > 0) out += text + '\n';
  };
  add(r.packs_removed, fmt::format("{} {} ({})", dry_run ? "would remove" : "removed",
                                   counted(r.packs_removed, "pack", "packs"), human_size(r.bytes_removed)));
  add(r.objects_removed, fmt::format("{} {}", dry_run ? "would remove" : "removed",
                                     counted(r.objects_removed, "other object", "other objects")));
  add(r.unfinished_removed,
      fmt::format("removed what {} left that never ended", counted(r.unfinished_removed, "put", "puts")));
  add(r.packs_condemned,
      fmt::format("{} {} ({})", dry_run ? "would condemn" : "condemned",
                  counted(r.packs_condemned, "pack", "packs"), human_size(r.bytes_condemned)));
  add(r.packs_pardoned,
      fmt::format("pardoned {}, which are needed again", counted(r.packs_pardoned, "pack", "packs")));
  add(r.packs_spared_for_pins,
      fmt::format("spared {} of work under way", counted(r.packs_spared_for_pins, "pack", "packs")));
  for (const auto& pin : r.stale_pins_removed)
    out += fmt::format("forgot the ended work {}\n", printable(pin));
  if (out.empty()) out = "nothing to collect\n";
  out += fmt::format("{} in use\n", counted(r.packs_live, "pack", "packs"));
  if (r.next_due)
    out += fmt::format("what is condemned may go from {} on: run varve gc again\n", when(*r.next_due, now()));
  return out;
}

Result<int> run(Session& session, const Options& o) {
  repo::CollectOptions options;
  options.now = o.now;
  options.dry_run = o.dry_run;
  if (!o.grace.empty()) {
    TRY_ASSIGN(options.grace, duration_value("--grace", o.grace));
  }
  if (!o.unfinished.empty()) {
    TRY_ASSIGN(options.unfinished, duration_value("--unfinished", o.unfinished));
  }
  TRY_ASSIGN(repo::RepositoryPtr repo, session.open("", Session::Access::kWrite));
  auto report = repo::collect(*repo, session.ctx(), options);
  if (!report) {
    session.record(*repo, "gc", "", "", "failed", report.error().describe());
    return fail(std::move(report).error());
  }
  if (!o.dry_run)
    session.record(*repo, "gc", "", "", "done",
                   fmt::format("condemned={} removed={}", report->packs_condemned, report->packs_removed));
  session.out().object(json_gc(*report, o.dry_run));
  session.out().text(report_text(*report, o.dry_run));
  return 0;
}

}  // namespace

void declare_gc(Command root) {
  auto o = std::make_shared<Options>();
  root.command("gc", "give back the space of what no backup needs",
               "In two steps, so that no writer anywhere can be harmed: what is not needed is condemned now, "
               "and removed "
               "by a later run when the grace is over and it is still not needed.")
      .flag("--now", o->now, "Without the grace; refused while anything else is at work in the repository")
      .option("--grace", o->grace, "DURATION", "Between the two steps (72h)")
      .option("--unfinished", o->unfinished, "DURATION",
              "Puts that began so long ago and never ended are cleaned away (1d)")
      .flag("--dry-run", o->dry_run, "Only tell what would happen")
      .example("varve gc --dry-run", "what could go")
      .example("varve gc", "condemn, and remove what was condemned long enough ago")
      .action([o](Session& s) { return run(s, *o); });
}

}  // namespace varve::cli
