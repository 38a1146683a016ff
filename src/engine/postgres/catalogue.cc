#include "engine/postgres/catalogue.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"

namespace varve::engine::postgres {
namespace {

constexpr std::chrono::seconds kLockTimeout{10};
constexpr uint64_t kLargestConfiguration = 4u << 20;

constexpr const char* kDatabases =
    "SELECT d.oid, d.datname, d.dattablespace, d.datallowconn AND d.datconnlimit <> -2"
    " FROM pg_catalog.pg_database d ORDER BY d.oid";

// pg_relation_filenode() knows the mapped relations too. Views and types have nothing that a restore could
// want.
constexpr const char* kRelations =
    "SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence,"
    " coalesce(pg_catalog.pg_relation_filenode(c.oid), 0), c.reltablespace, c.reltoastrelid,"
    " coalesce(i.indrelid, 0), greatest(c.relpages, 0), greatest(c.reltuples, 0)::bigint,"
    " coalesce(h.inhparent, 0)"
    " FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid"
    " LEFT JOIN pg_catalog.pg_inherits h ON h.inhrelid = c.oid AND c.relispartition AND c.relkind <> 'i'"
    " AND c.relkind <> 'I'"
    " WHERE c.relkind IN ('r', 'i', 'S', 't', 'm', 'p', 'I') AND c.relpersistence <> 't'"
    " ORDER BY c.oid";

Result<uint32_t> number32(const Rows& rows, size_t row, size_t column) {
  TRY_ASSIGN(const uint64_t n, rows.number(row, column));
  if (n > UINT32_MAX)
    return fail(Code::kDatabase, fmt::format("the server answered {} where an oid belongs", n));
  return static_cast<uint32_t>(n);
}

char letter(const Rows& rows, size_t column) {
  const std::string_view t = rows.text(0, column);
  return t.empty() ? '?' : t.front();
}

Result<Relation> relation(const Rows& rows) {
  Relation r;
  TRY_ASSIGN(r.oid, number32(rows, 0, 0));
  r.schema = rows.text(0, 1);
  r.name = rows.text(0, 2);
  r.kind = letter(rows, 3);
  r.persistence = letter(rows, 4);
  TRY_ASSIGN(r.filenode, number32(rows, 0, 5));
  TRY_ASSIGN(r.tablespace, number32(rows, 0, 6));
  TRY_ASSIGN(r.toast, number32(rows, 0, 7));
  TRY_ASSIGN(r.index_of, number32(rows, 0, 8));
  TRY_ASSIGN(r.pages, number32(rows, 0, 9));
  TRY_ASSIGN(r.rows, rows.number(0, 10));
  TRY_ASSIGN(r.parent, number32(rows, 0, 11));
  return r;
}

Result<> list_relations(const Context& ctx, const ClusterSpec& spec, Database& database) {
  SessionOptions options;
  options.database = database.name;
  options.lock_timeout = kLockTimeout;
  TRY_ASSIGN(const auto session, Connection::open(ctx, spec, options));
  std::vector<Relation> relations;
  TRY_OK(session->for_each(ctx, kRelations, [&](const Rows& row) -> Result<> {
    TRY_ASSIGN(Relation r, relation(row));
    relations.push_back(std::move(r));
    return {};
  }));
  database.relations = std::move(relations);
  database.listed = true;
  return {};
}

bool is_below(const os::Path& path, const os::Path& folder) {
  const auto relative = path.lexically_normal().lexically_relative(folder);
  return !relative.empty() && *relative.begin() != "..";
}

Result<Buffer> read_at_server(const Context& ctx, Connection& session, const os::Path& path) {
  TRY_ASSIGN(const Rows rows,
             session.query(ctx, "SELECT pg_catalog.encode(pg_catalog.pg_read_binary_file($1), 'hex')",
                           {path.native()}));
  return from_hex(rows.text(0, 0));
}

}  // namespace

Result<Catalogue> read_catalogue(const Context& ctx, const ClusterSpec& spec, Connection& session) {
  Catalogue out;
  TRY_ASSIGN(const Rows rows, session.query(ctx, kDatabases));
  for (size_t i = 0; i < rows.size(); ++i) {
    Database database;
    TRY_ASSIGN(database.oid, number32(rows, i, 0));
    database.name = rows.text(i, 1);
    TRY_ASSIGN(database.tablespace, number32(rows, i, 2));
    if (rows.boolean(i, 3)) {
      const auto listed = list_relations(ctx, spec, database);
      TRY_OK(ctx.check());
      if (!listed)
        out.warnings.push_back(
            fmt::format("the tables of the database {} cannot be listed, and single ones of them not be "
                        "restored from this backup: {}",
                        printable(database.name), listed.error().describe()));
    }
    out.databases.push_back(std::move(database));
  }
  return out;
}

Result<std::vector<ConfigurationFile>> read_configuration(const Context& ctx, Connection& session,
                                                          Access access, const os::Path& data_directory,
                                                          std::vector<std::string>& warnings) {
  // current_setting(…, true) is NULL where it is not known; where the role may not see it, the statement
  // fails: so it is asked of a view, which then simply has no such row.
  TRY_ASSIGN(const Rows rows,
             session.query(ctx,
                           "SELECT s.name, s.setting FROM pg_catalog.pg_settings s"
                           " WHERE s.name IN ('config_file', 'hba_file', 'ident_file')"
                           " UNION SELECT 'include', s.sourcefile FROM pg_catalog.pg_settings s"
                           " WHERE s.sourcefile IS NOT NULL AND s.sourcefile NOT IN"
                           " (SELECT t.setting FROM pg_catalog.pg_settings t WHERE t.name = 'config_file')"
                           " ORDER BY 1, 2"));
  std::vector<ConfigurationFile> out;
  for (size_t i = 0; i < rows.size(); ++i) {
    const os::Path path = std::string(rows.text(i, 1));
    if (path.empty() || is_below(path, data_directory)) continue;
    auto content = access == Access::kLocal ? os::read_file(path, kLargestConfiguration)
                                            : read_at_server(ctx, session, path);
    TRY_OK(ctx.check());
    if (!content) {
      warnings.push_back(fmt::format("the server's configuration file {} is not in the backup: {}",
                                     printable(path.native()), content.error().describe()));
      continue;
    }
    out.push_back({path.native(), std::string(rows.text(i, 0)), std::move(*content)});
  }
  return out;
}

}  // namespace varve::engine::postgres
