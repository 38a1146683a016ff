#include "engine/postgres/database_load.h"

#include <fmt/format.h>
#include <set>
#include <unistd.h>

#include "base/text.h"
#include "engine/postgres/table_dump.h"

namespace varve::engine::postgres {
namespace {

// Until it is whole it is called so.
std::string part_name(const std::string& name) {
  return fitting_name(name, ".varve-part");
}

std::vector<std::string> dump_command(const RecoveredDatabase& from, const os::Path& to,
                                      const std::string& format) {
  return {"pg_dump",
          "--dbname=" + from.spec().connection,
          "--file=" + to.native(),
          "--format=" + format,
          "--no-password",
          "--no-subscriptions",
          "--no-unlogged-table-data"};
}

Result<std::vector<std::string>> column(const Context& ctx, Connection& session, const std::string& sql) {
  TRY_ASSIGN(const Rows rows, session.query(ctx, sql));
  std::vector<std::string> out;
  for (size_t i = 0; i < rows.size(); ++i) out.emplace_back(rows.text(i, 0));
  return out;
}
Result<std::set<std::string>> set_of(const Context& ctx, Connection& session, const std::string& sql) {
  TRY_ASSIGN(auto names, column(ctx, session, sql));
  return std::set<std::string>(std::make_move_iterator(names.begin()), std::make_move_iterator(names.end()));
}

}  // namespace

Result<DatabaseTarget> DatabaseTarget::open(const Context& ctx, const ClusterSpec& into) {
  DatabaseTarget out;
  out.into_ = into;
  if (database_of(into).empty()) {
    TRY_ASSIGN(out.into_, make_source(into.connection + " dbname=postgres", {}));
  }
  SessionOptions session;
  session.database = database_of(out.into_);
  TRY_ASSIGN(out.session_, Connection::open(ctx, out.into_, session));
  return out;
}

Result<> DatabaseTarget::ensure_free(const Context& ctx, const std::string& name) {
  const auto exists = [&](const std::string& database) -> Result<bool> {
    TRY_ASSIGN(const Rows rows,
               session_->query(ctx, "SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1", {database}));
    return rows.size() > 0;
  };
  TRY_ASSIGN(const bool taken, exists(name));
  if (taken)
    return fail(
        Code::kConflict,
        fmt::format("the server has a database {} already, and nothing is ever replaced", printable(name)),
        fmt::format("give the restored one a name of its own: --as {}", fitting_name(name, "_restored")));
  TRY_ASSIGN(const bool left, exists(part_name(name)));
  if (left)
    return fail(Code::kConflict,
                fmt::format("the server has a database {}: a restore of {} is under way, or was killed",
                            printable(part_name(name)), printable(name)),
                fmt::format("if none is under way: DROP DATABASE {}", quote_identifier(part_name(name))));
  TRY_ASSIGN(const Rows may, session_->query(ctx,
                                             "SELECT rolsuper OR rolcreatedb FROM pg_catalog.pg_roles"
                                             " WHERE rolname = current_user"));
  if (may.size() > 0 && may.boolean(0, 0)) return {};
  return fail(Code::kDenied, fmt::format("{} may make no database there", printable(session_->user())),
              fmt::format("ALTER ROLE {} CREATEDB, or name another user in --into-connection",
                          quote_identifier(session_->user())));
}

class DatabaseTarget::Work {
 public:
  Work(const Context& ctx, const Binaries& binaries, DatabaseTarget& to, RecoveredDatabase& from,
       unsigned workers)
      : ctx_(ctx),
        binaries_(binaries),
        here_(*to.session_),
        there_(from.session()),
        from_(from),
        sessions_(fmt::format("varve restore {}", ::getpid())),
        connection_(fmt::format("{} application_name={}", to.into_.connection, quote_option(sessions_))),
        workers_(fmt::format("--jobs={}", workers)) {}

  Result<std::vector<std::string>> run(const std::string& name, const os::Path& folder) {
    TRY_OK(extensions());
    TRY_OK(roles());
    TRY_OK(tablespaces());
    const std::string part = part_name(name);
    TRY_OK(from_.rename_database(ctx_, part));
    auto dump = dump_command(from_, folder / "database", "directory");
    dump.insert(dump.end(), {"--compress=1", workers_});
    TRY_OK(run_client(ctx_, binaries_, std::move(dump)));
    auto loaded = load(part, folder / "database");
    if (loaded) loaded = rename(part, name);
    if (loaded) return std::move(notes_);
    const auto dropped = drop(part);
    return fail(std::move(loaded).error().with_hint(
        dropped ? "nothing was changed; with --target FILE.dump it comes as an archive for pg_restore"
                : "what was loaded is left behind: DROP DATABASE " + quote_identifier(part)));
  }

 private:
  void note(std::string text) { notes_.push_back(std::move(text)); }

  Result<> load(const std::string& part, const os::Path& dump) {
    std::vector<std::string> argv = {"pg_restore", "--dbname=" + connection_, "--create",
                                     workers_,     "--exit-on-error",         "--no-password"};
    if (!owners_) argv.push_back("--no-owner");
    if (!tablespaces_) argv.push_back("--no-tablespaces");
    argv.push_back(dump.native());
    TRY_OK(run_client(ctx_, binaries_, std::move(argv)));
    TRY_ASSIGN(const Rows made,
               here_.query(ctx_, "SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1", {part}));
    if (made.size() == 0) return fail(Code::kInternal, "pg_restore made no database");
    return {};
  }
  // Also when we were asked to stop. What the programs' sessions are at ends first: one may be making it.
  Result<> drop(const std::string& part) {
    const Context last = Context{}.with_deadline(std::chrono::seconds(30));
    for (;;) {
      TRY_ASSIGN(const Rows sessions,
                 here_.query(last,
                             "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
                             " WHERE application_name = $1",
                             {sessions_}));
      if (sessions.size() == 0) break;
      TRY_OK(last.sleep(std::chrono::milliseconds(100)));
    }
    return here_.query(last, "DROP DATABASE IF EXISTS " + quote_identifier(part)).map([](const auto&) {});
  }
  Result<> rename(const std::string& part, const std::string& name) {
    return here_
        .query(ctx_,
               fmt::format("ALTER DATABASE {} RENAME TO {}", quote_identifier(part), quote_identifier(name)))
        .map([](const auto&) {});
  }

  Result<> extensions() {
    TRY_ASSIGN(const auto available,
               set_of(ctx_, here_, "SELECT name FROM pg_catalog.pg_available_extensions"));
    TRY_ASSIGN(const auto needed,
               column(ctx_, there_, "SELECT extname FROM pg_catalog.pg_extension ORDER BY 1"));
    for (const std::string& name : needed) {
      if (!available.contains(name))
        return fail(
            Code::kDatabase,
            fmt::format("the database needs the extension {}, which the server lacks", printable(name)),
            "install the extension's package on the server's host");
    }
    return {};
  }

  // A role that the server lacks can own nothing there, and nothing can be granted to it.
  Result<> roles() {
    TRY_ASSIGN(const auto present, set_of(ctx_, here_, "SELECT rolname FROM pg_catalog.pg_roles"));
    TRY_ASSIGN(const Rows super,
               here_.query(ctx_, "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"));
    const std::string user = printable(here_.user());
    const bool is_super = super.size() > 0 && super.boolean(0, 0);
    if (!is_super) {
      owners_ = false;
      note(fmt::format("everything belongs to {}: only a superuser may give it to others", user));
    }
    TRY_ASSIGN(const auto used,
               column(ctx_, there_,
                      "SELECT DISTINCT r.rolname FROM pg_catalog.pg_shdepend s"
                      " JOIN pg_catalog.pg_authid r ON r.oid = s.refobjid,"
                      " pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()"
                      " AND s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass"
                      " AND (s.dbid = d.oid OR (s.dbid = 0 AND s.objid = d.oid"
                      " AND s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass)) ORDER BY 1"));
    for (const std::string& role : used) {
      if (present.contains(role)) continue;
      const std::string name = quote_identifier(role);
      TRY_OK(there_.query(ctx_, fmt::format("REASSIGN OWNED BY {} TO CURRENT_USER", name)));
      TRY_OK(there_.query(ctx_, fmt::format("DROP OWNED BY {}", name)));
      note(
          fmt::format("there is no role {}: what was its own belongs to another, what was granted to it was "
                      "left out",
                      printable(role)));
    }
    // The server's first role owns what has no other owner, and no list of dependences names it.
    TRY_ASSIGN(const auto first,
               column(ctx_, there_,
                      "SELECT rolname FROM pg_catalog.pg_authid WHERE oid = 10 OR rolname = current_user"));
    for (const std::string& role : first) {
      if (!owners_ || present.contains(role)) continue;
      owners_ = false;
      note(fmt::format("everything belongs to {}: there is no role {}", user, printable(role)));
    }
    return {};
  }

  Result<> tablespaces() {
    TRY_ASSIGN(const auto present, set_of(ctx_, here_, "SELECT spcname FROM pg_catalog.pg_tablespace"));
    TRY_ASSIGN(const auto needed,
               column(ctx_, there_,
                      "SELECT spcname FROM pg_catalog.pg_tablespace s WHERE EXISTS (SELECT 1 FROM"
                      " pg_catalog.pg_class c WHERE c.reltablespace = s.oid AND NOT c.relisshared) OR EXISTS"
                      " (SELECT 1 FROM pg_catalog.pg_database d WHERE d.dattablespace = s.oid"
                      " AND d.datname = pg_catalog.current_database())"));
    for (const std::string& name : needed) {
      if (present.contains(name)) continue;
      tablespaces_ = false;
      note(fmt::format("all is in the server's own tablespace: there is none called {}", printable(name)));
    }
    return {};
  }

  const Context& ctx_;
  const Binaries& binaries_;
  Connection& here_;
  Connection& there_;
  RecoveredDatabase& from_;
  const std::string sessions_, connection_, workers_;  // sessions_: the name of pg_restore's
  bool owners_ = true, tablespaces_ = true;
  std::vector<std::string> notes_;
};

Result<std::vector<std::string>> DatabaseTarget::load(const Context& ctx, const Binaries& binaries,
                                                      RecoveredDatabase& from, const std::string& name,
                                                      const os::Path& folder, unsigned workers) {
  TRY_OK(ensure_free(ctx, name));
  return Work(ctx, binaries, *this, from, workers).run(name, folder);
}

Result<> dump_database(const Context& ctx, const Binaries& binaries, const RecoveredDatabase& from,
                       const os::Path& file, bool plain) {
  return run_client(ctx, binaries, dump_command(from, file, plain ? "plain" : "custom")).map([](const auto&) {
  });
}

Result<std::vector<std::string>> not_dumped(const Context& ctx, RecoveredDatabase& from) {
  std::vector<std::string> out;
  TRY_ASSIGN(const auto unlogged,
             column(ctx, from.session(),
                    "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c"
                    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                    " WHERE c.relpersistence = 'u' AND c.relkind = 'r' ORDER BY 1"));
  for (const std::string& table : unlogged)
    out.push_back(fmt::format("{} is unlogged: no backup holds its rows", printable(table)));
  TRY_ASSIGN(const auto subscriptions,
             column(ctx, from.session(),
                    "SELECT subname FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d"
                    " ON d.oid = s.subdbid WHERE d.datname = pg_catalog.current_database() ORDER BY 1"));
  for (const std::string& name : subscriptions)
    out.push_back(
        fmt::format("the subscription {} was left out: it is the living database's", printable(name)));
  return out;
}

}  // namespace varve::engine::postgres
