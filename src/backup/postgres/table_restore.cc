// One table, or one database, at one moment: the system catalogues and that table's files come back, every
// other relation is a sparse file as long as it was; a scratch server replays the log to the moment, and the
// table is dumped and loaded where it was asked for. The cost is the table and the log, not the cluster.
//
// Why that replays: the first change of a page after the backup's checkpoint carries the whole page
// (full_page_writes, which a base backup forces on), so a sparse page is never changed before it is whole.
// Where a record does refer to a page of zeros (the visibility map's records carry no image of the table's
// page unless there are checksums), recovery would stop with "WAL contains references to invalid pages".
// ignore_invalid_pages makes a warning of it, and afterwards the server's log must name no relation whose
// files were restored: so the guard that it is for them stays.
#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <thread>
#include <unistd.h>

#include "backup/postgres/cluster_files.h"
#include "backup/postgres/scratch.h"
#include "backup/postgres/table_choice.h"
#include "backup/postgres/table_cost.h"
#include "backup/postgres/target.h"
#include "backup/postgres/wal_spool.h"
#include "backup/postgres/work.h"
#include "base/log.h"
#include "base/text.h"
#include "engine/postgres/control_file.h"
#include "engine/postgres/database_load.h"
#include "engine/postgres/server.h"
#include "engine/postgres/table_dump.h"
#include "engine/postgres/table_load.h"

namespace varve::backup::postgres {
namespace {

using Files = std::vector<db::RelFile>;

// A table renamed or attached after the backup is found in the first recovery and there in the second; a
// third can only be needed when something else is wrong.
constexpr int kMostRecoveries = 3;

// The scratch server's settings, beside those that isolate it.
std::map<std::string, std::string> settings_for(int major) {
  std::map<std::string, std::string> out = {
      {"ignore_invalid_pages", "on"},
      // Nobody looks in before the recovery is over: so no lock of a transaction that was under way at the
      // moment is in the way (the DROP itself holds one), and no limit of the cluster must be kept.
      {"hot_standby", "off"},
      // Thrown away soon: nothing needs to reach the disk.
      {"fsync", "off"},
      {"full_page_writes", "off"},
      {"synchronous_commit", "off"},
      {"checkpoint_timeout", "1d"},
      {"max_wal_size", "64GB"},
      {"wal_recycle", "off"},
      {"restart_after_crash", "off"},
      // Nothing may run in it by itself: sparse relations are not to be read, and subscriptions lead out.
      {"autovacuum", "off"},
      {"autovacuum_freeze_max_age", "2000000000"},
      {"autovacuum_multixact_freeze_max_age", "2000000000"},
      {"max_logical_replication_workers", "0"},
      {"shared_preload_libraries", ""},
      {"session_preload_libraries", ""},
      {"local_preload_libraries", ""},
      // Its log is read, by its words.
      {"log_min_messages", "warning"},
      {"lc_messages", "C"},
      {"log_line_prefix", "%m "},
      {"jit", "off"},
  };
  if (major >= 17) out["event_triggers"] = "off";
  return out;
}

// What the server's log says of pages that were not there: relations named by it.
Files named_in_warnings(const os::Path& log) {
  Files out;
  constexpr uint64_t kMostLog = 1u << 30;
  const auto text = os::read_file(log, kMostLog);
  if (!text) return out;
  for (const std::string_view line : split(as_text(*text), '\n')) {
    constexpr std::string_view kBefore = " of relation ";
    if (!line.ends_with(" is uninitialized") && !line.ends_with(" does not exist")) continue;
    const size_t at = line.find(kBefore);
    if (at == line.npos) continue;
    const std::string_view rest = line.substr(at + kBefore.size());
    if (const auto file = db::relation_file(rest.substr(0, rest.find(' '))))
      out.push_back({file->tablespace, file->database, file->filenode});
  }
  return out;
}

Result<TableChoice> choose(const Target& target, const TableOptions& options) {
  return options.database.empty() ? choose_tables(target.data, options.tables)
                                  : choose_database(target.data, options.database);
}

class TableRestore {
 public:
  TableRestore(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
               const TableOptions& options, Progress& progress)
      : repo_(repo), ctx_(ctx), state_(state), options_(options), progress_(progress) {}

  Result<TableReport> run() {
    const auto begun = SteadyClock::now();
    TRY_OK(check_options());
    TRY_ASSIGN(target_, find_target(repo_, ctx_, state_, options_.point, options_.backup));
    target_.recovery.action = db::RecoveryTarget::Action::kPromote;
    TRY_ASSIGN(choice_, choose(target_, options_));
    TRY_ASSIGN(binaries_, db::find_binaries(ctx_, target_.data.major()));
    TRY_OK(look_at_destination());
    TRY_ASSIGN(Scratch scratch,
               Scratch::create(ctx_, options_.scratch, {target_.data.uid, target_.data.gid}));
    TRY_OK(ensure_space(scratch));
    TRY_OK(recover(scratch));
    TRY_OK(deliver(scratch));
    database_.reset();
    TRY_OK(scratch.remove());
    report_.source = state_.source;
    report_.backup = target_.base->id;
    report_.point = target_.position;
    report_.moment = target_.moment;
    report_.fetched = progress_.stored_bytes;
    report_.seconds = std::chrono::duration<double>(SteadyClock::now() - begun).count();
    return std::move(report_);
  }

 private:
  static unsigned workers() { return std::clamp(std::thread::hardware_concurrency(), 1u, 8u); }

  Result<> check_options() const {
    if (!options_.into.empty())
      return fail(Code::kUsage, "--into names a file; PostgreSQL is reached over a connection",
                  "--into-connection \"host=/run/postgresql user=postgres\"");
    if (options_.target.empty() == options_.into_connection.empty())
      return fail(Code::kUsage, "where shall it go?",
                  "--into-connection CONNINFO, or --target FILE.sql for a dump");
    if (!options_.database.empty() && !options_.as.empty() && !options_.target.empty())
      return fail(Code::kUsage, "--as names the database that --into-connection makes",
                  "a dump is loaded into a database of any name");
    if (!options_.as.empty() && options_.as.size() > db::kLongestIdentifier)
      return fail(Code::kUsage, fmt::format("--as: a name has at most {} bytes", db::kLongestIdentifier));
    return {};
  }

  // Before anything is fetched.
  Result<> look_at_destination() {
    if (!options_.target.empty()) {
      file_ = std::filesystem::absolute(options_.target).lexically_normal();
      TRY_ASSIGN(const auto there, os::status(file_, false));
      if (there)
        return fail(Code::kConflict, fmt::format("{} exists", printable(file_.native())),
                    "choose another --target");
      report_.target = file_.native();
      return {};
    }
    db::LoadOptions& load = load_options_;
    TRY_ASSIGN(load.into, db::is_address(options_.into_connection)
                              ? db::parse_source(options_.into_connection)
                              : db::make_source(options_.into_connection, {}));
    load.as = options_.as;
    if (choice_.whole) {
      TRY_ASSIGN(auto to, db::DatabaseTarget::open(ctx_, load.into));
      TRY_OK(to.ensure_free(ctx_, new_name()));
      report_.target = to.text();
      return {};
    }
    TRY_ASSIGN(auto to, db::LoadTarget::open(ctx_, load, choice_.database));
    for (const db::TableName& t : choice_.tables)
      TRY_OK(to.ensure_free(ctx_, t.schema, options_.as.empty() ? t.name : options_.as));
    report_.target = to.text();
    return {};
  }

  // Of the database that is made.
  const std::string& new_name() const { return options_.as.empty() ? choice_.database : options_.as; }

  Result<> ensure_space(const Scratch& scratch) const {
    TRY_ASSIGN(const uint64_t free, os::free_space(scratch.path()));
    TRY_ASSIGN(const TableCost cost, cost_of(repo_, ctx_, target_, choice_));
    const uint64_t needed = cost.scratch;
    if (free >= needed) return {};
    return fail(
        Code::kNoSpace,
        fmt::format("{} has {} free, and some {} are needed meanwhile",
                    printable(scratch.path().parent_path().native()), human_size(free), human_size(needed)),
        "name another folder: --scratch DIR; a newer backup leaves less of the log to replay");
  }

  Result<> recover(Scratch& scratch) {
    WantedFiles wanted(choice_);
    for (int i = 0; i < kMostRecoveries; ++i) {
      if (i > 0) {
        database_.reset();
        wanted.begin_anew();
        TRY_OK(scratch.clear(ctx_));
      }
      TRY_OK(restore(scratch, wanted));
      TRY_OK(start(scratch));
      auto opened = open(scratch);
      if (!opened && opened.error().code == Code::kDatabase && !wanted.everything() && i == 0) {
        // A database made anew meanwhile was copied, file by file, from one whose files are sparse here.
        log::debug("the recovered database cannot be used: {}", opened.error().describe());
        wanted.take_everything();
        continue;
      }
      TRY_OK(opened);
      TRY_ASSIGN(const bool complete, check(wanted));
      if (complete) return {};
    }
    return fail(Code::kInternal, "the table's files were not found in the backup",
                "restore the cluster into another folder, and dump the table there");
  }

  // The data directory, with the log in it.
  Result<> restore(const Scratch& scratch, WantedFiles& wanted) {
    TRY_ASSIGN(const TargetDirectory directory,
               TargetDirectory::prepare(ctx_, scratch.data(), target_.data.system_id, false));
    TRY_OK(directory.begin(target_.data.system_id));
    repo::SlotReaderOptions slot_options;
    slot_options.workers = workers();
    repo::SlotReader slots(repo_, ctx_, slot_options, &progress_);
    slots.know(target_.base->packs);
    FilesOptions how;
    for (const db::Tablespace& t : target_.data.tablespaces) {
      if (t.in_place) continue;
      how.tablespaces[t.location] = (scratch.tablespaces() / std::to_string(t.oid)).native();
    }
    how.wanted = [&](const std::string& path) { return wanted(path); };
    if (scratch.owner()) how.owner = FilesOptions::Owner{scratch.owner()->uid, scratch.owner()->gid};
    TRY_ASSIGN(const FilesRestored done,
               restore_files(*repo_, ctx_, directory, slots, *target_.base, target_.data, how, progress_));
    TRY_OK(spool_wal(repo_, ctx_, state_, target_, scratch, progress_));
    return configure(scratch, done);
  }

  // The cluster's own settings are for its own machine.
  Result<> configure(const Scratch& scratch, const FilesRestored& done) {
    const os::Path data = scratch.data();
    for (const char* name : {"postgresql.conf", "postgresql.auto.conf"}) {
      TRY_OK(os::replace_file(data / name, {}));
      TRY_OK(scratch.give(data / name));
    }
    // All the log that is needed lies in pg_wal; the archive, which is asked first, has nothing.
    TRY_ASSIGN(const std::string settings, db::recovery_settings(target_.recovery, "exit 1"));
    TRY_OK(db::install_recovery(data, settings));
    TRY_OK(os::replace_file(data / db::kControlPath, done.control_file, done.control_mode));
    return scratch.give(data / db::kControlPath);
  }

  Result<> start(Scratch& scratch) {
    progress_.begin("replaying the log", 0);
    db::ServerOptions options;
    options.socket_folder = scratch.sockets();
    options.settings = settings_for(target_.data.major());
    TRY_ASSIGN(server_, scratch.start(ctx_, binaries_, options));
    return {};
  }

  Result<> open(const Scratch&) {
    std::vector<std::string> users = {"postgres"};
    // The role that initdb made may be called otherwise: then the one who makes the backups is the best
    // guess.
    if (const auto spec = db::parse_source(target_.base->address); spec) {
      if (const std::string user = db::user_of(*spec); !user.empty() && user != "postgres")
        users.push_back(user);
    }
    TRY_ASSIGN(database_, db::RecoveredDatabase::open(ctx_, *server_, choice_.database, users));
    return {};
  }

  // Whether everything that belongs to the tables has its content. What has not is wanted from now on.
  Result<bool> check(WantedFiles& wanted) {
    TRY_OK(database_->settle(ctx_));
    TRY_OK(database_->find(ctx_, choice_.tables));
    bool complete = true;
    for (const db::Member& m : database_->members()) {
      if (!m.file || !wanted.left_out(*m.file)) continue;
      log::debug("{}.{} was not known to the backup under that name", m.schema, m.name);
      wanted.add(*m.file);
      complete = false;
    }
    for (const db::RelFile& file : named_in_warnings(server_->log)) {
      if (wanted.left_out(file)) continue;
      // A database copied from a sparse one is nobody's concern.
      if (!wanted.everything() && file.database != 0 && file.database != database_->oid()) continue;
      return fail(Code::kDamaged,
                  fmt::format("the log refers to pages of the relation file {}/{}/{} that the backup lacks",
                              file.tablespace, file.database, file.relation),
                  "use another backup: --backup; `varve verify` tells which are whole");
    }
    return complete;
  }

  Result<> deliver(const Scratch& scratch) {
    if (choice_.whole) return deliver_database(scratch);
    for (const db::TakenTable& t : database_->tables()) {
      if (t.persistence != 'u') continue;
      report_.notes.push_back(
          fmt::format("{} is unlogged: no backup holds its rows", printable(t.schema + "." + t.name)));
    }
    progress_.begin("counting rows", 0);
    TRY_OK(database_->count(ctx_));
    progress_.begin("copying rows", 0);
    TRY_OK(file_.empty() ? into_database(scratch) : into_file());
    for (const db::TakenTable& t : database_->tables())
      report_.tables.push_back({db::TableName{choice_.database, t.schema, t.name}.text(), t.rows});
    return {};
  }

  Result<> deliver_database(const Scratch& scratch) {
    report_.database = file_.empty() ? new_name() : choice_.database;
    TRY_ASSIGN(report_.notes, db::not_dumped(ctx_, *database_));
    progress_.begin("copying the database", 0);
    if (!file_.empty()) {
      if (!is_plain())
        report_.notes.push_back(
            fmt::format("{} is an archive: pg_restore --dbname=DATABASE brings it into an "
                        "empty one",
                        printable(file_.native())));
      return write_file([&](const os::Path& part, bool plain) {
        return db::dump_database(ctx_, binaries_, *database_, part, plain);
      });
    }
    TRY_ASSIGN(auto to, db::DatabaseTarget::open(ctx_, load_options_.into));
    TRY_ASSIGN(const auto notes, to.load(ctx_, binaries_, *database_, new_name(), scratch.path(), workers()));
    report_.notes.insert(report_.notes.end(), notes.begin(), notes.end());
    return {};
  }

  Result<> into_database(const Scratch& scratch) {
    load_options_.work_folder = scratch.path();
    TRY_ASSIGN(auto to, db::LoadTarget::open(ctx_, load_options_, choice_.database));
    TRY_ASSIGN(auto loaded, to.load(ctx_, binaries_, *database_));
    report_.notes.insert(report_.notes.end(), loaded.notes.begin(), loaded.notes.end());
    return {};
  }

  Result<> into_file() {
    if (!options_.as.empty())
      TRY_OK(db::rename_table(ctx_, *database_, options_.as,
                              [](const std::string&) { return std::vector<std::string>{}; }));
    return write_file([&](const os::Path& part, bool plain) {
      db::DumpOptions how;
      how.plain = plain;
      return db::dump_tables(ctx_, binaries_, *database_, part, how);
    });
  }

  bool is_plain() const { return file_.extension() == ".sql"; }

  // The file appears whole, or not at all.
  Result<> write_file(const std::function<Result<>(const os::Path&, bool plain)>& write) const {
    const os::Path part = file_.native() + ".varve-part";
    auto made = write(part, is_plain());
    if (made) made = os::rename_no_replace(part, file_);
    if (!made) (void)os::remove_file(part);
    TRY_OK(made);
    return os::sync_directory(file_.parent_path());
  }

  const repo::RepositoryPtr& repo_;
  const Context& ctx_;
  const SourceState& state_;
  const TableOptions& options_;
  Progress& progress_;
  Target target_;
  TableChoice choice_;
  db::Binaries binaries_;
  os::Path file_;
  db::LoadOptions load_options_;
  std::optional<db::RunningServer> server_;
  std::unique_ptr<db::RecoveredDatabase> database_;
  TableReport report_;
};

}  // namespace

Result<TableReport> restore_tables(const repo::RepositoryPtr& repo, const Context& ctx,
                                   const SourceState& state, const TableOptions& options,
                                   Progress& progress) {
  return TableRestore(repo, ctx, state, options, progress).run();
}

Result<TablePreview> preview_tables(const repo::RepositoryPtr& repo, const Context& ctx,
                                    const SourceState& state, const TableOptions& options) {
  TRY_ASSIGN(const Target target, find_target(repo, ctx, state, options.point, options.backup));
  TRY_ASSIGN(const TableChoice choice, choose(target, options));
  TablePreview out;
  out.restore = {*target.base, target.moment, target.position, target.pieces, target.log_bytes};
  out.replay_bytes = spool_size(target);
  TRY_ASSIGN(const TableCost cost, cost_of(repo, ctx, target, choice));
  for (size_t i = 0; i < cost.tables.size(); ++i) {
    const ChosenTable& t = cost.tables[i];
    out.tables.push_back({t.name, t.rows > 0 ? std::optional(t.rows) : std::nullopt, cost.bytes[i]});
  }
  out.scratch_bytes = cost.scratch;
  return out;
}

}  // namespace varve::backup::postgres
