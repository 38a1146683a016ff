#include "engine/postgres/probe.h"

#include <fmt/format.h>
#include <unistd.h>

#include "base/text.h"
#include "engine/postgres/backup_session.h"
#include "engine/postgres/server.h"
#include "engine/postgres/stream.h"

namespace varve::engine::postgres {
namespace {

using Severity = Problem::Severity;

constexpr int kNewestVersion = 18;
constexpr int kSummariesVersion = 17;
// What wal_summaries.cc calls.
constexpr const char* kSummaryFunctions[] = {"pg_get_wal_summarizer_state()", "pg_available_wal_summaries()",
                                             "pg_wal_summary_contents(bigint, pg_lsn, pg_lsn)"};
constexpr uint64_t kMuchWal = 10ull << 30;  // held by a slot that nobody reads

class Prober {
 public:
  Prober(const Context& ctx, const ClusterSpec& spec) : ctx_(ctx), spec_(spec) {}

  Result<std::vector<Problem>> run() {
    auto opened = Connection::open(ctx_, spec_);
    TRY_OK(ctx_.check());
    if (!opened) {
      add(Severity::kError, opened.error());
      return std::move(out_);
    }
    session_ = std::move(*opened);
    if (session_->major() > kNewestVersion)
      add(Severity::kError, fmt::format("PostgreSQL {} is not supported yet", session_->version_text()),
          "update Varve");
    // Each part stands alone: what one cannot ask says nothing about the others.
    for (auto part : {&Prober::data_directory, &Prober::settings, &Prober::permissions, &Prober::slots,
                      &Prober::summaries, &Prober::archiving, &Prober::checksums, &Prober::programs}) {
      auto done = (this->*part)();
      TRY_OK(ctx_.check());
      if (!done) add(Severity::kWarning, done.error());
    }
    return std::move(out_);
  }

 private:
  void add(Severity severity, std::string what, std::string mend) {
    out_.push_back({severity, std::move(what), std::move(mend)});
  }
  void add(Severity severity, const Error& error) { add(severity, error.describe(), error.hint); }

  Result<Rows> ask(const std::string& sql) { return session_->query(ctx_, sql); }
  std::string role() const { return "\"" + session_->user() + "\""; }

  Result<> data_directory() {
    TRY_ASSIGN(server_, identify(ctx_, *session_));
    if (by_replication()) return replication();
    const os::Path given = spec_.data_directory.empty() ? server_.data_directory : spec_.data_directory;
    if (given.empty()) {
      add(Severity::kError, "the server does not tell this role where its data directory is",
          fmt::format("GRANT pg_read_all_settings TO {}, or give data_directory in the configuration",
                      role()));
      return {};
    }
    if (auto fits = check_data_directory(ctx_, given, server_); !fits) {
      add(Severity::kError, fits.error());
      return {};
    }
    // Folders that a role may enter and not read would end a backup in its midst.
    for (const char* folder : {"base", "global", "pg_wal", "pg_tblspc"}) {
      if (::access((given / folder).c_str(), R_OK | X_OK) != 0)
        add(Severity::kError,
            os::errno_error(errno, "read", given / folder)
                .with_hint("run as the user who owns the data directory: sudo -u postgres varve …"));
    }
    return {};
  }

  bool by_replication() const { return spec_.access == Access::kReplication; }

  // The server itself says best whether it would send: one after another, what stands first in the way.
  Result<> replication() {
    TRY_ASSIGN(const Rows rows, ask("SELECT pg_catalog.current_setting('max_wal_senders')"));
    if (rows.text(0, 0) == "0") {
      add(Severity::kError, "max_wal_senders is 0: the server sends no backups",
          "ALTER SYSTEM SET max_wal_senders = 10, then restart the server");
      return {};
    }
    TRY_ASSIGN(const bool allowed, may_replicate());
    if (!allowed) {
      add(Severity::kError,
          fmt::format("the role {} may not take backups over the replication protocol", role()),
          fmt::format("as a superuser: ALTER ROLE {} REPLICATION; and in pg_hba.conf a line such as: host "
                      "replication {} ADDRESS/32 scram-sha-256",
                      role(), session_->user()));
      return {};
    }
    auto opened = ReplicationSession::open(ctx_, spec_);
    if (!opened) {
      add(Severity::kError, opened.error());
      return {};
    }
    TRY_ASSIGN(const StreamHead head, opened->identify(ctx_));
    if (head.system_id != server_.system_id)
      add(Severity::kError, "another cluster answers over the replication protocol than by SQL",
          "connection must lead to one server, and to it directly");
    return {};
  }

  Result<bool> may_replicate() {
    TRY_ASSIGN(const Rows rows, ask("SELECT r.rolsuper OR r.rolreplication FROM pg_catalog.pg_roles r "
                                    "WHERE r.rolname = current_user"));
    return rows.size() == 0 || rows.boolean(0, 0);
  }

  Result<> settings() {
    if (server_.wal_level == "minimal")
      add(Severity::kError, "wal_level is minimal: there can be no backup of the running server",
          "ALTER SYSTEM SET wal_level = 'replica', then restart the server");
    if (!server_.full_page_writes)
      add(server_.in_recovery ? Severity::kError : Severity::kWarning,
          "full_page_writes is off: a crash can tear pages, and single tables cannot be restored",
          "ALTER SYSTEM SET full_page_writes = 'on', then reload" +
              std::string(server_.in_recovery ? " (at the primary)" : ""));
    TRY_ASSIGN(const Rows rows, ask("SELECT pg_catalog.current_setting('fsync')"));
    if (rows.text(0, 0) == "off")
      add(Severity::kWarning, "fsync is off: a crash of the host can destroy this cluster",
          "ALTER SYSTEM SET fsync = 'on', then reload");
    return {};
  }

  // To start and stop a backup whose files are read here.
  Result<> backup_permissions() {
    const bool old = session_->major() < 15;
    const std::vector<std::string> functions =
        old ? std::vector<std::string>{"pg_start_backup(text, boolean, boolean)",
                                       "pg_stop_backup(boolean, boolean)"}
            : std::vector<std::string>{"pg_backup_start(text, boolean)", "pg_backup_stop(boolean)"};
    for (const std::string& function : functions) {
      TRY_ASSIGN(
          const Rows rows,
          ask(fmt::format("SELECT pg_catalog.has_function_privilege('pg_catalog.{}', 'EXECUTE')", function)));
      if (!rows.boolean(0, 0))
        add(Severity::kError, fmt::format("the role {} may not take backups", role()),
            fmt::format("as a superuser, in the database {}: GRANT EXECUTE ON FUNCTION pg_catalog.{} TO {}",
                        session_->database(), function, role()));
    }
    TRY_ASSIGN(const bool may_have_slots, may_replicate());
    if (!may_have_slots)
      add(Severity::kWarning,
          fmt::format("the role {} may not use replication slots: nothing keeps the WAL while a backup runs",
                      role()),
          fmt::format("ALTER ROLE {} REPLICATION", role()));
    return {};
  }

  Result<> permissions() {
    if (!by_replication()) TRY_OK(backup_permissions());
    TRY_ASSIGN(const Rows closed,
               ask("SELECT d.datname FROM pg_catalog.pg_database d WHERE d.datallowconn AND NOT"
                   " pg_catalog.has_database_privilege(d.oid, 'CONNECT') ORDER BY 1"));
    for (size_t i = 0; i < closed.size(); ++i)
      add(Severity::kWarning,
          fmt::format(
              "the role {} may not connect to the database {}: its tables cannot be restored one by one",
              role(), printable(closed.text(i, 0))),
          fmt::format("GRANT CONNECT ON DATABASE \"{}\" TO {}", printable(closed.text(i, 0)), role()));
    return {};
  }

  Result<> slots() {
    TRY_ASSIGN(const Rows room, ask("SELECT pg_catalog.current_setting('max_replication_slots')::int -"
                                    " (SELECT count(*) FROM pg_catalog.pg_replication_slots)"));
    if (room.text(0, 0) == "0" || room.text(0, 0).starts_with('-'))
      add(Severity::kWarning, "no replication slot is free: nothing keeps the WAL while a backup runs",
          "raise max_replication_slots and restart, or drop a slot that nobody uses");
    const std::string here =
        server_.in_recovery ? "pg_catalog.pg_last_wal_replay_lsn()" : "pg_catalog.pg_current_wal_lsn()";
    TRY_ASSIGN(
        const Rows rows,
        ask(fmt::format("SELECT slot_name, active, coalesce(wal_status, ''),"
                        " greatest(coalesce(pg_catalog.pg_wal_lsn_diff({}, restart_lsn), 0), 0)::bigint"
                        " FROM pg_catalog.pg_replication_slots WHERE NOT temporary ORDER BY 1",
                        here)));
    for (size_t i = 0; i < rows.size(); ++i) {
      const std::string name = printable(rows.text(i, 0));
      TRY_ASSIGN(const uint64_t held, rows.number(i, 3));
      if (rows.text(i, 2) == "lost")
        add(Severity::kWarning, fmt::format("the replication slot {} has lost WAL it needed", name),
            fmt::format("who reads it must begin anew; then: SELECT pg_drop_replication_slot('{}')", name));
      else if (!rows.boolean(i, 1) && held >= kMuchWal)
        add(Severity::kWarning,
            fmt::format("nobody reads the replication slot {}, and it holds back {} of WAL", name,
                        human_size(held)),
            fmt::format("start its reader, or: SELECT pg_drop_replication_slot('{}')", name));
    }
    return {};
  }

  // Without them backups ask Varve's own index of the WAL.
  Result<> summaries() {
    if (session_->major() < kSummariesVersion) return {};
    TRY_ASSIGN(const Rows rows, ask("SELECT pg_catalog.current_setting('summarize_wal')::bool"));
    if (!rows.boolean(0, 0)) {
      add(Severity::kNote,
          "summarize_wal is off: which pages changed is known from the WAL only as far as it is shipped",
          "ALTER SYSTEM SET summarize_wal = 'on', then reload");
      return {};
    }
    for (const char* function : kSummaryFunctions) {
      TRY_ASSIGN(const Rows may, ask(fmt::format("SELECT pg_catalog.has_function_privilege('pg_catalog.{}',"
                                                 " 'EXECUTE')",
                                                 function)));
      if (!may.boolean(0, 0))
        add(Severity::kNote,
            fmt::format("the role {} may not call {}: the server's WAL summaries are of no use to it", role(),
                        function),
            fmt::format("as a superuser, in the database {}: GRANT EXECUTE ON FUNCTION pg_catalog.{} TO {}",
                        session_->database(), function, role()));
    }
    return {};
  }

  Result<> archiving() {
    TRY_ASSIGN(const Rows rows,
               ask("SELECT pg_catalog.current_setting('archive_mode'), coalesce(s.last_failed_wal, ''),"
                   " s.last_failed_time > coalesce(s.last_archived_time, '-infinity'), s.failed_count"
                   " FROM pg_catalog.pg_stat_archiver s"));
    if (rows.size() != 1) return {};
    if (rows.text(0, 0) == "off") {
      add(Severity::kNote,
          "archiving is off: between two backups no moment can be recovered unless the log is followed",
          "archive_mode = on with archive_command = 'varve log push … %p', or varve log follow");
      return {};
    }
    if (rows.boolean(0, 2))
      add(Severity::kError,
          fmt::format("archiving fails: {} could not be archived ({} failures)", printable(rows.text(0, 1)),
                      rows.text(0, 3)),
          "look in the server's log for what archive_command says");
    if (server_.in_recovery && rows.text(0, 0) != "always")
      add(Severity::kNote, "this standby archives nothing itself (archive_mode is not \"always\")",
          "let the primary archive, or follow the log here");
    return {};
  }

  Result<> checksums() {
    TRY_ASSIGN(const Rows rows, ask("SELECT pg_catalog.current_setting('data_checksums')"));
    if (rows.text(0, 0) == "off")
      add(Severity::kNote, "the cluster has no page checksums: damage on its disks goes unseen into backups",
          "pg_checksums --enable, while the server is stopped");
    return {};
  }

  Result<> programs() {
    const auto found = find_binaries(ctx_, session_->major());
    if (!found && found.error().code == Code::kNotFound)
      add(Severity::kNote, found.error().message + ": nothing can be restored and started here",
          found.error().hint);
    return {};
  }

  const Context& ctx_;
  const ClusterSpec& spec_;
  std::unique_ptr<Connection> session_;
  ServerIdentity server_;
  std::vector<Problem> out_;
};

}  // namespace

Result<std::vector<Problem>> probe(const Context& ctx, const ClusterSpec& spec) {
  return Prober(ctx, spec).run();
}

}  // namespace varve::engine::postgres
