#include "backup/backup.h"

#include <fmt/format.h>

#include "base/log.h"
#include "cli/commands/commands.h"
#include "cli/json.h"
#include "cli/session.h"
#include "cli/values.h"
#include "cli/words.h"

namespace varve::cli {
namespace {

struct Options {
  std::string source, type, full_every;
  std::optional<uint32_t> workers, level;
};

Result<int> run(Session& session, const Options& o) {
  backup::BackupOptions options;
  if (!o.type.empty()) {
    TRY_ASSIGN(options.type, backup::parse_type(o.type));
  }
  if (!o.full_every.empty()) {
    TRY_ASSIGN(options.full_every, duration_value("--full-every", o.full_every));
  }
  TRY_ASSIGN(const uint32_t level, number_within("--level", o.level.value_or(3), 1, 19));
  options.compression_level = static_cast<int>(level);
  TRY_ASSIGN(options.workers, number_within("--workers", o.workers.value_or(0), 0, 64));

  TRY_ASSIGN(repo::RepositoryPtr repo, session.open(o.source, Session::Access::kWrite));
  TRY_ASSIGN(const backup::Source source, session.live_source(repo.get(), o.source));
  Progress progress;
  const auto start = SteadyClock::now();
  auto manifest = [&] {
    const ProgressDisplay display(progress, session.progress_mode());
    return backup::run_backup(repo, session.ctx(), source, options, progress);
  }();
  const double seconds = std::chrono::duration<double>(SteadyClock::now() - start).count();
  if (!manifest) {
    session.record(*repo, "backup", source.name, "", "failed", manifest.error().describe());
    return fail(std::move(manifest).error());
  }
  session.record(*repo, "backup", source.name, manifest->id, "done",
                 measured_detail({manifest->read, seconds}));
  session.out().object(json_backup(*manifest));
  session.out().line(backed_up(*manifest, seconds, now()));
  session.out().line(session.out().style().dim("  backup " + manifest->id));
  for (const auto& warning : manifest->warnings) log::warn("{}", warning);
  return 0;
}

}  // namespace

void declare_backup(Command root) {
  auto o = std::make_shared<Options>();
  root.command(
          "backup", "back up a source",
          "What is reported done is restorable: everything a restore will need is stored and checked by "
          "then. "
          "Every type restores alike and reads each page once; they differ in what they cost. With auto the "
          "first backup is a full, and later ones store what changed.")
      .positional("SOURCE", o->source, kSourceHelp)
      .option("--type", o->type, "auto|full|differential|incremental", "What to refer to (auto)")
      .option("--full-every", o->full_every, "DURATION", "With auto: a full when the last is older (30d)")
      .option("--level", o->level, "N", "Compression from 1 to 19 (3)")
      .option("--workers", o->workers, "N", "Threads that compress and send (as many as cores, at most 8)")
      .example("varve backup app.db", "one SQLite file, without any configuration")
      .example("varve backup app.db --type full", "everything anew")
      .example("varve backup 'sqlite:./shops/*.db'", "several databases as one source")
      .action([o](Session& s) { return run(s, *o); });
}

}  // namespace varve::cli
