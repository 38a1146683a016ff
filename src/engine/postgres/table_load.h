// Tables of a recovered database, brought into a living one by PostgreSQL's own pg_dump and psql.
#pragma once

#include <memory>

#include "engine/postgres/recovered_database.h"

namespace varve::engine::postgres {

struct LoadOptions {
  ClusterSpec into;      // its database: as it names one, else that the tables are from
  std::string as;        // a new name for the only table; empty: its own
  os::Path work_folder;  // for scripts and the dump
};
struct Loaded {
  std::vector<std::string> notes;  // what was left out, and why
};
// A living database that gets them.
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

  const std::string& text() const { return options_.into.connection; }  // for people

 private:
  class Work;
  LoadTarget() = default;
  LoadOptions options_;
  std::unique_ptr<Connection> session_;
};

}  // namespace varve::engine::postgres
