// Reads over libpq what a cluster holds: databases, and the relations of each with their files.
#pragma once

#include <string>
#include <vector>

#include "engine/postgres/capture_data.h"
#include "engine/postgres/connection.h"

namespace varve::engine::postgres {

struct Catalogue {
  std::vector<Database> databases;  // ascending by oid
  std::vector<std::string> warnings;
};
// Opens one session after another, to every database that allows it. A database that cannot be read stays
// unlisted, with a warning: a backup does not depend on it, only the restore of single tables does.
Result<Catalogue> read_catalogue(const Context& ctx, const ClusterSpec& spec, Connection& session);

// The configuration files in force that lie outside of `data_directory` and that this process (or, with
// kReplication, the role at the server) may read; a warning for each that it may not. Empty where the role
// may not ask.
Result<std::vector<ConfigurationFile>> read_configuration(const Context& ctx, Connection& session,
                                                          Access access, const os::Path& data_directory,
                                                          std::vector<std::string>& warnings);

}  // namespace varve::engine::postgres
