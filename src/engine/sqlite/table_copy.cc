#include "engine/sqlite/table_copy.h"

#include <algorithm>
#include <fmt/format.h>
#include <sqlite3.h>

#include "base/text.h"
#include "engine/sqlite/schema_text.h"

namespace varve::engine::sqlite {

namespace {

constexpr uint64_t kRowsBetweenReports = 512;
constexpr const char* kWholeHint =
    "restore the whole database, and take the table from it with the application that made it";

void note(const CopyJob& job, std::string text) {
  if (job.notes != nullptr) job.notes->push_back(printable(text));
}

// A failure that says something about one index or trigger, not about the disk or the people who wait.
bool concerns_only_the_statement(const Error& e) {
  return e.code == Code::kDatabase;
}

// The table's statements for a new name. SQLite's own ALTER TABLE RENAME finds every place that means the
// table: foreign keys to itself, CHECK and index expressions, triggers.
Result<TableSchema> renamed(const CopyJob& job, const TableSchema& table, const std::string& name) {
  TableSchema out = table;
  if (name == table.name) return out;
  if (table.is_virtual) {
    TRY_ASSIGN(out.sql, with_created_name(table.sql, name));
    return out;
  }
  TRY_ASSIGN(Connection scratch,
             Connection::open(":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "scratch database"));
  StandIns stand_ins(scratch);
  TRY_OK(stand_ins.exec(table.sql));
  for (const auto& index : table.indexes)
    (void)stand_ins.exec(index.sql);  // one that fails here is told when it is made
  const std::string rename =
      fmt::format("ALTER TABLE {} RENAME TO {}", quote_name(table.name), quote_name(name));
  std::vector<SchemaObject> triggers = job.with_triggers ? table.triggers : std::vector<SchemaObject>();
  for (const auto& trigger : triggers) (void)stand_ins.exec(trigger.sql);
  if (auto done = stand_ins.exec(rename); !done) {
    if (triggers.empty()) return fail(std::move(done).error());
    // A trigger that names other tables keeps SQLite from renaming.
    for (const auto& trigger : triggers) {
      (void)scratch.exec("DROP TRIGGER IF EXISTS " + quote_name(trigger.name));
      note(job, fmt::format("trigger {} was left out: it cannot follow the table's new name", trigger.name));
    }
    TRY_OK(stand_ins.exec(rename));
  }
  const auto rewritten = [&](std::vector<SchemaObject>& objects) -> Result<> {
    for (auto& object : objects) {
      TRY_ASSIGN(const auto sql, scratch.value("SELECT sql FROM sqlite_schema WHERE name=?", object.name));
      object.sql = sql.value_or(std::string());
    }
    std::erase_if(objects, [](const SchemaObject& o) { return o.sql.empty(); });
    return {};
  };
  TRY_ASSIGN(const auto sql,
             scratch.value("SELECT sql FROM sqlite_schema WHERE type='table' AND name=?", name));
  if (!sql) return fail(Code::kInternal, fmt::format("\"{}\" cannot be renamed", table.name));
  out.sql = *sql;
  TRY_OK(rewritten(out.triggers = triggers));
  TRY_OK(rewritten(out.indexes));
  for (const auto& index : table.indexes) {
    const bool kept = std::ranges::any_of(out.indexes, [&](const auto& o) { return o.name == index.name; });
    if (!kept)
      note(job, fmt::format("index {} was left out: SQLite does not accept it without its application",
                            index.name));
  }
  return out;
}

std::string joined_names(const TableSchema& table) {
  std::string out;
  if (table.rowid_name) out = *table.rowid_name;
  for (const auto& column : table.columns) {
    if (!out.empty()) out += ", ";
    out += quote_name(column);
  }
  return out;
}

Result<uint64_t> copy_rows(const Context& ctx, const CopyJob& job, const TableSchema& table,
                           const std::string& name) {
  const std::string names = joined_names(table);
  const size_t count = table.columns.size() + (table.rowid_name ? 1 : 0);
  // Not by an index: one that covers the table would give the rows in its own order, and may be damaged.
  TRY_ASSIGN(Statement select,
             job.from->prepare(fmt::format("SELECT {} FROM main.{}{}", names, quote_name(table.name),
                                           table.is_virtual ? "" : " NOT INDEXED")));
  std::string places = "?";
  for (size_t i = 1; i < count; ++i) places += ",?";
  TRY_ASSIGN(Statement insert, job.to->prepare(fmt::format("INSERT INTO main.{}({}) VALUES({})",
                                                           quote_name(name), names, places)));
  for (uint64_t rows = 0;; ++rows) {
    if (rows % kRowsBetweenReports == 0) {
      TRY_OK(ctx.check());
      if (job.progress) job.progress(job.rows_before + rows);
    }
    TRY_ASSIGN(const bool row, select.step());
    if (!row) return rows;
    for (int i = 0; i < static_cast<int>(count); ++i) TRY_OK(insert.bind_column(i + 1, select, i));
    TRY_ASSIGN([[maybe_unused]] const bool more, insert.step());
    TRY_OK(insert.reset());
  }
}

Result<> carry_sequence(const CopyJob& job, const TableSchema& table, const std::string& name) {
  if (!table.sequence) return {};
  TRY_ASSIGN(const bool there, name_is_taken(*job.to, "sqlite_sequence"));
  if (!there) return {};
  for (const char* sql : {"DELETE FROM main.sqlite_sequence WHERE name=?1",
                          "INSERT INTO main.sqlite_sequence(name, seq) VALUES(?1, CAST(?2 AS INTEGER))"}) {
    TRY_ASSIGN(Statement s, job.to->prepare(sql));
    s.bind(1, name);
    s.bind(2, *table.sequence);
    TRY_ASSIGN([[maybe_unused]] const bool row, s.step());
  }
  return {};
}

// True when the order of `index` depends on a collation that is only stood in for.
Result<bool> needs_unknown_collation(const CopyJob& job, const std::string& index) {
  TRY_ASSIGN(const auto used, job.to->column("SELECT lower(coll) FROM pragma_index_xinfo(?, 'main')", index));
  return std::ranges::any_of(used, [&](const auto& c) { return job.stand_ins->collations().contains(c); });
}

Result<> check_constraints_are_known(const CopyJob& job, const std::string& name,
                                     uint64_t comparisons_before) {
  TRY_ASSIGN(const auto indexes, job.to->column("SELECT name FROM pragma_index_list(?, 'main')", name));
  bool unknown = job.stand_ins->comparisons() != comparisons_before;
  for (const auto& index : indexes) {
    TRY_ASSIGN(const bool needs, needs_unknown_collation(job, index));
    unknown = unknown || needs;
  }
  if (!unknown) return {};
  return fail(
      Code::kUnsupported,
      fmt::format("table \"{}\" has a key or a constraint in an order that only its application knows ({})",
                  printable(name), fmt::join(job.stand_ins->collations(), ", ")),
      kWholeHint);
}

Result<> make_indexes(const CopyJob& job, const TableSchema& table, ExtractedTable& out) {
  for (const auto& index : table.indexes) {
    TRY_ASSIGN(const bool taken, name_is_taken(*job.to, index.name));
    std::string name = index.name, sql = index.sql;
    if (taken) {
      TRY_ASSIGN(name, free_name(*job.to, index.name + "_restored"));
      TRY_ASSIGN(sql, with_created_name(index.sql, name));
    }
    const uint64_t comparisons = job.stand_ins->comparisons();
    if (auto made = job.stand_ins->exec(sql); !made) {
      if (!concerns_only_the_statement(made.error())) return made;
      note(job, fmt::format("index {} was left out: {}", index.name, made.error().message));
      continue;
    }
    TRY_ASSIGN(const bool unknown, needs_unknown_collation(job, name));
    if (unknown || job.stand_ins->comparisons() != comparisons) {
      TRY_OK(job.to->exec("DROP INDEX main." + quote_name(name)));
      note(job, fmt::format("index {} was left out: it needs a collation that only its application knows",
                            index.name));
      continue;
    }
    out.indexes.push_back(name);
  }
  return {};
}

Result<> make_triggers(const CopyJob& job, const TableSchema& table, ExtractedTable& out) {
  if (!job.with_triggers) return {};
  for (const auto& trigger : table.triggers) {
    if (auto made = job.stand_ins->exec(trigger.sql); !made) {
      if (!concerns_only_the_statement(made.error())) return made;
      note(job, fmt::format("trigger {} was left out: {}", trigger.name, made.error().message));
      continue;
    }
    out.triggers.push_back(trigger.name);
  }
  return {};
}

// A full-text index may keep no text, or keep it in another table.
Result<> check_virtual(const CopyJob& job, const TableSchema& table) {
  std::string compact = to_lower(table.sql);
  std::erase_if(compact, [](char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; });
  const bool full_text = compact.find("usingfts") != std::string::npos;
  if (!full_text) return {};
  TRY_ASSIGN(const bool has_content, name_is_taken(*job.from, table.name + "_content"));
  if (has_content) return {};
  if (compact.find("content=''") != std::string::npos || compact.find("content=\"\"") != std::string::npos) {
    return fail(Code::kUnsupported,
                fmt::format("\"{}\" is a full-text index without the texts: its rows cannot be read back",
                            printable(table.name)),
                "restore the whole database");
  }
  note(job, fmt::format("{} is a full-text index over another table; its texts were indexed again, but "
                        "reading them needs that table",
                        table.name));
  return {};
}

}  // namespace

Result<bool> name_is_taken(const Connection& db, const std::string& name) {
  TRY_ASSIGN(const auto there, db.value("SELECT 1 FROM main.sqlite_schema WHERE lower(name)=lower(?)", name));
  return there.has_value();
}

Result<std::string> free_name(const Connection& db, const std::string& wanted) {
  std::string name = wanted;
  for (int i = 2;; ++i) {
    TRY_ASSIGN(const bool taken, name_is_taken(db, name));
    if (!taken) return name;
    name = fmt::format("{}_{}", wanted, i);
  }
}

Result<ExtractedTable> copy_table(const Context& ctx, const CopyJob& job, const TableSchema& source,
                                  const std::string& name) {
  if (source.is_virtual) TRY_OK(check_virtual(job, source));
  const auto cannot_make = [&](Error e) {
    if (!concerns_only_the_statement(e)) return fail(std::move(e));
    return fail(Error{Code::kUnsupported,
                      fmt::format("table \"{}\" cannot be made by itself", printable(source.name)),
                      kWholeHint}
                    .caused_by(std::move(e)));
  };
  auto planned = renamed(job, source, name);
  if (!planned) return cannot_make(std::move(planned).error());
  const TableSchema& table = *planned;
  const uint64_t comparisons = job.stand_ins->comparisons();
  if (auto made = job.stand_ins->exec(table.sql); !made) return cannot_make(std::move(made).error());

  ExtractedTable out;
  out.name = name;
  TRY_ASSIGN(out.rows, copy_rows(ctx, job, table, name));
  if (!table.is_virtual) {
    TRY_OK(carry_sequence(job, table, name));
    TRY_OK(check_constraints_are_known(job, name, comparisons));
    TRY_OK(make_indexes(job, table, out));
    if (!table.without_rowid && !table.rowid_name) {
      note(job, fmt::format("the hidden row ids of {} are new: its columns take all their names", name));
    }
  }
  TRY_OK(make_triggers(job, table, out));
  return out;
}

}  // namespace varve::engine::sqlite
