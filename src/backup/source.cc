#include "backup/source.h"

#include <algorithm>
#include <fmt/format.h>

#include "crypto/crypto.h"
#include "engine/sqlite/source.h"

namespace varve::backup {
namespace {

constexpr std::string_view kSqlite = "sqlite:";

// Letters, digits and a few signs; the rest becomes '-'.
std::string name_part(std::string_view text) {
  std::string out;
  for (char c : text.substr(0, 80)) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    out += plain || ((c == '.' || c == '-') && !out.empty()) ? c : '-';
  }
  while (!out.empty() && (out.front() == '-' || out.front() == '_')) out.erase(0, 1);
  return out.empty() ? "db" : out;
}

}  // namespace

bool is_address(const std::string& text) {
  return text.starts_with(kSqlite);
}

Result<Source> source_from_address(const std::string& address) {
  if (!is_address(address))
    return fail(Code::kUsage, fmt::format("{}: is not the address of a database", address),
                "SQLite: sqlite:/srv/app/app.db, or sqlite:/srv/app/*.db for several");
  TRY_ASSIGN(engine::sqlite::SourceSpec spec, engine::sqlite::parse_source(address));
  const std::string whole = std::string(kSqlite) + spec.pattern;
  const auto hash = crypto::digest(as_bytes(whole));
  const os::Path named = spec.is_glob ? spec.root.filename() : os::Path(spec.pattern).stem();
  return Source{name_part(named.string()) + "-" + to_hex(ByteView(hash).first(4)), whole, "sqlite"};
}

Result<std::vector<engine::Problem>> probe(const Context& ctx, const Source& source) {
  TRY_ASSIGN(engine::sqlite::SourceSpec spec, engine::sqlite::parse_source(source.address));
  return engine::sqlite::probe(ctx, spec);
}

}  // namespace varve::backup
