// A cluster brought back: its files, then the settings by which the server replays the log to the point.
#include <algorithm>
#include <fmt/format.h>
#include <thread>
#include <unistd.h>

#include "backup/postgres/cluster_files.h"
#include "backup/postgres/target.h"
#include "backup/postgres/work.h"
#include "engine/postgres/configuration.h"
#include "engine/postgres/recovery.h"
#include "engine/postgres/server.h"

namespace varve::backup::postgres {
namespace {

using Action = db::RecoveryTarget::Action;

Result<Action> parse_action(const std::string& text) {
  if (text == "promote") return Action::kPromote;
  if (text == "pause") return Action::kPause;
  if (text == "shutdown") return Action::kShutdown;
  return fail(Code::kUsage, fmt::format("{}: is nothing that can be done at the point", text),
              "promote, pause or shutdown");
}

// As the server's shell reads it; %f and %p are the server's.
std::string restore_command(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& w : words) out += db::quote_for_shell(w) + " ";
  return out + "%f \"%p\"";
}

class ClusterRestore {
 public:
  ClusterRestore(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                 const RestoreOptions& options, Progress& progress)
      : repo_(repo), ctx_(ctx), state_(state), options_(options), progress_(progress) {}

  Result<RestoreReport> run() {
    const auto begun = SteadyClock::now();
    if (options_.force)
      return fail(Code::kUsage, "--force does not go with a cluster",
                  "choose an empty --target, or --delta to bring an existing directory back");
    if (!options_.server_can_fetch)
      return fail(
          Code::kUsage, "the server must be able to read the log too, and cannot ask for the passphrase",
          "write it to a file that only the server's user can read, and give --passphrase-file FILE (or "
          "--key-file FILE)");
    TRY_ASSIGN(const Action action, parse_action(options_.action));
    TRY_ASSIGN(Target target, find_target(repo_, ctx_, state_, options_.point, options_.backup));
    target.recovery.action = action;
    std::optional<db::Binaries> binaries;
    if (options_.start) {
      TRY_ASSIGN(binaries, db::find_binaries(ctx_, target.data.major()));
    }
    TRY_ASSIGN(const auto directory,
               TargetDirectory::prepare(ctx_, options_.target, target.data.system_id, options_.delta));
    TRY_OK(files(target, directory));
    report_.source = state_.source;
    report_.backup = target.base->id;
    report_.target = directory.path().string();
    report_.point = target.position;
    report_.moment = target.moment;
    report_.fetched = progress_.stored_bytes;
    if (options_.start) TRY_OK(start(directory, *binaries, target.data.start_lsn));
    report_.seconds = std::chrono::duration<double>(SteadyClock::now() - begun).count();
    return std::move(report_);
  }

 private:
  Result<> files(const Target& target, const TargetDirectory& directory) {
    TRY_ASSIGN(const std::string settings,
               db::recovery_settings(target.recovery, restore_command(options_.fetch_command)));
    TRY_OK(directory.begin(target.data.system_id));
    repo::SlotReaderOptions slot_options;
    slot_options.workers =
        options_.workers ? options_.workers : std::clamp(std::thread::hardware_concurrency(), 1u, 8u);
    repo::SlotReader slots(repo_, ctx_, slot_options, &progress_);
    slots.know(target.base->packs);
    FilesOptions how;
    how.tablespaces = options_.tablespaces;
    how.delta = options_.delta && directory.had_files();
    TRY_ASSIGN(FilesRestored done,
               restore_files(*repo_, ctx_, directory, slots, *target.base, target.data, how, progress_));
    TRY_ASSIGN(const auto placed, db::place_configuration(directory.path(), target.data.configuration));
    TRY_OK(db::install_recovery(directory.path(), settings, options_.standby));
    TRY_OK(directory.finish(done.control_file, done.control_mode));
    report_.files = done.files;
    report_.bytes = done.bytes;
    report_.notes = std::move(done.notes);
    report_.notes.insert(report_.notes.end(), placed.begin(), placed.end());
    if (how.delta)
      report_.notes.push_back(fmt::format("{} of {} bytes were there already", done.kept, done.bytes));
    if (target.data.bad_page_count > 0)
      report_.notes.push_back(
          fmt::format("{} pages were damaged in the database already when it was backed up; "
                      "`varve show` lists them",
                      target.data.bad_page_count));
    return {};
  }

  Result<> start(const TargetDirectory& directory, const db::Binaries& binaries, uint64_t start_lsn) {
    db::ServerOptions options;
    options.isolated = false;
    if (options_.port) options.port = options_.port;
    options.socket_folder = directory.path();
    progress_.begin("recovering", 0);
    TRY_ASSIGN(const db::RunningServer server, db::start_server(ctx_, directory.path(), binaries, options));
    TRY_ASSIGN(const db::RecoveryEnd end,
               db::wait_until_recovered(ctx_, server, options_.standby, [&](const db::RecoveryProgress& p) {
                 if (p.moment) report_.moment = *p.moment;
                 if (p.replayed > start_lsn) progress_.done_bytes = p.replayed - start_lsn;
               }));
    report_.notes.push_back(
        end == db::RecoveryEnd::kServing   ? fmt::format("the server is running, port {}", server.port)
        : end == db::RecoveryEnd::kStandby ? fmt::format("the standby is running, port {}", server.port)
        : end == db::RecoveryEnd::kPaused  ? "the server is running and waits at the point: look, then "
                                             "SELECT pg_wal_replay_resume()"
                                           : "the server has shut down at the point");
    return {};
  }

  const repo::RepositoryPtr& repo_;
  const Context& ctx_;
  const SourceState& state_;
  const RestoreOptions& options_;
  Progress& progress_;
  RestoreReport report_;
};

}  // namespace

Result<RestoreReport> restore(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                              const RestoreOptions& options, Progress& progress) {
  return ClusterRestore(repo, ctx, state, options, progress).run();
}

}  // namespace varve::backup::postgres
