#include <algorithm>
#include <fmt/format.h>
#include <unistd.h>

#include "backup/follow.h"
#include "backup/log_files.h"
#include "base/text.h"
#include "cli/commands/commands.h"
#include "cli/json.h"
#include "cli/session.h"
#include "cli/values.h"
#include "cli/words.h"

namespace varve::cli {
namespace {

struct Options {
  std::string source, patience, slot;
  std::optional<uint32_t> batch, workers;
  bool once = false;
};

// Lines of what happened and, on a terminal, one live line below them.
class FollowDisplay {
 public:
  FollowDisplay(const Session& session, const backup::Source& source)
      : out_(session.out()),
        name_(source.name),
        title_(source_title(source.name, source.address)),
        live_(session.progress_mode() == ProgressDisplay::Mode::kRedraw) {}
  ~FollowDisplay() {
    if (shown_) redraw_line("");
  }
  FollowDisplay(const FollowDisplay&) = delete;
  FollowDisplay& operator=(const FollowDisplay&) = delete;

  void show(const backup::FollowStatus& status) {
    out_.object(json_follow(status, name_, false));
    if (!status.message.empty()) {
      if (shown_) redraw_line("");
      out_.line(fmt::format("{}  {}", to_local(now()).substr(11, 8), printable(status.message)));
    }
    (void)out_.flush();  // whoever reads a pipe wants it now
    if (!live_) return;
    redraw_line(fmt::format("following {}: {}", title_, covered(status)));
    shown_ = true;
  }
  static std::string covered(const backup::FollowStatus& status) {
    return fmt::format("recoverable to {} ({}), {} stored", when(status.covered_until, now()), place(status),
                       human_size(status.bytes));
  }
  // "txn 731", "lsn 0/3000028"
  static std::string place(const backup::FollowStatus& status) {
    std::string out = position(status);
    std::replace(out.begin(), out.end(), ':', ' ');
    return out;
  }
  static std::string position(const backup::FollowStatus& status) {
    return status.position.empty() ? fmt::format("txn:{}", status.txn) : status.position;
  }

 private:
  const Output& out_;
  const std::string name_, title_;
  const bool live_;
  bool shown_ = false;
};

Result<int> run_follow(Session& session, const Options& o) {
  backup::FollowOptions options;
  options.once = o.once;
  options.slot = o.slot;
  if (!o.patience.empty()) {
    TRY_ASSIGN(options.patience, duration_value("--patience", o.patience));
  }
  TRY_ASSIGN(const uint32_t batch, number_within("--batch", o.batch.value_or(400), 10, 60'000));
  options.batch = std::chrono::milliseconds(batch);
  TRY_ASSIGN(options.backup.workers, number_within("--workers", o.workers.value_or(0), 0, 64));

  TRY_ASSIGN(repo::RepositoryPtr repo, session.open(o.source, Session::Access::kWrite));
  TRY_ASSIGN(const backup::Source source, session.live_source(repo.get(), o.source));
  if (!o.slot.empty() && source.engine != "postgres")
    return fail(Code::kUsage, "--slot is for PostgreSQL: " + source.engine + " has no replication slots");
  session.record(*repo, "follow", source.name, "", "begun", "");
  auto status = [&] {
    FollowDisplay display(session, source);
    return backup::follow(repo, session.ctx(), source, options,
                          [&](const backup::FollowStatus& s) { display.show(s); });
  }();
  if (!status) {
    session.record(*repo, "follow", source.name, "", "failed", status.error().describe());
    return fail(std::move(status).error());
  }
  session.record(*repo, "follow", source.name, "", "done", FollowDisplay::position(*status));
  session.out().object(json_follow(*status, source.name, true));
  session.out().line(fmt::format("followed {}: {}, {}", source_title(source.name, source.address),
                                 counted(status->commits, "commit", "commits"),
                                 FollowDisplay::covered(*status)));
  return 0;
}

struct FileOptions {
  std::string source, name, target;
  std::optional<uint32_t> workers, ahead;
};

// The server calls us in its data directory, with a path below its pg_wal.
Result<os::Path> data_directory_of(const std::string& target) {
  const os::Path folder = std::filesystem::absolute(target).lexically_normal().parent_path().parent_path();
  TRY_ASSIGN(const auto there, os::status(folder / "global/pg_control"));
  if (there) return folder;
  std::error_code error;
  return std::filesystem::current_path(error);
}

// Which repository and source are meant.
Result<std::string> origin(Session& session, const std::string& source) {
  TRY_ASSIGN(const RepositoryPlace place, session.place(source));
  return place.url + "\n" + source;
}

Result<int> run_push(Session& session, const FileOptions& o) {
  backup::PushOptions options;
  TRY_ASSIGN(options.workers, number_within("--workers", o.workers.value_or(options.workers), 1, 64));
  TRY_ASSIGN(options.ahead, number_within("--ahead", o.ahead.value_or(options.ahead), 0, 1024));
  TRY_ASSIGN(options.origin, origin(session, o.source));
  if (backup::was_pushed_ahead(options.origin, o.name)) {
    session.out().object(json_push(o.name, o.source, {}));
    return 0;
  }
  TRY_ASSIGN(const repo::RepositoryPtr repo, session.open(o.source, Session::Access::kWrite));
  TRY_ASSIGN(const backup::Source source, session.live_source(repo.get(), o.source));
  if (source.engine != "postgres")
    return fail(Code::kUsage, fmt::format("{} hands over no files of its log", printable(source.name)),
                "push and fetch are for PostgreSQL; SQLite's log is followed: varve log follow");
  TRY_ASSIGN(const auto report, backup::push_log_file(repo, session.ctx(), source.name, o.name, options));
  session.out().object(json_push(o.name, source.name, report));
  return 0;
}

// Restored on a fresh machine, the source is known by its name in the repository alone.
Result<int> run_fetch(Session& session, const FileOptions& o) {
  backup::FetchOptions options;
  TRY_ASSIGN(options.workers, number_within("--workers", o.workers.value_or(options.workers), 1, 64));
  TRY_ASSIGN(options.ahead, number_within("--ahead", o.ahead.value_or(options.ahead), 0, 1024));
  TRY_ASSIGN(options.data_directory, data_directory_of(o.target));
  TRY_ASSIGN(options.origin, origin(session, o.source));
  if (backup::take_fetched_ahead(o.name, o.target, options)) {
    session.out().object(json_fetch(o.name, o.source, true));
    return 0;
  }
  TRY_ASSIGN(const repo::RepositoryPtr repo, session.open(o.source, Session::Access::kRead));
  TRY_ASSIGN(const std::string source, session.stored_source(*repo, o.source));
  TRY_ASSIGN(const bool there,
             backup::fetch_log_file(repo, session.ctx(), source, o.name, o.target, options));
  session.out().object(json_fetch(o.name, source, there));
  return there ? 0 : 1;
}

}  // namespace

void declare_log(Command root) {
  auto o = std::make_shared<Options>();
  Command log = root.command("log", "the database's change stream, for recovery to any moment");
  log.command("follow", "follow a source's log into the repository",
              "Runs until it is stopped (SIGINT or SIGTERM), which is a success: whatever was captured is "
              "stored by "
              "then. Begins with a backup where none can be continued. With --json one object a line.")
      .positional("SOURCE", o->source, kSourceHelp)
      .flag("--once", o->once, "Store what there is, then end")
      .option("--batch", o->batch, "MILLISECONDS", "Gather commits for so long before they are stored (400)")
      .option("--patience", o->patience, "DURATION", "Give up when the store is away for so long (24h)")
      .option("--slot", o->slot, "NAME", "PostgreSQL: the replication slot (varve_ and the source's name)")
      .option("--workers", o->workers, "N",
              "Threads that compress and send a backup (as many as cores, at most 8)")
      .example("varve log follow app.db", "every commit within a second, until it is stopped")
      .example("varve log follow app.db --once", "store what was committed so far")
      .action([o](Session& s) { return run_follow(s, *o); });

  auto push = std::make_shared<FileOptions>();
  log.command("push", "ship a file of PostgreSQL's WAL: for archive_command",
              "Ends with 0 only when the file is durable in the repository: the server may then remove it. "
              "The same file "
              "again is a success; another one under the same name is refused. Files that the server has "
              "ready too are "
              "stored in the same go.")
      .positional("SOURCE", push->source, kSourceHelp)
      .positional("PATH", push->name, "The file, as the server names it: %p")
      .option("--workers", push->workers, "N", "Files sent side by side (4)")
      .option("--ahead", push->ahead, "N", "Files that are ready, sent with this one (64)")
      .example("varve log push app pg_wal/000000010000000000000003",
               "what archive_command = 'varve log push app %p' runs")
      .action([push](Session& s) { return run_push(s, *push); });
  auto fetch = std::make_shared<FileOptions>();
  log.command("fetch", "bring a file of PostgreSQL's WAL: for restore_command",
              "Ends with 0 when the file is there, with 1 when the log does not have it, and with 200 for "
              "any other reason: "
              "the server must not take a store that is away for the end of the log. Segments that follow "
              "are fetched ahead, into "
              "pg_wal/varve.")
      .positional("SOURCE", fetch->source, kSourceHelp)
      .positional("NAME", fetch->name, "The file's name: %f")
      .positional("PATH", fetch->target, "Where to put it: %p")
      .option("--workers", fetch->workers, "N", "Segments fetched side by side (4)")
      .option("--ahead", fetch->ahead, "N", "Segments that follow, fetched with this one (16)")
      .example("varve log fetch app 000000010000000000000003 pg_wal/RECOVERYXLOG",
               "what the restore_command that `varve restore` writes runs")
      .action([fetch](Session& s) { return run_fetch(s, *fetch); });
}

}  // namespace varve::cli
