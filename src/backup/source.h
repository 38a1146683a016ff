// A source as the layers above name it, joined with its engine.
#pragma once

#include <string>
#include <vector>

#include "base/context.h"
#include "engine/engine.h"

namespace varve::backup {

// What a person names: "sqlite:app.db", or a name whose address the configuration gives.
struct Source {
  std::string name;     // as it stands in the repository
  std::string address;  // "sqlite:/srv/app/app.db"
  std::string engine;   // "sqlite"
  // PostgreSQL's.
  std::string data_directory = {};  // as this host sees it; empty: the server says where it is
  bool replication = false;         // its files are sent by the server (access = "replication")
  uint64_t read_rate = 0;           // then: bytes a second that the server sends at most; 0: no limit
};

// From an address: checks the scheme, makes paths absolute, and derives the name for the repository (as
// named_source() does). kUsage for an unknown engine.
Result<Source> source_from_address(const std::string& address);
bool is_address(const std::string& text);  // has an engine's scheme
// With a name from `stem` and eight hexadecimal digits of the address: "app-3f9a1c04".
Source named_source(std::string_view engine, std::string_view stem, const std::string& address);

// Findings before any backup: engine's probe.
Result<std::vector<engine::Problem>> probe(const Context& ctx, const Source& source);

}  // namespace varve::backup
