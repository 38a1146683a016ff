// Makes a table of one database again in another: its schema, rows, indexes, and, when asked, triggers.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/context.h"
#include "engine/sqlite/connection.h"
#include "engine/sqlite/page_vfs.h"
#include "engine/sqlite/stand_ins.h"
#include "engine/sqlite/table_schema.h"

namespace varve::engine::sqlite {

struct CopyJob {
  Connection* from = nullptr;
  Connection* to =
      nullptr;  // in a transaction; constraints that the rows need not satisfy again are switched off
  StandIns* stand_ins = nullptr;  // of `to`
  bool with_triggers = false;
  std::vector<std::string>* notes = nullptr;         // what was left out, and why
  std::function<void(uint64_t rows)> progress = {};  // rows so far
  uint64_t rows_before = 0;  // of tables copied earlier: added to what progress is told
};

// Copies `table` under `name`, which is free in the target. On failure the caller rolls back.
Result<ExtractedTable> copy_table(const Context& ctx, const CopyJob& job, const TableSchema& table,
                                  const std::string& name);

// `wanted`, or `wanted_2`, …: the first that nothing in the database is called.
Result<std::string> free_name(const Connection& db, const std::string& wanted);
Result<bool> name_is_taken(const Connection& db, const std::string& name);

}  // namespace varve::engine::sqlite
