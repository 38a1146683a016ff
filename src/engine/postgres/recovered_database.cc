#include "engine/postgres/recovered_database.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"
#include "engine/postgres/data_directory.h"

namespace varve::engine::postgres {
namespace {

constexpr auto kPoll = std::chrono::milliseconds(20);
constexpr std::chrono::seconds kQuestion{10};

bool says(const Error& error, std::string_view text) {
  return error.message.find(text) != std::string::npos;
}

// What a server says, or libpq of it, while it has not come to serve yet.
bool is_not_ready(const Error& error) {
  for (const char* text :
       {"starting up", "not accepting connections", "not yet accepting", "in recovery mode", "No such file",
        "refused", "did not answer", "closed the connection"})
    if (says(error, text)) return true;
  return false;
}

Result<uint32_t> oid_at(const Rows& rows, size_t row, size_t column) {
  TRY_ASSIGN(const uint64_t n, rows.number(row, column));
  return static_cast<uint32_t>(n);
}

char letter(const Rows& rows, size_t row, size_t column) {
  const std::string_view t = rows.text(row, column);
  return t.empty() ? '?' : t.front();
}

std::string array_of(const std::vector<uint32_t>& oids) {
  std::string out = "ARRAY[";
  for (size_t i = 0; i < oids.size(); ++i) out += (i ? "," : "") + std::to_string(oids[i]);
  return out + "]::pg_catalog.oid[]";
}

}  // namespace

Result<std::unique_ptr<RecoveredDatabase>> RecoveredDatabase::open(const Context& ctx,
                                                                   const RunningServer& server,
                                                                   const std::string& database,
                                                                   const std::vector<std::string>& users) {
  std::unique_ptr<RecoveredDatabase> out(new RecoveredDatabase);
  out->database_ = database;
  size_t user = 0;
  for (;;) {
    TRY_OK(ctx.check());
    if (!server.is_alive())
      return fail(Code::kDatabase, fmt::format("the scratch server ended: {}", last_words(server)),
                  "the point may lie beyond the log that is there");
    if (!server.may_serve()) {
      TRY_OK(ctx.sleep(kPoll));
      continue;
    }
    // options='' keeps $PGOPTIONS out, which is for other servers.
    TRY_ASSIGN(out->spec_, make_source(fmt::format("host={} port={} user={} dbname={} options=''",
                                                   quote_option(server.socket_folder.native()), server.port,
                                                   quote_option(users[user]), quote_option(database)),
                                       {}));
    SessionOptions options;
    options.database = database;
    options.connect_timeout = kQuestion;
    auto opened = Connection::open(ctx, out->spec_, options);
    if (opened) {
      out->session_ = std::move(*opened);
      break;
    }
    const Error& error = opened.error();
    TRY_OK(ctx.check());
    if (says(error, "role \"") && says(error, "does not exist") && user + 1 < users.size()) {
      ++user;
      continue;
    }
    if (says(error, "database \"") && says(error, "does not exist"))
      return fail(Code::kNotFound,
                  fmt::format("at that moment there was no database {}", printable(database)));
    if (says(error, "role \"") && says(error, "does not exist"))
      return fail(Code::kDatabase,
                  fmt::format("the cluster has no role {}, as which the scratch server could be entered",
                              printable(users[user])),
                  "the connection of the source must name a superuser: user=…");
    if (!is_not_ready(error)) return fail(opened.error());
    TRY_OK(ctx.sleep(kPoll));
  }
  // What the database or the role has set for its sessions is meant for others.
  TRY_OK(out->session_->query(ctx, "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE"));
  // A planner that trusts no index: they are as the log left them, and nobody needs them here.
  TRY_OK(
      out->session_->query(ctx,
                           "SELECT pg_catalog.set_config(s, 'off', false) FROM (VALUES ('enable_indexscan'),"
                           " ('enable_indexonlyscan'), ('enable_bitmapscan'), ('row_security')) AS v(s)"));
  TRY_ASSIGN(const Rows oid, out->session_->query(ctx,
                                                  "SELECT oid FROM pg_catalog.pg_database"
                                                  " WHERE datname = pg_catalog.current_database()"));
  TRY_ASSIGN(out->oid_, oid_at(oid, 0, 0));
  return out;
}

Result<> RecoveredDatabase::find(const Context& ctx, const std::vector<TableName>& tables) {
  tables_.clear();
  for (const TableName& t : tables) {
    TRY_ASSIGN(const Rows rows,
               session_->query(ctx,
                               "SELECT c.oid, c.relkind, c.relpersistence FROM pg_catalog.pg_class c JOIN"
                               " pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                               " WHERE n.nspname = $1 AND c.relname = $2",
                               {t.schema, t.name}));
    if (rows.size() == 0) {
      TRY_ASSIGN(const Rows all,
                 session_->query(ctx,
                                 "SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_class c JOIN"
                                 " pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                                 " WHERE c.relkind IN ('r', 'p') AND c.oid >= 16384 LIMIT 100000"));
      std::vector<std::string> names;
      for (size_t i = 0; i < all.size(); ++i) names.emplace_back(all.text(i, 0));
      const auto near = nearest(t.schema + "." + t.name, names);
      return fail(Code::kNotFound, fmt::format("at that moment there was no table {}", printable(t.text())),
                  near.empty() ? "`varve history` tells when it was made and dropped"
                               : fmt::format("did you mean {}?", printable(near.front())));
    }
    TakenTable table{.schema = t.schema, .name = t.name, .kind = letter(rows, 0, 1)};
    TRY_ASSIGN(table.oid, oid_at(rows, 0, 0));
    table.persistence = letter(rows, 0, 2);
    if (table.kind == 'm')
      return fail(
          Code::kUnsupported,
          fmt::format("{} is a materialized view, which can only be computed anew", printable(t.text())),
          "restore the tables it reads, and refresh it");
    if (table.kind != 'r' && table.kind != 'p')
      return fail(Code::kUsage, fmt::format("{} is no table", printable(t.text())));
    tables_.push_back(std::move(table));
  }
  return load_members(ctx);
}

Result<> RecoveredDatabase::load_members(const Context& ctx) {
  std::vector<uint32_t> roots;
  for (const TakenTable& t : tables_) roots.push_back(t.oid);
  // Tables with their partitions; the TOAST tables of those; the indexes of all; sequences that columns own
  // (deptype a: serial, i: identity).
  const std::string sql = fmt::format(
      "WITH RECURSIVE t(oid, root) AS ("
      " SELECT c.oid, c.oid FROM pg_catalog.pg_class c WHERE c.oid = ANY ({0})"
      " UNION SELECT i.inhrelid, t.root FROM t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid"
      " JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition),"
      " h(oid, root) AS (SELECT oid, root FROM t UNION"
      " SELECT c.reltoastrelid, t.root FROM t JOIN pg_catalog.pg_class c ON c.oid = t.oid"
      " WHERE c.reltoastrelid <> 0),"
      " m(oid, root) AS (SELECT oid, root FROM h UNION"
      " SELECT i.indexrelid, h.root FROM h JOIN pg_catalog.pg_index i ON i.indrelid = h.oid UNION"
      " SELECT d.objid, t.root FROM t JOIN pg_catalog.pg_depend d ON d.refobjid = t.oid"
      " AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')"
      " AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass"
      " JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S')"
      " SELECT DISTINCT ON (m.oid) m.oid, m.root, c.relkind, c.relpersistence, n.nspname, c.relname,"
      " pg_catalog.pg_relation_filepath(m.oid)"
      " FROM m JOIN pg_catalog.pg_class c ON c.oid = m.oid"
      " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ORDER BY m.oid, m.root",
      array_of(roots));
  TRY_ASSIGN(const Rows rows, session_->query(ctx, sql));
  members_.clear();
  for (size_t i = 0; i < rows.size(); ++i) {
    Member m;
    TRY_ASSIGN(m.oid, oid_at(rows, i, 0));
    TRY_ASSIGN(m.root, oid_at(rows, i, 1));
    m.kind = letter(rows, i, 2);
    m.persistence = letter(rows, i, 3);
    m.schema = rows.text(i, 4);
    m.name = rows.text(i, 5);
    if (const auto file = relation_file(rows.text(i, 6)))
      m.file = RelFile{file->tablespace, file->database, file->filenode};
    members_.push_back(std::move(m));
  }
  for (TakenTable& t : tables_) {
    const auto at = std::ranges::find(members_, t.oid, &Member::oid);
    if (at != members_.end()) t.name = at->name;
  }
  return {};
}

Result<> RecoveredDatabase::settle(const Context& ctx) {
  TRY_ASSIGN(const Rows rows, session_->query(ctx,
                                              "SELECT gid FROM pg_catalog.pg_prepared_xacts"
                                              " WHERE database = pg_catalog.current_database()"));
  for (size_t i = 0; i < rows.size(); ++i)
    TRY_OK(session_->query(ctx, "ROLLBACK PREPARED " + quote_literal(rows.text(i, 0))));
  return {};
}

Result<> RecoveredDatabase::count(const Context& ctx) {
  for (TakenTable& t : tables_) {
    // A table that others inherit from has rows of its own only; a partitioned one has none but its parts'.
    TRY_ASSIGN(const Rows rows, session_->query(ctx, fmt::format("SELECT pg_catalog.count(*) FROM {}{}",
                                                                 t.kind == 'p' ? "" : "ONLY ",
                                                                 quote_table(t.schema, t.name))));
    TRY_ASSIGN(t.rows, rows.number(0, 0));
  }
  return {};
}

Result<> RecoveredDatabase::rename(const Context& ctx,
                                   const std::vector<std::pair<uint32_t, std::string>>& to) {
  for (const auto& [oid, name] : to) {
    const auto m = std::ranges::find(members_, oid, &Member::oid);
    if (m == members_.end() || m->name == name) continue;
    // Whatever had that name at the moment is not what is restored.
    TRY_ASSIGN(const Rows other,
               session_->query(ctx,
                               "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
                               " ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2",
                               {m->schema, name}));
    if (other.size() > 0)
      TRY_OK(session_->query(ctx,
                             fmt::format("ALTER TABLE {} RENAME TO {}", quote_table(m->schema, name),
                                         quote_identifier(fmt::format("varve_aside_{}", other.text(0, 0))))));
    const char* what = m->kind == 'S' ? "SEQUENCE" : m->kind == 'i' || m->kind == 'I' ? "INDEX" : "TABLE";
    TRY_OK(session_->query(ctx, fmt::format("ALTER {} {} RENAME TO {}", what, quote_table(m->schema, m->name),
                                            quote_identifier(name))));
    m->name = name;
  }
  return load_members(ctx);
}

// Not by ALTER DATABASE: that is not for the database one is in, and no other can be entered, for their
// catalogues are sparse.
Result<> RecoveredDatabase::rename_database(const Context& ctx, const std::string& name) {
  TRY_OK(session_->query(ctx, "SET allow_system_table_mods = on"));
  TRY_OK(session_->query(ctx, "UPDATE pg_catalog.pg_database SET datname = $1 WHERE oid = $2::pg_catalog.oid",
                         {name, std::to_string(oid_)}));
  database_ = name;
  TRY_ASSIGN(spec_, make_source(spec_.connection + " dbname=" + quote_option(name), {}));
  return {};
}

Result<std::vector<std::string>> RecoveredDatabase::names_in(const Context& ctx, const std::string& schema) {
  TRY_ASSIGN(const Rows rows, session_->query(ctx,
                                              "SELECT c.relname FROM pg_catalog.pg_class c"
                                              " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                                              " WHERE n.nspname = $1",
                                              {schema}));
  std::vector<std::string> out;
  for (size_t i = 0; i < rows.size(); ++i) out.emplace_back(rows.text(i, 0));
  return out;
}

Result<std::vector<ForeignKey>> RecoveredDatabase::take_foreign_keys(const Context& ctx) {
  TRY_ASSIGN(const Rows rows,
             session_->query(ctx, fmt::format("SELECT n.nspname, c.relname, k.conname,"
                                              " pg_catalog.pg_get_constraintdef(k.oid),"
                                              " pg_catalog.obj_description(k.oid, 'pg_constraint')"
                                              " FROM pg_catalog.pg_constraint k"
                                              " JOIN pg_catalog.pg_class c ON c.oid = k.conrelid"
                                              " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                                              " WHERE k.contype = 'f' AND k.conparentid = 0"
                                              " AND k.conrelid = ANY ({}) ORDER BY 1, 2, 3",
                                              oids(true))));
  std::vector<ForeignKey> out;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto text = [&](size_t column) { return std::string(rows.text(i, column)); };
    out.push_back({text(0), text(1), text(2), text(3), text(4)});
  }
  for (const ForeignKey& k : out)
    TRY_OK(session_->query(ctx, fmt::format("ALTER TABLE {} DROP CONSTRAINT {}",
                                            quote_table(k.schema, k.table), quote_identifier(k.name))));
  return out;
}

std::string RecoveredDatabase::oids(bool tables_only) const {
  std::vector<uint32_t> out;
  for (const Member& m : members_)
    if (!tables_only || m.is_table()) out.push_back(m.oid);
  return array_of(out);
}

}  // namespace varve::engine::postgres
