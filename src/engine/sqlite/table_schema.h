// What must be known of a table to make it again elsewhere, read from a connection to its database.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/sqlite/connection.h"

namespace varve::engine::sqlite {

struct SchemaObject {
  std::string name, sql;
};

struct TableSchema {
  std::string name;  // as the schema spells it
  std::string sql;
  bool is_virtual = false, without_rowid = false;
  std::vector<std::string> columns;  // those that are stored: no generated and no hidden ones
  std::optional<std::string>
      rowid_name;  // by which the row id can be read and written; none: there is none, or it is hidden
  std::vector<SchemaObject> indexes;  // without those that constraints make
  std::vector<SchemaObject> triggers;
  std::optional<std::string> sequence;  // where AUTOINCREMENT stands
};

// The tables of a database, without SQLite's own and without the inner tables of virtual tables; ascending.
Result<std::vector<std::string>> table_names(const Connection& db);
// kNotFound names the nearest; kUnsupported for a view.
Result<TableSchema> describe_table(const Connection& db, const std::string& name);

}  // namespace varve::engine::sqlite
