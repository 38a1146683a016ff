// Configuration files that lay outside of the data directory, as Debian has them, put into a restored one: so
// it starts anywhere, by itself. Syntax: PostgreSQL's documentation, "Setting Parameters", "Configuration
// File Includes".
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/postgres/capture_data.h"
#include "os/file.h"

namespace varve::engine::postgres {

// A configuration file's text for its new place: the folder `within` ("." or "conf.d") of the data directory,
// as it lay in that of `old_folder`. What says where the data directory and the other files are is made a
// comment; an include of a file below `old_folder` becomes relative. `folders` gets the folders that
// include_dir names, relative to the data directory: a missing one keeps a server from starting.
std::string moved_configuration(std::string_view text, const os::Path& old_folder, const os::Path& within,
                                std::vector<std::string>& folders);

// Writes them: the main file as postgresql.conf, pg_hba.conf and pg_ident.conf beside it, included ones as
// they lay relative to the main one. They replace what is there, and belong to whom the data directory
// belongs. Returns notes for people: what is where now, and what could not be placed.
Result<std::vector<std::string>> place_configuration(const os::Path& data_directory,
                                                     std::span<const ConfigurationFile> files);

}  // namespace varve::engine::postgres
