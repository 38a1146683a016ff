#include "backup/restore.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"
#include "cli/commands/commands.h"
#include "cli/json.h"
#include "cli/session.h"
#include "cli/values.h"
#include "cli/words.h"

namespace varve::cli {
namespace {

struct Options {
  std::string source, target, to, backup, into, into_connection, scratch, as;
  std::vector<std::string> tables, databases, tablespaces, fallback;
  std::optional<uint32_t> workers, port;
  std::string action = "promote";
  bool force = false, dry_run = false, delta = false, standby = false, start = false;
};

Result<> check_options(const Session& session, const Options& o) {
  const bool tables = !o.tables.empty(), part = tables || !o.databases.empty();
  if (!o.target.empty() && !o.into.empty())
    return fail(Code::kUsage, "--target and --into exclude each other",
                "--target FILE makes a new database, --into FILE adds to one");
  if (!o.into_connection.empty() && (!o.target.empty() || !o.into.empty()))
    return fail(Code::kUsage, "--into-connection goes with neither --target nor --into",
                "a part goes to one place at a time");
  if (tables && o.target.empty() && o.into.empty() && o.into_connection.empty() && !o.dry_run)
    return fail(Code::kUsage, "where shall the table go?",
                fmt::format("into a new file: {}\nor beside the live one: {}\n(PostgreSQL: {})",
                            session.typed("--target restored.db"), session.typed("--into app.db --as NAME"),
                            session.typed("--into-connection host=/run/postgresql --as NAME")));
  if (!tables && !o.into.empty()) return fail(Code::kUsage, "--into takes tables: name them by --table NAME");
  if (!part && !o.into_connection.empty())
    return fail(Code::kUsage, "--into-connection takes tables or a database: --table NAME, --database NAME");
  if (!part && !o.scratch.empty())
    return fail(Code::kUsage, "--scratch goes with --table or --database",
                "a whole restore needs no other folder");
  if (!part && !o.as.empty())
    return fail(Code::kUsage, "--as names a table or a database: give it by --table NAME or --database NAME");
  if (!o.as.empty() && o.tables.size() > 1) return fail(Code::kUsage, "--as is for one --table");
  if (tables && o.force)
    return fail(Code::kUsage, "--force does not go with --table: tables never replace anything");
  if (tables && !o.databases.empty())
    return fail(Code::kUsage, "--database does not go with --table",
                "name the database before the table: --table app.db:orders");
  if (!tables && o.target.empty() && o.into_connection.empty() && !o.dry_run)
    return fail(Code::kUsage, "where to?", session.typed("--target restored.db"));
  return {};
}

// What a cluster's database, restored beside the living ones, has nothing to do with; and what nothing but it
// has.
Result<bool> is_one_database(Session& session, const Options& o, const repo::RepositoryPtr& repo,
                             const std::string& source) {
  if (o.databases.empty()) return false;
  TRY_ASSIGN(const bool part, backup::extracts_databases(repo, session.ctx(), source));
  if (!part && (!o.into_connection.empty() || !o.as.empty() || !o.scratch.empty()))
    return fail(Code::kUsage, "--into-connection, --as and --scratch are for databases of PostgreSQL",
                "--target FILE makes a new one");
  if (!part) return false;
  if (o.databases.size() > 1)
    return fail(Code::kUsage, "one --database at a time", "each comes from a moment of its own");
  if (o.force || o.delta || o.standby || o.start || !o.tablespaces.empty())
    return fail(Code::kUsage,
                "--force, --delta, --standby, --start and --tablespace-map are for whole clusters",
                "a database comes beside the living ones: --into-connection CONNINFO --as NAME");
  return true;
}

// What every restore begins with: the source, the backup if one is named, the point.
struct Chosen {
  repo::RepositoryPtr repo;
  std::string source;
  std::optional<std::string> backup;
  backup::Point point;
  bool part = false;  // tables, or a cluster's database
};

Result<Chosen> choose(Session& session, const Options& o) {
  Chosen out;
  // A point that cannot be read is told before any key is asked for.
  const std::string to = o.to.empty() ? (o.backup.empty() ? "latest" : "end") : o.to;
  TRY_ASSIGN(out.point, backup::parse_point(to, now()));
  TRY_ASSIGN(out.repo, session.open(o.source, Session::Access::kWrite, {o.fallback, true}));
  TRY_ASSIGN(out.source, session.stored_source(*out.repo, o.source));
  if (!o.backup.empty()) {
    TRY_ASSIGN(out.backup, session.stored_backup(*out.repo, out.source, o.backup));
  }
  TRY_ASSIGN(const bool database, is_one_database(session, o, out.repo, out.source));
  out.part = database || !o.tables.empty();
  return out;
}

backup::TableOptions table_options(const Options& o, const Chosen& chosen) {
  backup::TableOptions options;
  options.tables = o.tables;
  if (o.tables.empty()) options.database = o.databases.front();
  options.target = o.target;
  options.into = o.into;
  options.into_connection = o.into_connection;
  options.scratch = o.scratch;
  options.as = o.as;
  options.point = chosen.point;
  options.backup = chosen.backup;
  return options;
}

Result<backup::TablePreview> preview(Session& session, const Options& o, const Chosen& chosen) {
  if (chosen.part)
    return backup::preview_tables(chosen.repo, session.ctx(), chosen.source, table_options(o, chosen));
  backup::TablePreview out;
  TRY_ASSIGN(out.restore,
             backup::preview_restore(chosen.repo, session.ctx(), chosen.source, chosen.point, chosen.backup));
  return out;
}

std::string part_line(const char* kind, const backup::TablePreview::Table& t) {
  std::string out = fmt::format("  only the {} {}", kind, printable(t.name));
  if (t.bytes > 0) out += fmt::format(", {} at the backup", human_size(t.bytes));
  if (t.rows) out += fmt::format(", some {} rows", human_count(*t.rows));
  return out;
}

Result<int> plan_only(Session& session, const Options& o, const Chosen& chosen) {
  TRY_ASSIGN(const backup::TablePreview preview, cli::preview(session, o, chosen));
  const backup::RestorePreview& found = preview.restore;
  RestorePlan plan;
  plan.source = chosen.source;
  plan.backup = found.base.id;
  plan.type = found.base.type;
  plan.target = !o.target.empty() ? o.target : !o.into.empty() ? o.into : o.into_connection;
  plan.point = found.position;
  plan.moment = found.moment;
  plan.files = found.base.files;
  plan.bytes = found.base.size;
  plan.pieces = found.pieces;
  plan.log_bytes = found.log_bytes;
  plan.tables = o.tables;
  plan.estimates = preview.tables;
  plan.replay_bytes = preview.replay_bytes;
  plan.scratch_bytes = preview.scratch_bytes;
  session.out().object(json_restore(plan));
  for (const auto& n : session.fallback_notes()) log::warn("{}", n);
  session.out().line(fmt::format("would restore {} as of {} ({})", printable(plan.source),
                                 to_local(plan.moment), printable(plan.point)));
  session.out().line(fmt::format("  from backup {} ({}, {} in {})", plan.backup, plan.type,
                                 human_size(plan.bytes), counted(plan.files, "file", "files")));
  if (plan.pieces > 0)
    session.out().line(fmt::format("  and {} of the log ({})", counted(plan.pieces, "piece", "pieces"),
                                   human_size(plan.log_bytes)));
  for (const auto& t : plan.estimates)
    session.out().line(part_line(o.tables.empty() ? "database" : "table", t));
  if (plan.scratch_bytes > 0)
    session.out().line(
        fmt::format("  a scratch server replays {} of the log; with it some {} of disk are needed "
                    "meanwhile",
                    human_size(plan.replay_bytes), human_size(plan.scratch_bytes)));
  return 0;
}

void add_notes(const Session& session, std::vector<std::string>& notes) {
  for (auto& n : session.fallback_notes()) notes.push_back(std::move(n));
}

Result<int> part(Session& session, const Options& o, const Chosen& chosen) {
  const backup::TableOptions options = table_options(o, chosen);
  Progress progress;
  auto report = [&] {
    const ProgressDisplay display(progress, session.progress_mode());
    return backup::restore_tables(chosen.repo, session.ctx(), chosen.source, options, progress);
  }();
  if (!report) {
    session.record(*chosen.repo, "restore-table", chosen.source, "", "failed", report.error().describe());
    return fail(std::move(report).error());
  }
  add_notes(session, report->notes);
  session.record(*chosen.repo, "restore-table", chosen.source, report->backup, "done",
                 measured_detail({report->fetched, report->seconds}));
  session.out().object(json_restore(*report));
  session.out().line(restored(*report, now()));
  for (const auto& n : report->notes) log::warn("{}", n);
  return 0;
}

// What only a cluster has.
Result<> cluster_options(Session& session, const Options& o, const Chosen& chosen,
                         backup::RestoreOptions& out) {
  out.delta = o.delta;
  out.standby = o.standby;
  out.start = o.start;
  out.action = o.action;
  TRY_ASSIGN(out.port, number_within("--port", o.port.value_or(0), 0, 65535));
  for (const std::string& pair : o.tablespaces) {
    const size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == pair.size())
      return fail(Code::kUsage, fmt::format("--tablespace-map {}: is not OLD=NEW", printable(pair)),
                  session.typed("--tablespace-map /srv/fast=/mnt/fast"));
    out.tablespaces[pair.substr(0, equals)] = std::filesystem::absolute(pair.substr(equals + 1)).string();
  }
  TRY_ASSIGN(out.fetch_command, session.fetch_command(chosen.source));
  TRY_ASSIGN(out.server_can_fetch, session.others_can_open(*chosen.repo, chosen.source));
  return {};
}

Result<int> whole(Session& session, const Options& o, const Chosen& chosen) {
  backup::RestoreOptions options;
  options.target = o.target;
  options.point = chosen.point;
  options.backup = chosen.backup;
  options.force = o.force;
  options.databases = o.databases;
  TRY_ASSIGN(options.workers, number_within("--workers", o.workers.value_or(0), 0, 64));
  TRY_OK(cluster_options(session, o, chosen, options));
  Progress progress;
  auto report = [&] {
    const ProgressDisplay display(progress, session.progress_mode());
    return backup::run_restore(chosen.repo, session.ctx(), chosen.source, options, progress);
  }();
  if (!report) {
    session.record(*chosen.repo, "restore", chosen.source, "", "failed", report.error().describe());
    return fail(std::move(report).error());
  }
  add_notes(session, report->notes);
  session.record(*chosen.repo, "restore", chosen.source, report->backup, "done",
                 measured_detail({report->bytes, report->seconds}));
  session.out().object(json_restore(*report));
  session.out().line(restored(*report, now()));
  for (const auto& k : report->kept) session.out().line("  what was there is kept as " + printable(k));
  for (const auto& n : report->notes) log::warn("{}", n);
  return 0;
}

Result<int> run(Session& session, const Options& o) {
  TRY_OK(check_options(session, o));
  TRY_ASSIGN(const Chosen chosen, choose(session, o));
  if (o.dry_run) return plan_only(session, o, chosen);
  return chosen.part ? part(session, o, chosen) : whole(session, o, chosen);
}

}  // namespace

void declare_restore(Command root) {
  auto o = std::make_shared<Options>();
  root.command(
          "restore", "bring it back: a whole source, or tables, as of any covered moment",
          "POINT is latest, end (of the backup named by --backup), a time such as 2026-11-23T14:32:05Z or "
          "\"5 "
          "minutes ago\", txn:N (the state after that transaction) or before:N (just before it). The target "
          "appears whole, under its name, or not at all.")
      .positional("SOURCE", o->source, kSourceHelp)
      .option("--target", o->target, "PATH",
              "The new file; for several databases, or to keep its name, a folder")
      .option("--to", o->to, "POINT", "The moment (latest; with --backup: end)")
      .option("--backup", o->backup, "BACKUP", "Use this backup: an id, the beginning of one, or \"latest\"")
      .option("--table", o->tables, "NAME", "Only this table, with its indexes and triggers")
      .option("--into", o->into, "FILE", "With --table: put it into this live database, beside what is there")
      .option("--into-connection", o->into_connection, "CONNINFO",
              "PostgreSQL, with --table or --database: put it into this live server, beside what is there")
      .option("--as", o->as, "NAME", "With --table; PostgreSQL: also with --database: under this name")
      .option("--scratch", o->scratch, "DIR",
              "PostgreSQL, with --table or --database: where the log is replayed meanwhile ($TMPDIR)")
      .option("--database", o->databases, "NAME",
              "Of a source with several databases: only this one. Of a cluster: into another by "
              "--into-connection, or as a dump: --target FILE.sql or FILE.dump")
      .flag("--force", o->force, "Replace the target; what was there is kept beside it")
      .flag("--dry-run", o->dry_run, "Only tell what would be used")
      .flag("--delta", o->delta,
            "PostgreSQL: into a directory that holds this cluster; only what differs is written")
      .option("--tablespace-map", o->tablespaces, "OLD=NEW", "PostgreSQL: put a tablespace elsewhere")
      .option("--action", o->action, "ACTION",
              "PostgreSQL: at the point promote (the default), pause or shutdown")
      .flag("--standby", o->standby, "PostgreSQL: a standby, which goes on replaying")
      .flag("--start", o->start, "PostgreSQL: start it, and wait until the point is reached")
      .option("--port", o->port, "PORT", "With --start: where it listens (as its configuration says)")
      .option("--workers", o->workers, "N", "Threads (as many as cores, at most 8)")
      .option("--fallback", o->fallback, "REPO", kFallbackHelp)
      .example("varve restore app.db --target restored.db", "the latest state, as a new file")
      .example("varve restore app.db --to end --backup latest --target app.db --force",
               "over the damaged file, which is kept beside")
      .example("varve restore app.db --table orders --into app.db --as orders_before",
               "one table, beside the live one under a new name")
      .example(
          "varve restore app --table public.orders --to before:731402 --into-connection "
          "host=/run/postgresql --as orders_before",
          "PostgreSQL: the same, just before that transaction")
      .example(
          "varve restore app --database shop --to \"5 minutes ago\" --into-connection host=/run/postgresql "
          "--as shop_before",
          "PostgreSQL: one database of a cluster, beside the live one")
      .example("varve restore app.db --dry-run", "what a restore would use, without doing it")
      .action([o](Session& s) { return run(s, *o); });
}

}  // namespace varve::cli
