#include "engine/postgres/server.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "engine/postgres/connection.h"
#include "engine/postgres/control_file.h"
#include "engine/postgres/lsn.h"

namespace varve::engine::postgres {
namespace {

constexpr auto kPoll = std::chrono::milliseconds(100);
constexpr auto kReport = std::chrono::seconds(1);
constexpr std::chrono::seconds kQuestion{10};  // for one question to a server that is busy recovering
constexpr uint64_t kLogTail = 256u << 10;
constexpr size_t kMostWords = 2000;
constexpr size_t kLongestSocket = 107;  // sun_path

// "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "postgres (PostgreSQL) 18beta1"
std::string version_in(std::string_view text) {
  constexpr std::string_view kBefore = "(PostgreSQL) ";
  const size_t at = text.find(kBefore);
  if (at == text.npos) return "";
  text.remove_prefix(at + kBefore.size());
  return std::string(text.substr(0, text.find_first_of(" \n")));
}

std::optional<int> leading_number(std::string_view text) {
  int out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return out;
}

std::optional<Binaries> look_in(const Context& ctx, const os::Path& folder, int major) {
  const os::Path program = folder / "postgres";
  if (::access(program.c_str(), X_OK) != 0) return std::nullopt;
  const auto answer = os::run(ctx.with_deadline(kQuestion), {program.native(), "--version"});
  if (!answer || answer->exit_code != 0) return std::nullopt;
  const std::string version = version_in(as_text(answer->out));
  if (leading_number(version) != major) return std::nullopt;
  return Binaries{folder, major, version};
}

std::vector<os::Path> places(int major) {
  std::vector<os::Path> out;
  if (const char* given = ::getenv("PGBIN"); given && *given) out.emplace_back(given);
  out.emplace_back(fmt::format("/usr/lib/postgresql/{}/bin", major));
  out.emplace_back(fmt::format("/usr/pgsql-{}/bin", major));
  out.emplace_back(fmt::format("/usr/local/pgsql-{}/bin", major));
  out.emplace_back("/usr/local/pgsql/bin");
  const char* path = ::getenv("PATH");
  for (const std::string_view folder : split(path ? path : "", ':')) {
    if (folder.empty()) continue;
    out.emplace_back(folder);
    // A link in /usr/bin to pg_ctl leads to where the server's program is, too.
    std::error_code failed;
    const os::Path real = std::filesystem::canonical(os::Path(folder) / "pg_ctl", failed);
    if (!failed) out.push_back(real.parent_path());
  }
  return out;
}

struct PidFile {
  int64_t pid = 0;
};
Result<std::optional<PidFile>> read_pid_file(const os::Path& data_directory) {
  auto text = os::read_file(data_directory / "postmaster.pid", 4096);
  if (!text && text.error().code == Code::kNotFound) return std::nullopt;
  if (!text) return fail(std::move(text).error());
  const auto pid = leading_number(as_text(*text));
  // Being written: as good as not there yet. A standalone backend writes its number with a minus.
  if (!pid || *pid == 0) return std::nullopt;
  return PidFile{std::abs(*pid)};
}

Result<std::optional<os::Account>> account_for(const os::Path& data_directory) {
  TRY_ASSIGN(const auto folder, os::status(data_directory));
  if (!folder) return fail(os::errno_error(ENOENT, "open the data directory", data_directory));
  const uint32_t self = ::geteuid();
  if (folder->uid == 0)
    return fail(Code::kDenied,
                fmt::format("{} belongs to root, and PostgreSQL does not run as root",
                            printable(data_directory.native())),
                "chown it to the user postgres");
  if (folder->uid == self) return std::nullopt;
  const os::Account owner = os::account_of(folder->uid, folder->gid);
  if (self != 0)
    return fail(Code::kDenied, fmt::format("{} belongs to another user", printable(data_directory.native())),
                fmt::format("run as root, or as the user {}",
                            owner.name.empty() ? std::to_string(owner.uid) : owner.name));
  return owner;
}

Result<> write_for(const os::Path& path, std::string_view text, const std::optional<os::Account>& account) {
  TRY_OK(os::replace_file(path, as_bytes(text)));
  if (account && ::lchown(path.c_str(), account->uid, account->gid) != 0)
    return fail(os::errno_error(errno, "change the owner of", path));
  return {};
}

using Settings = std::map<std::string, std::string>;

// See ServerOptions::isolated.
Result<> isolate(const Context& ctx, const os::Path& data_directory, const ServerOptions& options,
                 const std::optional<os::Account>& account, Settings& settings) {
  const os::Path hba = options.socket_folder / "pg_hba.conf", ident = options.socket_folder / "pg_ident.conf";
  TRY_OK(write_for(hba, "local all all trust\nlocal replication all trust\n", account));
  TRY_OK(write_for(ident, "", account));
  settings["hba_file"] = hba.native();
  settings["ident_file"] = ident.native();
  TRY_ASSIGN(const auto configuration, os::status(data_directory / "postgresql.conf"));
  if (!configuration) {
    const os::Path empty = options.socket_folder / "postgresql.conf";
    TRY_OK(write_for(empty, "", account));
    settings["config_file"] = empty.native();
  }
  TRY_ASSIGN(const ControlFileImage image, read_control_file(ctx, data_directory));
  const ControlFile& c = image.control;
  settings["max_connections"] = std::to_string(std::max(c.max_connections, 20u));
  settings["max_worker_processes"] = std::to_string(c.max_worker_processes);
  settings["max_wal_senders"] = std::to_string(c.max_wal_senders);
  settings["max_prepared_transactions"] = std::to_string(c.max_prepared_transactions);
  settings["max_locks_per_transaction"] = std::to_string(std::max(c.max_locks_per_transaction, 10u));
  settings["hot_standby"] = "on";
  settings["archive_mode"] = "off";
  settings["primary_conninfo"] = "";
  settings["primary_slot_name"] = "";
  settings["synchronous_standby_names"] = "";
  settings["max_logical_replication_workers"] = "0";  // its subscriptions connect to nobody
  settings["ssl"] = "off";
  settings["shared_buffers"] = "128MB";
  settings["huge_pages"] = "off";
  settings["cluster_name"] = "varve";
  settings["external_pid_file"] = "";
  settings["unix_socket_permissions"] = "0700";
  // What it says belongs to who started it.
  settings["logging_collector"] = "off";
  settings["log_destination"] = "stderr";
  return {};
}

Result<std::vector<std::string>> command_line(const Context& ctx, const os::Path& data_directory,
                                              const Binaries& binaries, const ServerOptions& options,
                                              const std::optional<os::Account>& account) {
  Settings settings;
  if (options.isolated) TRY_OK(isolate(ctx, data_directory, options, account, settings));
  // A configuration that came with the backup may name the place where the cluster was.
  settings["data_directory"] = data_directory.native();
  settings["port"] = std::to_string(options.port);
  if (options.listen) settings["listen_addresses"] = *options.listen;
  settings["unix_socket_directories"] = options.socket_folder.native();
  for (const auto& [key, value] : options.settings) settings[key] = value;
  std::vector<std::string> argv = {(binaries.folder / "postgres").native(), "-D", data_directory.native()};
  for (const auto& [key, value] : settings) {
    argv.push_back("-c");
    argv.push_back(key + "=" + value);
  }
  return argv;
}

// The end of it.
std::string log_of(const RunningServer& server) {
  const auto file = os::File::open(server.log, os::File::Mode::kRead);
  if (!file) return "";
  const auto size = file->size();
  if (!size) return "";
  const uint64_t from = *size > kLogTail ? *size - kLogTail : 0;
  Buffer text(*size - from);
  const auto got = file->read_at(from, text);
  return got ? std::string(as_text(ByteView(text).first(*got))) : "";
}

// Why its process is no more.
tl::unexpected<Error> ended(const RunningServer& server) {
  const std::string words = last_words(server);
  std::string hint = fmt::format("its log: {}", printable(server.log.native()));
  if (words.find("before configured recovery target was reached") != words.npos)
    hint = "the target lies beyond the log that is there, or before the end of the backup";
  else if (words.find("could not locate required checkpoint record") != words.npos ||
           words.find("invalid checkpoint record") != words.npos)
    hint = "the WAL of the backup's start was not found: does restore_command work for that user?";
  return fail(Code::kDatabase, fmt::format("the PostgreSQL server ended: {}", words), hint);
}

Result<> ask(const Context& ctx, Connection& session, RecoveryProgress& progress,
             std::optional<RecoveryEnd>& end) {
  // One statement; each part answers in recovery and out of it.
  const std::string paused = session.major() >= 14 ? "pg_catalog.pg_get_wal_replay_pause_state() = 'paused'"
                                                   : "pg_catalog.pg_is_wal_replay_paused()";
  TRY_ASSIGN(const Rows in_recovery, session.query(ctx, "SELECT pg_catalog.pg_is_in_recovery()"));
  if (!in_recovery.boolean(0, 0)) {
    end = RecoveryEnd::kServing;
    return {};
  }
  // Fails when the recovery ends between the two: then the next look sees that.
  TRY_ASSIGN(const Rows rows,
             session.query(ctx, fmt::format("SELECT pg_catalog.pg_last_wal_replay_lsn(), {},"
                                            " (extract(epoch FROM pg_catalog.pg_last_xact_replay_timestamp())"
                                            " * 1000000)::bigint",
                                            paused)));
  if (auto lsn = parse_lsn(rows.text(0, 0))) progress.replayed = *lsn;
  if (!rows.is_null(0, 2)) {
    TRY_ASSIGN(const uint64_t us, rows.number(0, 2));
    progress.moment = Timestamp(std::chrono::microseconds(static_cast<int64_t>(us)));
  }
  if (rows.boolean(0, 1)) end = RecoveryEnd::kPaused;
  return {};
}

}  // namespace

Result<Binaries> find_binaries(const Context& ctx, int major) {
  for (const os::Path& folder : places(major)) {
    TRY_OK(ctx.check());
    if (auto found = look_in(ctx, folder, major)) return *found;
  }
  return fail(Code::kNotFound, fmt::format("the programs of PostgreSQL {} are not on this host", major),
              fmt::format("apt-get install postgresql-{}, or name their folder in $PGBIN", major));
}

Result<int> data_directory_version(const os::Path& data_directory) {
  TRY_ASSIGN(const Buffer text, os::read_file(data_directory / "PG_VERSION", 64));
  const auto major = leading_number(as_text(text));
  if (!major || *major < 1)
    return fail(Code::kDamaged,
                fmt::format("{} is no PostgreSQL data directory: its PG_VERSION is unreadable",
                            printable(data_directory.native())));
  return *major;
}

ClusterSpec RunningServer::spec() const {
  auto out =
      make_source(fmt::format("host={} port={} user={} dbname={}", quote_option(socket_folder.native()), port,
                              quote_option(user), quote_option(database)),
                  data_directory);
  return out ? *out : ClusterSpec{};
}

bool RunningServer::is_alive() const {
  return os::liveness(process) != os::Liveness::kDead;
}

// The status is the eighth line of postmaster.pid (src/include/utils/pidfile.h), which pg_ctl waits for too.
bool RunningServer::may_serve() const {
  constexpr size_t kStatus = 7;
  const auto text = os::read_file(data_directory / "postmaster.pid", 4096);
  if (!text) return text.error().code != Code::kNotFound;
  const auto lines = split(as_text(*text), '\n');
  return lines.size() > kStatus &&
         (lines[kStatus].starts_with("ready") || lines[kStatus].starts_with("standby"));
}

Result<RunningServer> start_server(const Context& ctx, const os::Path& data_directory,
                                   const Binaries& binaries, const ServerOptions& options) {
  TRY_OK(ctx.check());
  const os::Path root = std::filesystem::absolute(data_directory).lexically_normal();
  const os::Path folder = std::filesystem::absolute(options.socket_folder).lexically_normal();
  const os::Path socket = folder / fmt::format(".s.PGSQL.{}", options.port);
  if (socket.native().size() > kLongestSocket || folder.native().find_first_of("',\\ ") != std::string::npos)
    return fail(Code::kUsage, fmt::format("{} cannot hold the server's socket", printable(folder.native())),
                "a path shorter than 90 bytes, without spaces, quotes and commas");
  TRY_ASSIGN(const auto account, account_for(root));
  TRY_ASSIGN(const auto present, read_pid_file(root));
  if (present && os::liveness(os::identity_of(present->pid)) == os::Liveness::kAlive)
    return fail(
        Code::kConflict,
        fmt::format("a server runs on {} already (process {})", printable(root.native()), present->pid),
        "stop it first: pg_ctl stop -D …");
  ServerOptions resolved = options;
  resolved.socket_folder = folder;
  if (account && ::lchown(folder.c_str(), account->uid, account->gid) != 0)
    return fail(os::errno_error(errno, "change the owner of", folder));
  TRY_ASSIGN(const auto argv, command_line(ctx, root, binaries, resolved, account));
  RunningServer out{.data_directory = root,
                    .socket_folder = folder,
                    .log = folder / "postgres.log",
                    .port = options.port,
                    .user = options.user,
                    .database = options.database,
                    .process = {}};
  os::DetachedOptions detached{.account = account, .output = out.log, .folder = "/"};
  TRY_ASSIGN(const int64_t pid, os::start_detached(argv, detached));
  out.process = os::identity_of(pid);
  return out;
}

Result<RecoveryEnd> wait_until_recovered(const Context& ctx, const RunningServer& server, bool standby,
                                         const std::function<void(const RecoveryProgress&)>& progress) {
  std::unique_ptr<Connection> session;
  RecoveryProgress seen;
  auto reported = SteadyClock::now();
  for (;;) {
    TRY_OK(ctx.check());
    if (!server.is_alive()) {
      const auto control = read_control_file(ctx, server.data_directory);
      if (control && control->control.state == ClusterState::kShutDownInRecovery)
        return RecoveryEnd::kShutDown;
      return ended(server);
    }
    if ((!session || !session->is_open()) && server.may_serve()) {
      SessionOptions options;
      options.connect_timeout = kQuestion;
      auto opened = Connection::open(ctx, server.spec(), options);
      // Refused: it is starting, or not consistent yet. With hot_standby off it will never let one in.
      if (opened)
        session = std::move(*opened);
      else if (standby && opened.error().message.find("Hot standby mode is disabled") != std::string::npos)
        return RecoveryEnd::kStandby;
    }
    seen.connected = session && session->is_open();
    std::optional<RecoveryEnd> end;
    if (seen.connected) (void)ask(ctx.with_deadline(kQuestion), *session, seen, end);
    if (end) return *end;
    if (standby && seen.replayed > 0) return RecoveryEnd::kStandby;
    if (progress && SteadyClock::now() - reported >= kReport) {
      progress(seen);
      reported = SteadyClock::now();
    }
    TRY_OK(ctx.sleep(kPoll));
  }
}

Result<> stop_server(const Context& ctx, const RunningServer& server, std::chrono::seconds patience) {
  const auto pid = static_cast<pid_t>(server.process.pid);
  // Fast, immediate (a crash recovery at the next start), by force: each has its time.
  for (const int number : {SIGINT, SIGQUIT, SIGKILL}) {
    if (!server.is_alive()) return {};
    if (::kill(pid, number) != 0 && errno != ESRCH)
      return fail(os::errno_error(errno, "stop the server of", server.data_directory));
    const Context wait = ctx.with_deadline(number == SIGINT ? patience : std::chrono::seconds(15));
    while (server.is_alive() && wait.check()) (void)wait.sleep(kPoll);
    TRY_OK(ctx.check());
  }
  if (!server.is_alive()) return {};
  return fail(Code::kIo,
              fmt::format("the server of {} does not end", printable(server.data_directory.native())));
}

std::string last_words(const RunningServer& server) {
  const std::string text = log_of(server);
  std::vector<std::string> chosen, last;
  bool taking = false;
  for (const std::string_view line : split(text, '\n')) {
    if (trim(line).empty()) continue;
    const auto says = [&](std::string_view word) { return line.find(word) != line.npos; };
    if (says("FATAL:  the database system is")) continue;  // our own asking
    if (says("FATAL: ") || says("PANIC: ") || says("ERROR: ")) {
      taking = true;
    } else if (!(says("DETAIL: ") || says("HINT: "))) {
      taking = false;
    }
    std::vector<std::string>& to = taking ? chosen : last;
    to.push_back(printable(trim(line)));
    if (to.size() > 5) to.erase(to.begin());
  }
  std::string out;
  for (const std::string& line : chosen.empty() ? last : chosen) out += (out.empty() ? "" : " | ") + line;
  if (out.size() > kMostWords) out.erase(0, out.size() - kMostWords);
  return out.empty() ? "it said nothing" : out;
}

}  // namespace varve::engine::postgres
