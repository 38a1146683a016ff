#include "engine/postgres/backup_session.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <random>
#include <unistd.h>

#include "base/text.h"
#include "engine/postgres/control_file.h"
#include "engine/postgres/lsn.h"

namespace varve::engine::postgres {
namespace {

// The postmaster notes its start in postmaster.pid, and takes the time that SQL shows later: after it has its
// memory.
constexpr int64_t kStartSlack = 600;
// Of postmaster.pid (src/include/utils/pidfile.h): process id, data directory, start time, port; others
// change.
constexpr size_t kPidFileLines = 4;

Result<Timestamp> timestamp(const Rows& rows, size_t column) {
  // Microseconds since the epoch, asked for as a number.
  const std::string_view t = rows.text(0, column);
  int64_t us = 0;
  const auto [end, error] = std::from_chars(t.data(), t.data() + t.size(), us);
  if (error != std::errc() || end != t.data() + t.size())
    return fail(Code::kDatabase,
                fmt::format("the server answered \"{}\" where a time belongs", printable(t)));
  return Timestamp(std::chrono::microseconds(us));
}

constexpr std::string_view kClock = "(extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint";

// What the server refuses at the start or stop of a backup, with its mend.
tl::unexpected<Error> refused(Error error, const Connection& session) {
  const std::string& state = session.sqlstate();
  const bool old = session.major() < 15;
  if (state == "42501") {
    error.hint = fmt::format("as a superuser, in the database {}: GRANT EXECUTE ON FUNCTION {} TO \"{}\"",
                             session.database(),
                             old ? "pg_start_backup(text, boolean, boolean), pg_stop_backup(boolean, boolean)"
                                 : "pg_backup_start(text, boolean), pg_backup_stop(boolean)",
                             session.user());
  } else if (state == "55000" && error.message.find("WAL level") != std::string::npos) {
    error.hint = "set wal_level = replica and restart the server";
  } else if (state == "55000" && error.message.find("promoted") != std::string::npos) {
    error.hint = "take another backup, now of the new primary";
  } else if (state == "55000" && error.message.find("full_page_writes") != std::string::npos) {
    error.hint =
        "set full_page_writes = on at the primary, and take the backup again after its next checkpoint";
  }
  return fail(std::move(error));
}

std::optional<int64_t> line_number(const std::vector<std::string_view>& lines, size_t n) {
  if (n >= lines.size()) return std::nullopt;
  const std::string_view t = trim(lines[n]);
  int64_t out = 0;
  const auto [end, error] = std::from_chars(t.data(), t.data() + t.size(), out);
  if (t.empty() || error != std::errc() || end != t.data() + t.size()) return std::nullopt;
  return out;
}

}  // namespace

std::string temporary_slot_name() {
  std::random_device random;
  return fmt::format("varve_{}_{:08x}{:08x}", ::getpid(), random(), random());
}

std::string no_slot_warning(const Error& why) {
  return fmt::format(
      "no replication slot keeps this backup's WAL until it is copied; a busy server may remove it first "
      "({})",
      why.describe());
}

Result<ServerIdentity> identify(const Context& ctx, Connection& session) {
  // Settings that a role may not see are no rows of pg_settings; current_setting() would fail.
  TRY_ASSIGN(const Rows rows,
             session.query(ctx,
                           "SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()),"
                           " pg_catalog.pg_is_in_recovery(),"
                           " (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory'),"
                           " pg_catalog.current_setting('port'),"
                           " extract(epoch FROM pg_catalog.pg_postmaster_start_time())::bigint,"
                           " pg_catalog.current_setting('wal_level'),"
                           " pg_catalog.current_setting('full_page_writes')"));
  ServerIdentity out;
  TRY_ASSIGN(out.system_id, rows.number(0, 0));
  out.in_recovery = rows.boolean(0, 1);
  out.data_directory = std::string(rows.text(0, 2));
  TRY_ASSIGN(const uint64_t port, rows.number(0, 3));
  out.port = static_cast<uint32_t>(port);
  TRY_ASSIGN(const uint64_t started, rows.number(0, 4));
  out.started = static_cast<int64_t>(started);
  out.wal_level = rows.text(0, 5);
  out.full_page_writes = rows.text(0, 6) == "on";
  TRY_ASSIGN(
      const Rows allowed,
      session.query(ctx,
                    "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_read_file(text)', 'EXECUTE')"));
  if (allowed.boolean(0, 0)) {
    // Refused to some all the same (before 15 a role needs pg_read_server_files too): then it is not known.
    const auto file = session.query(ctx, "SELECT pg_catalog.pg_read_file('postmaster.pid')");
    TRY_OK(ctx.check());
    if (file) out.pid_file = file->text(0, 0);
  }
  return out;
}

Result<> check_data_directory(const Context& ctx, const os::Path& data_directory,
                              const ServerIdentity& server) {
  const std::string shown = printable(data_directory.native());
  constexpr const char* kHint =
      "data_directory and connection of the source must belong together: compare with SHOW data_directory";
  auto control = read_control_file(ctx, data_directory);
  if (!control) {
    Error error = std::move(control).error();
    if (error.code == Code::kDenied)
      error.hint = "run as the user who owns the data directory: sudo -u postgres varve …";
    if (error.code == Code::kNotFound)
      error.hint =
          "backups read the data directory's files: run on the database's host, or give the data_directory "
          "as "
          "this host sees it";
    return fail(std::move(error));
  }
  if (control->control.system_id != server.system_id)
    return fail(Code::kUsage,
                fmt::format("{} belongs to another cluster than the server that answers", shown), kHint);
  const auto pid_file = os::read_file(data_directory / "postmaster.pid", 4096);
  if (!pid_file && pid_file.error().code == Code::kNotFound)
    return fail(Code::kUsage, fmt::format("no server runs on {}: another one answers", shown), kHint);
  if (!pid_file) return fail(pid_file.error());
  const auto lines = split(as_text(*pid_file), '\n'), theirs = split(server.pid_file, '\n');
  bool same = true;
  if (theirs.size() >= kPidFileLines) {
    same = lines.size() >= kPidFileLines &&
           std::equal(lines.begin(), lines.begin() + kPidFileLines, theirs.begin());
  } else {
    const auto started = line_number(lines, 2), port = line_number(lines, 3);
    same = started && port && *port == server.port && std::abs(*started - server.started) <= kStartSlack;
  }
  if (!same)
    return fail(Code::kUsage, fmt::format("{} belongs to another server than the one that answers", shown),
                kHint);
  return {};
}

Result<std::unique_ptr<BackupSession>> BackupSession::start(const Context& ctx,
                                                            std::unique_ptr<Connection> session,
                                                            const std::string& label, bool fast_checkpoint,
                                                            std::vector<std::string>& warnings) {
  std::unique_ptr<BackupSession> out(new BackupSession(std::move(session)));
  Connection& s = *out->session_;
  // First the slot: from here on no checkpoint removes what the backup will need.
  TRY_OK(out->make_slot(ctx, warnings));
  const std::string call =
      s.major() < 15 ? "pg_catalog.pg_start_backup($1, $2, false)" : "pg_catalog.pg_backup_start($1, $2)";
  auto rows =
      s.query(ctx, fmt::format("SELECT {}, {}", call, kClock), {label, fast_checkpoint ? "true" : "false"});
  if (!rows) return refused(std::move(rows).error(), s);
  TRY_ASSIGN(out->start_lsn_, parse_lsn(rows->text(0, 0)));
  TRY_ASSIGN(out->started_, timestamp(*rows, 1));
  return out;
}

Result<> BackupSession::make_slot(const Context& ctx, std::vector<std::string>& warnings) {
  const std::string name = temporary_slot_name();
  // Temporary, with its WAL reserved at once.
  const auto made =
      session_->query(ctx, "SELECT pg_catalog.pg_create_physical_replication_slot($1, true, true)", {name});
  if (made) {
    slot_ = name;
    return {};
  }
  TRY_OK(ctx.check());
  if (!session_->is_open()) return fail(made.error());
  warnings.push_back(no_slot_warning(made.error()));
  return {};
}

Result<BackupStop> BackupSession::stop(const Context& ctx) {
  if (!is_open())
    return fail(Code::kDatabase, "the session of the backup was lost, and the backup with it",
                "look in the server's log for why, and run again");
  // Not waiting for the archive: who copies the WAL looks at it himself.
  const char* sql = session_->major() < 15
                        ? "SELECT lsn, labelfile, spcmapfile FROM pg_catalog.pg_stop_backup(false, false)"
                        : "SELECT lsn, labelfile, spcmapfile FROM pg_catalog.pg_backup_stop(false)";
  auto rows = session_->query(ctx, sql);
  if (!rows) return refused(std::move(rows).error(), *session_);
  BackupStop out;
  TRY_ASSIGN(out.lsn, parse_lsn(rows->text(0, 0)));
  out.label = rows->text(0, 1);
  out.tablespace_map = rows->text(0, 2);
  TRY_ASSIGN(const Rows clock, session_->query(ctx, fmt::format("SELECT {}", kClock)));
  TRY_ASSIGN(out.moment, timestamp(clock, 0));
  return out;
}

Result<bool> BackupSession::keeps_wal(const Context& ctx) {
  if (slot_.empty() || !is_open()) return false;
  TRY_ASSIGN(
      const Rows rows,
      session_->query(ctx,
                      "SELECT restart_lsn, coalesce(wal_status, '') FROM pg_catalog.pg_replication_slots"
                      " WHERE slot_name = $1",
                      {slot_}));
  if (rows.size() == 0 || rows.is_null(0, 0) || rows.text(0, 1) == "lost") return false;
  TRY_ASSIGN(const uint64_t from, parse_lsn(rows.text(0, 0)));
  return from <= start_lsn_;
}

// "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)" and so on
// (build_backup_content() of src/backend/access/transam/xlogbackup.c).
Result<BackupLabel> parse_backup_label(std::string_view text) {
  BackupLabel out;
  for (const std::string_view line : split(text, '\n')) {
    const size_t colon = line.find(": ");
    if (colon == line.npos) continue;
    const std::string_view key = line.substr(0, colon), value = line.substr(colon + 2);
    if (key == "START WAL LOCATION") {
      TRY_ASSIGN(out.start_lsn, parse_lsn(value.substr(0, value.find(' '))));
    } else if (key == "CHECKPOINT LOCATION") {
      TRY_ASSIGN(out.checkpoint_lsn, parse_lsn(value));
    } else if (key == "BACKUP FROM") {
      out.from_standby = value == "standby";
    } else if (key == "START TIMELINE") {
      std::from_chars(value.data(), value.data() + value.size(), out.timeline);
    }
  }
  if (out.start_lsn == 0 || out.checkpoint_lsn == 0 || out.timeline == 0)
    return fail(Code::kDamaged, "the server's backup_label lacks its positions or timeline");
  return out;
}

}  // namespace varve::engine::postgres
