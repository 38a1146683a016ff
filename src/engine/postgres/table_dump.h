// Tables of a recovered database, written to a file by PostgreSQL's own pg_dump.
#pragma once

#include "engine/postgres/recovered_database.h"

namespace varve::engine::postgres {

struct DumpOptions {
  bool plain = true;  // SQL; else pg_dump's custom format
  bool owner = true, tablespaces = true;
};
// Exactly these tables, with what belongs to them. `file` is made, or replaced.
Result<> dump_tables(const Context& ctx, const Binaries& binaries, const RecoveredDatabase& from,
                     const os::Path& file, const DumpOptions& options);

// Gives the only table the name `as`, and what belongs to it names that go with it, none of `taken`
// (by schema).
using TakenNames = std::function<Result<std::vector<std::string>>(const std::string& schema)>;
Result<> rename_table(const Context& ctx, RecoveredDatabase& from, const std::string& as,
                      const TakenNames& taken);

// One of PostgreSQL's programs for clients, by its name. kDatabase with its words when it fails.
Result<os::ProcessResult> run_client(const Context& ctx, const Binaries& binaries,
                                     std::vector<std::string> argv);

}  // namespace varve::engine::postgres
