#include "engine/postgres/source.h"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <memory>

#include "base/text.h"

namespace varve::engine::postgres {
namespace {

constexpr std::string_view kShort = "postgres:", kLong = "postgresql:";

struct FreeOptions {
  void operator()(PQconninfoOption* o) const { PQconninfoFree(o); }
};
using Options = std::unique_ptr<PQconninfoOption, FreeOptions>;

bool is_secret(std::string_view key) {
  return key == "password" || key == "sslpassword";
}

Result<Options> parse_conninfo(const std::string& text) {
  char* message = nullptr;
  Options options(PQconninfoParse(text.c_str(), &message));
  const std::string why = message ? std::string(trim(message)) : "not understood";
  if (message) PQfreemem(message);
  // libpq's message can quote a part of the text, which may be a password typed in the wrong place: not
  // shown.
  if (!options && (text.find("assword") != text.npos || text.find('@') != text.npos))
    return fail(
        Code::kUsage, "the connection of the PostgreSQL source is malformed",
        "key=value pairs (host=/run/postgresql port=5432 user=postgres) or postgresql://user@host/db");
  if (!options)
    return fail(
        Code::kUsage, fmt::format("the connection of the PostgreSQL source is malformed: {}", printable(why)),
        "key=value pairs (host=/run/postgresql port=5432 user=postgres) or postgresql://user@host/db");
  return options;
}

// The value of a key in `spec`, else from libpq's environment and defaults.
std::string effective(const ClusterSpec& spec, std::string_view key) {
  if (const auto given = parse_conninfo(spec.connection)) {
    for (const PQconninfoOption* o = given->get(); o->keyword; ++o)
      if (o->keyword == key && o->val) return o->val;
  }
  const Options defaults(PQconndefaults());
  for (const PQconninfoOption* o = defaults.get(); o && o->keyword; ++o)
    if (o->keyword == key && o->val) return o->val;
  return "";
}

}  // namespace

// libpq's rule: single quotes around, backslash before a quote or a backslash.
std::string quote_option(std::string_view value) {
  if (!value.empty() && value.find_first_of(" '\\\t\n\r") == value.npos) return std::string(value);
  std::string out = "'";
  for (char c : value) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

bool is_address(std::string_view text) {
  return text.starts_with(kShort) || text.starts_with(kLong);
}

Result<ClusterSpec> make_source(std::string_view connection, const os::Path& data_directory) {
  if (connection.find('\0') != connection.npos)
    return fail(Code::kUsage, "the connection of the PostgreSQL source holds a NUL character");
  TRY_ASSIGN(const Options options, parse_conninfo(std::string(connection)));
  ClusterSpec spec;
  for (const PQconninfoOption* o = options.get(); o->keyword; ++o) {
    if (!o->val) continue;
    const std::string_view key = o->keyword;
    if (is_secret(key))
      return fail(Code::kUsage, fmt::format("a connection must not hold a password ({})", key),
                  "put it into ~/.pgpass (mode 0600), or a file that $PGPASSFILE names");
    if (key == "replication")
      return fail(Code::kUsage, "\"replication\" is not for the connection of a source",
                  "leave it out: backups use an ordinary session");
    if (!spec.connection.empty()) spec.connection += ' ';
    spec.connection += fmt::format("{}={}", key, quote_option(o->val));
  }
  if (!data_directory.empty() && !data_directory.is_absolute())
    return fail(Code::kUsage,
                fmt::format("the data directory {} is no absolute path", printable(data_directory.native())));
  spec.data_directory = data_directory.lexically_normal();
  if (!spec.data_directory.has_filename() && spec.data_directory.has_relative_path())
    spec.data_directory = spec.data_directory.parent_path();
  return spec;
}

Result<ClusterSpec> parse_source(std::string_view address) {
  if (!is_address(address))
    return fail(
        Code::kUsage, fmt::format("\"{}\" is not the address of a PostgreSQL cluster", printable(address)),
        "write postgres:'host=/run/postgresql port=5432 user=postgres', or postgresql://user@host/db");
  const std::string_view rest = address.substr(address.find(':') + 1);
  return make_source(rest.starts_with("//") ? address : rest, {});
}

std::string address_of(const ClusterSpec& spec) {
  return std::string(kShort) + spec.connection;
}

std::string suggested_name(const ClusterSpec& spec) {
  if (const std::string service = effective(spec, "service"); !service.empty()) return service;
  std::string host = effective(spec, "host");
  if (host.empty()) host = effective(spec, "hostaddr");
  if (host.empty() || host.starts_with('/') || host.starts_with('@')) host = "local";
  return fmt::format("{}-{}", host, effective(spec, "port"));
}

std::string database_of(const ClusterSpec& spec) {
  return effective(spec, "dbname");
}

std::string user_of(const ClusterSpec& spec) {
  return effective(spec, "user");
}

}  // namespace varve::engine::postgres
