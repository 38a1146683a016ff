// sqlite_schema as it stands in the pages: which trees there are and what they hold.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/sqlite/btree.h"

namespace varve::engine::sqlite {

struct SchemaEntry {
  int64_t row = 0;   // its row id in sqlite_schema: kept by ALTER and VACUUM moves, new after DROP and CREATE
  std::string type;  // table, index, view, trigger
  std::string name, table, sql;
  uint32_t root = 0;  // 0: no tree (views, triggers, virtual tables)
  bool is_virtual() const;
};

// In the order of their rows. kDamaged when the schema's own pages are.
Result<std::vector<SchemaEntry>> read_schema(const PageSource& state, const DatabaseHeader& header,
                                             uint64_t pages);

// How many columns, from the first, make the key of a WITHOUT ROWID table; 0: its text tells nothing to this
// SQLite. The text is untrusted: it is let do nothing but create that table, in memory.
uint32_t count_key_columns(const std::string& create_table);

}  // namespace varve::engine::sqlite
