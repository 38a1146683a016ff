#include <fmt/format.h>
#include <unistd.h>

#include "backup/follow.h"
#include "base/text.h"
#include "cli/commands/commands.h"
#include "cli/json.h"
#include "cli/session.h"
#include "cli/values.h"
#include "cli/words.h"

namespace varve::cli {
namespace {

struct Options {
  std::string source, patience;
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
    return fmt::format("recoverable to {} (txn {}), {} stored", when(status.covered_until, now()), status.txn,
                       human_size(status.bytes));
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
  if (!o.patience.empty()) {
    TRY_ASSIGN(options.patience, duration_value("--patience", o.patience));
  }
  TRY_ASSIGN(const uint32_t batch, number_within("--batch", o.batch.value_or(400), 10, 60'000));
  options.batch = std::chrono::milliseconds(batch);
  TRY_ASSIGN(options.backup.workers, number_within("--workers", o.workers.value_or(0), 0, 64));

  TRY_ASSIGN(repo::RepositoryPtr repo, session.open(o.source, Session::Access::kWrite));
  TRY_ASSIGN(const backup::Source source, session.live_source(repo.get(), o.source));
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
  session.record(*repo, "follow", source.name, "", "done", fmt::format("txn:{}", status->txn));
  session.out().object(json_follow(*status, source.name, true));
  session.out().line(fmt::format("followed {}: {}, {}", source_title(source.name, source.address),
                                 counted(status->commits, "commit", "commits"),
                                 FollowDisplay::covered(*status)));
  return 0;
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
      .option("--workers", o->workers, "N",
              "Threads that compress and send a backup (as many as cores, at most 8)")
      .example("varve log follow app.db", "every commit within a second, until it is stopped")
      .example("varve log follow app.db --once", "store what was committed so far")
      .action([o](Session& s) { return run_follow(s, *o); });
}

}  // namespace varve::cli
