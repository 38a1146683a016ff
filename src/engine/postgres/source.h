// A PostgreSQL source: one cluster, reached over libpq for talking, and for reading through the file system
// or over the replication protocol.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "os/file.h"

namespace varve::engine::postgres {

// How the files of a cluster are read.
enum class Access {
  kLocal,        // through the file system of this host
  kReplication,  // sent by the server, over the replication protocol
};

// How to reach a cluster. Never holds a password: libpq finds it in ~/.pgpass, $PGPASSFILE, $PGPASSWORD or a
// service file.
struct ClusterSpec {
  std::string connection;   // libpq's key=value form, in libpq's order of keys, quoted; may be empty
  os::Path data_directory;  // as this host sees it; empty: the server says where it is
  Access access = Access::kLocal;
  uint64_t read_rate = 0;  // with kReplication: bytes a second that the server sends at most; 0: no limit
};

bool is_address(std::string_view text);  // begins with "postgres:" or "postgresql:"

// "postgres:host=/run/postgresql port=5433 user=postgres", "postgres:" (libpq's defaults),
// "postgresql://user@host:5433/db". kUsage for an unknown key, a password in it, or a replication connection.
Result<ClusterSpec> parse_source(std::string_view address);

// As the configuration has them: `connection` in key=value or URI form, `data_directory` absolute or empty.
Result<ClusterSpec> make_source(std::string_view connection, const os::Path& data_directory);

// A value as it stands in a key=value connection string, quoted where it must be.
std::string quote_option(std::string_view value);

// The address that parse_source() reads back, in one spelling. Does not hold the data directory.
std::string address_of(const ClusterSpec& spec);

// What a person would call it, from the host and port in effect (environment included): "local-5432",
// "db1.example.com-5433", or the name of the service.
std::string suggested_name(const ClusterSpec& spec);

// The database that the connection names, or libpq's default; may be empty (then it is the user's name).
std::string database_of(const ClusterSpec& spec);
// Likewise the user; may be empty (then it is the system's user).
std::string user_of(const ClusterSpec& spec);

}  // namespace varve::engine::postgres
