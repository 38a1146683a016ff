#include "engine/sqlite/table_schema.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"

namespace varve::engine::sqlite {

namespace {

tl::unexpected<Error> no_such_table(const Connection& db, const std::string& name) {
  std::string hint = "the database has no tables then";
  if (const auto names = table_names(db); names && !names->empty()) {
    const auto near = nearest(name, *names);
    hint =
        near.empty()
            ? fmt::format("tables there are: {}",
                          fmt::join(names->begin(),
                                    names->begin() + std::min<std::ptrdiff_t>(std::ssize(*names), 10), ", "))
            : fmt::format("did you mean {}?", fmt::join(near, ", "));
  }
  return fail(Code::kNotFound, fmt::format("there is no table \"{}\" at that moment", printable(name)),
              printable(hint));
}

Result<std::vector<SchemaObject>> objects_of(const Connection& db, const std::string& table,
                                             const char* type) {
  TRY_ASSIGN(Statement s, db.prepare(fmt::format(
                              "SELECT name, sql FROM main.sqlite_schema WHERE type='{}' AND sql IS NOT NULL "
                              "AND lower(tbl_name)=lower(?) ORDER BY rowid",
                              type)));
  s.bind(1, table);
  std::vector<SchemaObject> out;
  for (;;) {
    TRY_ASSIGN(const bool row, s.step());
    if (!row) return out;
    out.push_back({s.text(0), s.text(1)});
  }
}

Result<> read_columns(const Connection& db, TableSchema& table) {
  constexpr int64_t kOrdinary = 0;
  TRY_ASSIGN(Statement s, db.prepare("SELECT name, hidden FROM pragma_table_xinfo(?, 'main') ORDER BY cid"));
  s.bind(1, table.name);
  std::vector<std::string> all;
  for (;;) {
    TRY_ASSIGN(const bool row, s.step());
    if (!row) break;
    all.push_back(to_lower(s.text(0)));
    if (s.integer(1) == kOrdinary) table.columns.push_back(s.text(0));
  }
  if (table.without_rowid) return {};
  for (const char* alias : {"rowid", "_rowid_", "oid"}) {
    if (std::ranges::find(all, alias) != all.end()) continue;
    table.rowid_name = alias;
    break;
  }
  return {};
}

Result<> read_sequence(const Connection& db, TableSchema& table) {
  TRY_ASSIGN(const auto there, db.value("SELECT 1 FROM main.sqlite_schema WHERE name='sqlite_sequence'"));
  if (!there) return {};
  TRY_ASSIGN(table.sequence, db.value("SELECT seq FROM main.sqlite_sequence WHERE name=?", table.name));
  return {};
}

}  // namespace

Result<std::vector<std::string>> table_names(const Connection& db) {
  return db.column(
      "SELECT name FROM pragma_table_list WHERE schema='main' AND type IN ('table','virtual') "
      "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name");
}

Result<TableSchema> describe_table(const Connection& db, const std::string& name) {
  if (to_lower(name).starts_with("sqlite_")) {
    return fail(Code::kUnsupported, fmt::format("\"{}\" is SQLite's own table", printable(name)),
                "restore the whole database to see it");
  }
  TRY_ASSIGN(
      Statement s,
      db.prepare("SELECT l.name, l.type, l.wr, m.sql FROM pragma_table_list l JOIN main.sqlite_schema m "
                 "ON m.name=l.name AND m.type IN ('table','view') "
                 "WHERE l.schema='main' AND lower(l.name)=lower(?)"));
  s.bind(1, name);
  TRY_ASSIGN(const bool found, s.step());
  if (!found) return no_such_table(db, name);
  TableSchema table;
  table.name = s.text(0);
  table.is_virtual = s.text(1) == "virtual";
  table.without_rowid = s.integer(2) != 0;
  table.sql = s.text(3);
  if (s.text(1) == "view") {
    return fail(Code::kUnsupported,
                fmt::format("\"{}\" is a view: it has no rows of its own", printable(table.name)),
                "restore the tables it reads, or the whole database");
  }
  TRY_OK(read_columns(db, table));
  if (!table.is_virtual) {
    TRY_ASSIGN(table.indexes, objects_of(db, table.name, "index"));
    TRY_OK(read_sequence(db, table));
  }
  TRY_ASSIGN(table.triggers, objects_of(db, table.name, "trigger"));
  return table;
}

}  // namespace varve::engine::sqlite
