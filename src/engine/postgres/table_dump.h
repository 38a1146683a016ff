// Tables of a recovered database, brought into a file or into a living database, by PostgreSQL's own pg_dump
// and psql.
#pragma once

#include "engine/postgres/recovered_database.h"

namespace varve::engine::postgres {

struct DumpOptions {
  bool plain = true;  // SQL; else pg_dump's custom format
  bool owner = true, privileges = true, tablespaces = true;
};
// Exactly these tables, with what belongs to them. `file` is made, or replaced.
Result<> dump_tables(const Context& ctx, const Binaries& binaries, const RecoveredDatabase& from,
                     const os::Path& file, const DumpOptions& options);

struct LoadOptions {
  ClusterSpec into;      // its database: as it names one, else that the tables are from
  std::string as;        // a new name for the only table; empty: its own
  os::Path work_folder;  // for scripts and the dump
};
struct Loaded {
  std::vector<std::string> notes;  // what was left out, and why
};
// A living database that gets them, looked at before anything is fetched or changed.
class LoadTarget {
 public:
  // kDatabase when it cannot be reached.
  static Result<LoadTarget> open(const Context& ctx, const LoadOptions& options,
                                 const std::string& source_database);
  // kConflict when something of that name is there already.
  Result<> ensure_free(const Context& ctx, const std::string& schema, const std::string& name);
  // In one transaction: all of it or nothing. The rows are counted there before it ends and must be as many
  // as `from` counted. Changes names, keys and triggers in `from` on the way.
  Result<Loaded> load(const Context& ctx, const Binaries& binaries, RecoveredDatabase& from);

  const std::string& database() const { return database_; }
  std::string text() const;  // for people

 private:
  class Work;
  LoadTarget() = default;
  LoadOptions options_;
  std::string database_;
  std::shared_ptr<Connection> session_;
};

// Gives the only table the name `as`, and what belongs to it names that go with it, none of `taken`
// (by schema).
Result<> rename_table(const Context& ctx, RecoveredDatabase& from, const std::string& as,
                      const std::function<Result<std::vector<std::string>>(const std::string& schema)>& taken);

}  // namespace varve::engine::postgres
