#include "engine/sqlite/source.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/text.h"
#include "engine/sqlite/shared_file.h"

namespace varve::engine::sqlite {
namespace {

constexpr std::string_view kScheme = "sqlite:";
constexpr std::string_view kMagic{"SQLite format 3", 16};

bool is_companion(std::string_view path) {
  return path.ends_with("-wal") || path.ends_with("-shm") || path.ends_with("-journal");
}

enum class Kind { kDatabase, kOther };
Result<Kind> kind_of(const os::Path& path) {
  TRY_ASSIGN(const SharedFile file, SharedFile::open(path));
  std::array<std::byte, kMagic.size()> start;
  TRY_ASSIGN(const size_t got, file.read_at(0, start));
  // No byte at all is a database that has no page yet.
  return got == 0 || (got == start.size() && as_text(start) == kMagic) ? Kind::kDatabase : Kind::kOther;
}

}  // namespace

Result<SourceSpec> parse_source(const std::string& address) {
  if (!address.starts_with(kScheme) || address.size() == kScheme.size()) {
    return fail(Code::kUsage,
                fmt::format("\"{}\" is not the address of a SQLite database", printable(address)),
                "write sqlite:app.db, or sqlite:'/srv/data/*.db' for several");
  }
  std::error_code failed;
  const os::Path path = std::filesystem::absolute(address.substr(kScheme.size()), failed).lexically_normal();
  if (failed) return fail(os::errno_error(failed.value(), "resolve", address.substr(kScheme.size())));
  SourceSpec spec;
  spec.pattern = path.native();
  spec.root = path.parent_path();
  // A file whose name merely looks like a pattern is that file.
  TRY_ASSIGN(const auto there, os::status(path));
  const size_t wild = spec.pattern.find_first_of("*?[");
  if (there || wild == std::string::npos) return spec;
  spec.is_glob = true;
  spec.root = spec.pattern.substr(0, spec.pattern.rfind('/', wild));
  if (spec.root.empty()) spec.root = "/";
  return spec;
}

Result<std::vector<DatabaseFile>> find_databases(const SourceSpec& spec, std::vector<std::string>* skipped) {
  std::vector<DatabaseFile> out;
  if (!spec.is_glob) {
    const os::Path path = spec.pattern;
    auto kind = kind_of(path);
    if (!kind && kind.error().code == Code::kNotFound) {
      return fail(std::move(kind).error().with_hint("check the path; a pattern needs quotes in a shell"));
    }
    if (!kind) return fail(std::move(kind).error());
    if (*kind == Kind::kOther) {
      return fail(Code::kDatabase, fmt::format("{} is not a SQLite database", printable(spec.pattern)),
                  "it is another kind of file, or an encrypted database");
    }
    out.push_back({.path = path, .name = path.filename().native()});
    return out;
  }
  TRY_ASSIGN(const auto paths, os::glob_files(spec.pattern));
  for (const os::Path& path : paths) {
    if (is_companion(path.native())) continue;
    std::string name = path.lexically_relative(spec.root).native();
    const auto kind = kind_of(path);
    if (!kind && kind.error().code == Code::kNotFound) continue;  // gone since it was listed
    if (!kind) return fail(kind.error());
    if (*kind == Kind::kDatabase) {
      out.push_back({.path = path, .name = std::move(name)});
    } else if (skipped != nullptr) {
      skipped->push_back(std::move(name));
    }
  }
  std::ranges::sort(out, {}, &DatabaseFile::name);
  return out;
}

}  // namespace varve::engine::sqlite
