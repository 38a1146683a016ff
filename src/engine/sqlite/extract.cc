#include <algorithm>
#include <fmt/format.h>
#include <sqlite3.h>

#include "base/text.h"
#include "engine/sqlite/connection.h"
#include "engine/sqlite/page_vfs.h"
#include "engine/sqlite/stand_ins.h"
#include "engine/sqlite/table_copy.h"
#include "engine/sqlite/table_schema.h"
#include "os/file.h"
#include "os/process.h"

namespace varve::engine::sqlite {

namespace {

using Progress = std::function<void(uint64_t)>;
constexpr std::chrono::seconds kPatience{30};  // for locks on a live database

// The tables to copy and what they shall be called.
struct Wanted {
  TableSchema schema;
  std::string name;
};

Result<Connection> open_with_stop(const Context& ctx, const std::string& path, int flags, std::string label,
                                  const char* vfs = nullptr) {
  TRY_ASSIGN(Connection db, Connection::open(path, flags, std::move(label), vfs));
  db.set_stop([ctx] { return !ctx.check(); });
  db.set_reason([ctx]() -> std::optional<Error> {
    if (auto alive = ctx.check(); !alive) return std::move(alive).error();
    return std::nullopt;
  });
  return db;
}

// A database whose pages are fetched, and all that keeps it open.
struct Source {
  std::unique_ptr<PageVfs> vfs;
  Connection db;

  static Result<Source> open(const Context& ctx, const VirtualDatabase& database) {
    TRY_ASSIGN(auto vfs, PageVfs::create(database));
    auto opened = open_with_stop(ctx, "backup", SQLITE_OPEN_READONLY, "the database in the backup",
                                 vfs->name().c_str());
    if (!opened) return fail(vfs->failure().value_or(opened.error()));
    Source source{std::move(vfs), *std::move(opened)};
    source.db.set_reason([ctx, v = source.vfs.get()]() -> std::optional<Error> {
      if (auto failure = v->failure()) return failure;
      if (auto alive = ctx.check(); !alive) return std::move(alive).error();
      return std::nullopt;
    });
    TRY_OK(source.db.exec("PRAGMA temp_store=memory"));
    return source;
  }
};

// Rows that were accepted once are taken as they are.
Result<> relax(Connection& db) {
  sqlite3_db_config(db.handle(), SQLITE_DBCONFIG_DQS_DDL, 1, nullptr);
  return db.exec("PRAGMA foreign_keys=off; PRAGMA ignore_check_constraints=on; PRAGMA temp_store=memory");
}

Result<std::vector<ExtractedTable>> copy_all(const Context& ctx, CopyJob job,
                                             const std::vector<Wanted>& tables) {
  std::vector<ExtractedTable> out;
  for (const auto& table : tables) {
    auto copied = copy_table(ctx, job, table.schema, table.name);
    if (!copied) {
      return fail(std::move(copied).error().with_context(
          fmt::format("while copying table {}", printable(table.schema.name))));
    }
    job.rows_before += copied->rows;
    out.push_back(*std::move(copied));
  }
  return out;
}

// Fills the new, still hidden file.
Result<std::vector<ExtractedTable>> fill_new_file(const Context& ctx, Connection& from,
                                                  const std::vector<Wanted>& tables, const std::string& path,
                                                  CopyJob job) {
  TRY_ASSIGN(Connection to,
             open_with_stop(ctx, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "the new database"));
  StandIns stand_ins(to), stand_ins_of_source(from);
  TRY_OK(relax(to));
  TRY_ASSIGN(const auto page_size, from.value("PRAGMA page_size"));
  TRY_ASSIGN(const auto encoding, from.value("PRAGMA encoding"));
  // Nobody knows of this file until it is complete and synced, so it needs no journal.
  TRY_OK(to.exec(fmt::format(
      "PRAGMA page_size={}; PRAGMA encoding='{}'; PRAGMA journal_mode=off; PRAGMA synchronous=off; BEGIN",
      page_size.value_or("4096"), encoding.value_or("UTF-8"))));
  job.from = &from;
  job.to = &to;
  job.stand_ins = &stand_ins;
  TRY_ASSIGN(auto out, copy_all(ctx, job, tables));
  TRY_OK(to.exec("COMMIT"));
  TRY_OK(to.close());
  return out;
}

Result<> check_target_is_free(const os::Path& target) {
  TRY_ASSIGN(const auto there, os::status(target, false));
  if (!there) return {};
  return fail(Code::kConflict, fmt::format("{} exists already", printable(target.string())),
              "choose another name, or put the table beside the live ones with --into");
}

// A name for what is under way, beside the target, that tells whose it is.
os::Path hidden_name(const os::Path& target) {
  const auto self = os::self_identity();
  return target.parent_path() /
         fmt::format(".{}.varve-{}-{}", target.filename().string(), self.pid, self.started);
}

Result<std::vector<ExtractedTable>> into_new(const Context& ctx, Connection& from,
                                             const std::vector<Wanted>& tables, const os::Path& target,
                                             const CopyJob& job) {
  TRY_OK(check_target_is_free(target));
  const os::Path hidden = hidden_name(target);
  const auto complete = [&]() -> Result<std::vector<ExtractedTable>> {
    TRY_ASSIGN(auto out, fill_new_file(ctx, from, tables, hidden.string(), job));
    TRY_ASSIGN(os::File file, os::File::open(hidden, os::File::Mode::kReadWrite));
    TRY_OK(file.sync());
    TRY_OK(file.close());
    auto renamed = os::rename_no_replace(hidden, target);
    if (!renamed && renamed.error().code == Code::kExists) TRY_OK(check_target_is_free(target));
    TRY_OK(std::move(renamed));
    TRY_OK(os::sync_directory(target.parent_path()));
    return out;
  };
  auto done = complete();
  if (!done) (void)os::remove_file(hidden);
  return done;
}

Result<Connection> open_live(const Context& ctx, const os::Path& target) {
  TRY_ASSIGN(const auto there, os::status(target));
  if (!there || !there->is_regular) {
    return fail(Code::kNotFound, fmt::format("there is no database {}", printable(target.string())),
                "--into names a database that exists; without it a new file is made");
  }
  TRY_ASSIGN(Connection db,
             open_with_stop(ctx, target.string(), SQLITE_OPEN_READWRITE, printable(target.string())));
  db.set_patience(kPatience);
  TRY_OK(relax(db));
  return db;
}

Result<std::vector<ExtractedTable>> add_to_live(const Context& ctx, Connection& from,
                                                const ExtractOptions& options, std::vector<Wanted> tables,
                                                CopyJob job) {
  TRY_ASSIGN(Connection to, open_live(ctx, options.target));
  StandIns stand_ins(to), stand_ins_of_source(from);
  TRY_OK(to.exec("BEGIN IMMEDIATE"));
  job.from = &from;
  job.to = &to;
  job.stand_ins = &stand_ins;
  std::vector<ExtractedTable> out;
  for (auto& table : tables) {
    if (options.as.empty()) {
      TRY_ASSIGN(table.name, free_name(to, table.schema.name + "_restored"));
    } else {
      TRY_ASSIGN(const bool taken, name_is_taken(to, options.as));
      if (taken) {
        return fail(Code::kConflict,
                    fmt::format("{} has a \"{}\" already", printable(options.target), printable(options.as)),
                    "choose another name with --as");
      }
      table.name = options.as;
    }
    // One at a time: the next name must see the tables made before it.
    TRY_ASSIGN(auto copied, copy_all(ctx, job, {table}));
    out.push_back(std::move(copied.front()));
  }
  TRY_OK(to.exec("COMMIT"));
  TRY_OK(to.close());
  return out;
}

// By way of a file of our own: the live database is then locked for as long as a local copy takes, not for as
// long as the store takes to deliver the pages.
Result<std::vector<ExtractedTable>> into_live(const Context& ctx, Source& source,
                                              const ExtractOptions& options, std::vector<Wanted> tables,
                                              const CopyJob& job) {
  {
    TRY_ASSIGN(const Connection reachable, open_live(ctx, options.target));
    TRY_ASSIGN([[maybe_unused]] const auto is_database, reachable.value("PRAGMA schema_version"));
  }
  TRY_ASSIGN(const auto folder, os::TempDir::create("varve-extract"));
  const os::Path staged = folder.path() / "tables.db";
  for (auto& table : tables) table.schema.triggers.clear();
  TRY_OK(into_new(ctx, source.db, tables, staged, job));
  TRY_ASSIGN(Connection from,
             open_with_stop(ctx, staged.string(), SQLITE_OPEN_READONLY, "the staged tables"));
  for (auto& table : tables) {
    TRY_ASSIGN(table.schema, describe_table(from, table.schema.name));
  }
  CopyJob second = job;
  second.progress = {};
  return add_to_live(ctx, from, options, std::move(tables), second);
}

Result<std::vector<Wanted>> find_tables(const Source& source, const ExtractOptions& options) {
  if (options.tables.empty()) return fail(Code::kUsage, "no table is named");
  if (!options.as.empty() && options.tables.size() > 1) {
    return fail(Code::kUsage, "one new name cannot serve several tables",
                "restore them one by one, or leave out --as");
  }
  if (to_lower(options.as).starts_with("sqlite_")) {
    return fail(Code::kUsage, "a table cannot be called sqlite_…: SQLite keeps such names for itself");
  }
  std::vector<Wanted> out;
  for (const auto& name : options.tables) {
    TRY_ASSIGN(TableSchema schema, describe_table(source.db, name));
    if (std::ranges::any_of(out, [&](const Wanted& w) { return w.schema.name == schema.name; })) continue;
    std::string as = options.as.empty() || options.into_existing ? schema.name : options.as;
    out.push_back({std::move(schema), std::move(as)});
  }
  return out;
}

}  // namespace

Result<std::vector<ExtractedTable>> extract_tables(const Context& ctx, const VirtualDatabase& database,
                                                   const ExtractOptions& options,
                                                   std::vector<std::string>* notes,
                                                   const Progress& progress) {
  if (!options.into_existing) TRY_OK(check_target_is_free(options.target));
  TRY_ASSIGN(Source source, Source::open(ctx, database));
  TRY_ASSIGN(auto tables, find_tables(source, options));
  CopyJob job;
  job.with_triggers = !options.into_existing;
  job.notes = notes;
  job.progress = progress;
  if (!options.into_existing) return into_new(ctx, source.db, tables, os::Path(options.target), job);
  for (const auto& table : tables) {
    if (table.schema.triggers.empty() || notes == nullptr) continue;
    notes->push_back(printable(fmt::format(
        "the triggers of {} were left out: beside live tables they would act on what nobody asked for",
        table.schema.name)));
  }
  return into_live(ctx, source, options, std::move(tables), job);
}

Result<std::vector<std::string>> list_tables(const Context& ctx, const VirtualDatabase& database) {
  TRY_ASSIGN(const Source source, Source::open(ctx, database));
  return table_names(source.db);
}

}  // namespace varve::engine::sqlite
