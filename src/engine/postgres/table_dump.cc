#include "engine/postgres/table_dump.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <set>

#include "base/text.h"

namespace varve::engine::postgres {
namespace {

// Bounds a wait for a lock that nobody should hold.
constexpr std::string_view kLockWait = "60000";  // ms

// What a program said last, on one line.
std::string words_of(const os::ProcessResult& result) {
  std::string out;
  for (const std::string_view line : split(trim(result.err), '\n')) {
    if (trim(line).empty()) continue;
    if (!out.empty()) out += " | ";
    out += printable(trim(line));
  }
  return out.empty() ? fmt::format("exit {}", result.exit_code) : out;
}

std::string missing_library(const std::string& words) {
  if (words.find("could not access file") == std::string::npos &&
      words.find("could not load library") == std::string::npos)
    return {};
  return "an extension's library is not on this host: install its package here too";
}

}  // namespace

Result<os::ProcessResult> run_client(const Context& ctx, const Binaries& binaries,
                                     std::vector<std::string> argv) {
  constexpr size_t kMostOutput = 256u << 20;
  const std::string name = argv[0];
  argv[0] = (binaries.folder / name).native();
  TRY_ASSIGN(auto done, os::run(ctx, argv, {}, kMostOutput));
  if (done.exit_code != 0) {
    const std::string words = words_of(done);
    return fail(Code::kDatabase, fmt::format("{}: {}", name, words), missing_library(words));
  }
  return done;
}

Result<> dump_tables(const Context& ctx, const Binaries& binaries, const RecoveredDatabase& from,
                     const os::Path& file, const DumpOptions& options) {
  std::vector<std::string> argv = {"pg_dump",
                                   "--dbname=" + from.spec().connection,
                                   "--file=" + file.native(),
                                   options.plain ? "--format=plain" : "--format=custom",
                                   "--no-password",
                                   fmt::format("--lock-wait-timeout={}", kLockWait),
                                   "--no-publications",
                                   "--no-unlogged-table-data"};
  if (!options.owner) argv.push_back("--no-owner");
  if (!options.tablespaces) argv.push_back("--no-tablespaces");
  // Within double quotes no letter of a pattern has a meaning of its own.
  for (const Member& m : from.members())
    if (m.is_table()) argv.push_back("--table=" + quote_table(m.schema, m.name));
  return run_client(ctx, binaries, std::move(argv)).map([](const auto&) {});
}

Result<> rename_table(const Context& ctx, RecoveredDatabase& from, const std::string& as,
                      const TakenNames& taken) {
  const std::string old = from.tables().front().name;
  std::map<std::string, std::set<std::string>> used;  // by schema
  std::vector<std::pair<uint32_t, std::string>> to;
  const auto use = [&](const std::string& schema) -> Result<std::set<std::string>*> {
    auto at = used.find(schema);
    if (at != used.end()) return &at->second;
    TRY_ASSIGN(const auto there, taken(schema));
    TRY_ASSIGN(const auto here, from.names_in(ctx, schema));
    auto& names = used[schema];
    names.insert(there.begin(), there.end());
    names.insert(here.begin(), here.end());
    return &names;
  };
  for (const Member& m : from.members()) {
    if (m.is_internal()) continue;
    TRY_ASSIGN(std::set<std::string> * names, use(m.schema));
    std::string name = as;
    if (m.oid != from.tables().front().oid) {
      const std::string wanted = m.name.starts_with(old) ? as + m.name.substr(old.size()) : as + "_" + m.name;
      name = fitting_name(wanted, "");
      for (int i = 1; names->contains(name); ++i) name = fitting_name(wanted, fmt::format("_{}", i));
    }
    names->insert(name);
    to.emplace_back(m.oid, name);
  }
  return from.rename(ctx, to);
}

}  // namespace varve::engine::postgres
