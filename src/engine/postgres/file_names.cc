// What the names in a data directory mean.
#include <charconv>
#include <fmt/format.h>

#include "base/text.h"
#include "engine/postgres/data_directory.h"

namespace varve::engine::postgres {
namespace {

// A number as PostgreSQL prints it: digits, no leading zero, 1 to 2^32 - 1.
std::optional<uint32_t> plain_number(std::string_view digits) {
  if (digits.empty() || digits.front() < '1' || digits.front() > '9') return std::nullopt;
  uint32_t out = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return out;
}

// "16384", "16384.1", "16384_vm", "16384_fsm.2": sets the file's part of `out`.
bool parse_name(std::string_view name, RelationFile& out) {
  if (const size_t dot = name.find('.'); dot != name.npos) {
    const auto segment = plain_number(name.substr(dot + 1));
    if (!segment) return false;
    out.segment = *segment;
    name = name.substr(0, dot);
  }
  if (const size_t line = name.find('_'); line != name.npos) {
    const std::string_view fork = name.substr(line + 1);
    if (fork == "fsm")
      out.fork = Fork::kFreeSpace;
    else if (fork == "vm")
      out.fork = Fork::kVisibility;
    else if (fork == "init")
      out.fork = Fork::kInit;
    else
      return false;
    name = name.substr(0, line);
  }
  const auto node = plain_number(name);
  if (!node) return false;
  out.filenode = *node;
  return true;
}

bool is_slru(std::string_view path) {
  return path.starts_with("pg_xact/") || path.starts_with("pg_multixact/") ||
         path.starts_with("pg_commit_ts/");
}

// The server's own diary. It is in the backup because it is there; nothing depends on it.
bool is_server_log(std::string_view path) {
  return path.starts_with("log/") || path.starts_with("pg_log/") || path.ends_with(".log") ||
         path.ends_with(".csv") || path.ends_with(".json") || path == "current_logfiles";
}

}  // namespace

std::optional<RelationFile> relation_file(std::string_view path) {
  const auto parts = split(path, '/');
  RelationFile out;
  if (parts.size() == 2 && parts[0] == "global") {
    out.tablespace = kGlobalTablespace;
  } else if (parts.size() == 3 && parts[0] == "base") {
    const auto database = plain_number(parts[1]);
    if (!database) return std::nullopt;
    out.tablespace = kDefaultTablespace;
    out.database = *database;
  } else if (parts.size() == 5 && parts[0] == "pg_tblspc" && parts[2].starts_with("PG_")) {
    const auto tablespace = plain_number(parts[1]), database = plain_number(parts[3]);
    if (!tablespace || !database) return std::nullopt;
    out.tablespace = *tablespace;
    out.database = *database;
  } else {
    return std::nullopt;
  }
  if (!parse_name(parts.back(), out)) return std::nullopt;
  return out;
}

// As looks_like_temp_rel_name() of src/backend/storage/file/fd.c.
bool is_temporary_relation(std::string_view name) {
  if (!name.starts_with('t')) return false;
  name.remove_prefix(1);
  const size_t line = name.find('_');
  if (line == name.npos || line == 0) return false;
  for (char c : name.substr(0, line))
    if (c < '0' || c > '9') return false;
  RelationFile ignored;
  return parse_name(name.substr(line + 1), ignored) && ignored.fork != Fork::kInit;
}

bool may_vanish(std::string_view path) {
  if (relation_file(path) || is_slru(path) || is_server_log(path)) return true;
  for (const std::string_view folder : {"pg_logical/", "pg_twophase/", "pg_stat/", "base/", "pg_tblspc/"})
    if (path.starts_with(folder)) return true;
  return false;
}

bool may_shrink(std::string_view path) {
  return relation_file(path) || is_slru(path) || is_server_log(path);
}

std::string tablespace_version_folder(int major_version, uint32_t catalog_version) {
  return fmt::format("PG_{}_{}", major_version, catalog_version);
}

}  // namespace varve::engine::postgres
