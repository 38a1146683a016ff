// What stands between tables of another time and a living database: names that are taken, types, roles and
// functions that are gone. It is taken off in the recovered database, so that the dump fits as it is.
#pragma once

#include "engine/postgres/table_dump.h"

namespace varve::engine::postgres {

// kConflict when the schema has a relation of that name.
Result<> ensure_free(const Context& ctx, Connection& session, const std::string& schema,
                     const std::string& name);

struct Fitting {
  DumpOptions dump;
  std::string begin;               // a script for psql, to be run before the dump
  std::vector<std::string> notes;  // what was left out or made, and why
};
// `here`: a session with the living database; only read from. `as`: a new name for the only table; empty:
// none. kConflict: a name is taken. kDatabase: what cannot be left out is missing, such as an extension.
Result<Fitting> fit_tables(const Context& ctx, const Binaries& binaries, Connection& here,
                           RecoveredDatabase& from, const std::string& as, const os::Path& work_folder);

}  // namespace varve::engine::postgres
