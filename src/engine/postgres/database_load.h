// A whole recovered database, brought beside the living ones of a server by PostgreSQL's own pg_dump and
// pg_restore, or into a file.
#pragma once

#include <memory>

#include "engine/postgres/recovered_database.h"

namespace varve::engine::postgres {

// A living server that gets it under a name of its own.
class DatabaseTarget {
 public:
  // `into`: how to reach it; without a database in it, "postgres" is entered. kDatabase when it cannot be.
  static Result<DatabaseTarget> open(const Context& ctx, const ClusterSpec& into);
  // kConflict when a database of that name is there, or what a load that was killed has left for it. kDenied
  // when none may be made.
  Result<> ensure_free(const Context& ctx, const std::string& name);
  // It appears whole, under that name, or not at all. `folder` takes the dump; `workers` run at once.
  // Changes its name, owners and grants in `from` on the way. Returns what was left out, and why.
  Result<std::vector<std::string>> load(const Context& ctx, const Binaries& binaries, RecoveredDatabase& from,
                                        const std::string& name, const os::Path& folder, unsigned workers);

  const std::string& text() const { return into_.connection; }  // for people

 private:
  class Work;
  DatabaseTarget() = default;
  ClusterSpec into_;
  std::unique_ptr<Connection> session_;
};

// All of it: SQL that fills an empty database when `plain`, else pg_dump's custom format.
Result<> dump_database(const Context& ctx, const Binaries& binaries, const RecoveredDatabase& from,
                       const os::Path& file, bool plain);
// What no dump of it holds.
Result<std::vector<std::string>> not_dumped(const Context& ctx, RecoveredDatabase& from);

}  // namespace varve::engine::postgres
