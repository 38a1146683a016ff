#include "engine/postgres/configuration.h"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <unistd.h>

#include "base/text.h"
#include "engine/postgres/recovery.h"

namespace varve::engine::postgres {
namespace {

constexpr uint32_t kFileMode = 0600, kFolderMode = 0700;
constexpr uint64_t kLargest = 1u << 20;
constexpr std::string_view kMain = "postgresql.conf";
// They name files of another place; without them the server looks into the data directory.
constexpr std::string_view kPlaces[] = {"data_directory", "config_file", "hba_file", "ident_file",
                                        "external_pid_file"};

struct Setting {
  std::string key;
  std::string value;  // without its quotes
};

// "key = value", "key value" or "key = 'value'", a comment after it. nullopt: none of these.
std::optional<Setting> parse(std::string_view line) {
  line = trim(line);
  const size_t end = line.find_first_of(" \t=");
  if (line.empty() || line[0] == '#' || end == line.npos) return std::nullopt;
  Setting out{.key = to_lower(line.substr(0, end)), .value = {}};
  line = trim(line.substr(end));
  if (line.starts_with('=')) line = trim(line.substr(1));
  if (!line.starts_with('\'')) {
    out.value = trim(line.substr(0, line.find('#')));
    return out;
  }
  for (size_t i = 1; i < line.size(); ++i) {
    if (line[i] == '\'') {
      if (i + 1 == line.size() || line[i + 1] != '\'') return out;
      ++i;
    } else if (line[i] == '\\' && i + 1 < line.size()) {
      ++i;
    }
    out.value += line[i];
  }
  return std::nullopt;  // the quote is not closed
}

// The way from `folder` to what lies below it; nullopt when it does not.
std::optional<std::string> below(const os::Path& path, const os::Path& folder) {
  const os::Path way = path.lexically_normal().lexically_relative(folder.lexically_normal());
  if (way.empty() || way == "." || *way.begin() == "..") return std::nullopt;
  return way.native();
}

}  // namespace

std::string moved_configuration(std::string_view text, const os::Path& old_folder, const os::Path& within,
                                std::vector<std::string>& folders) {
  std::string out;
  for (const std::string_view line : split(text, '\n')) {
    if (!out.empty()) out += '\n';
    const auto setting = parse(line);
    if (setting && std::ranges::find(kPlaces, setting->key) != std::end(kPlaces)) {
      out += "# varve restore: " + std::string(line);
      continue;
    }
    if (!setting || !setting->key.starts_with("include")) {
      out += line;
      continue;
    }
    // What is relative is so to the file that includes it.
    const os::Path path = setting->value;
    const auto way = below(path.is_absolute() ? path : old_folder / within / path, old_folder);
    if (setting->key == "include_dir" && way) folders.push_back(*way);
    out += path.is_absolute() && way
               ? fmt::format("{} {}", setting->key,
                             quote_setting(os::Path(*way).lexically_relative(within).native()))
               : std::string(line);
  }
  return out;
}

namespace {

class Placement {
 public:
  Placement(const os::Path& data, const os::FileStatus& status) : data_(data), status_(status) {}

  Result<std::vector<std::string>> run(std::span<const ConfigurationFile> files) {
    const auto main = std::ranges::find(files, "config_file", &ConfigurationFile::kind);
    const os::Path old = main == files.end() ? data_ : os::Path(main->path).parent_path();
    for (const ConfigurationFile& f : files) {
      if (f.kind == "hba_file") TRY_OK(write("pg_hba.conf", f.content));
      if (f.kind == "ident_file") TRY_OK(write("pg_ident.conf", f.content));
      if (f.kind == "include") TRY_OK(include(f, old));
    }
    TRY_OK(main_file(main == files.end() ? nullptr : &*main, old));
    std::ranges::sort(written_);
    std::string names;
    for (const std::string& n : written_) names += (names.empty() ? "" : ", ") + printable(n);
    notes_.insert(notes_.begin(),
                  fmt::format("the configuration, which lay outside of the data directory, is "
                              "in it now: {}",
                              names));
    return std::move(notes_);
  }

 private:
  Result<> include(const ConfigurationFile& f, const os::Path& old) {
    const auto way = below(f.path, old);
    if (!way) {
      notes_.push_back(
          fmt::format("{} was included from another place; its content was not put back", printable(f.path)));
      return {};
    }
    TRY_ASSIGN(const auto there, os::status(data_ / *way));
    if (there) {
      notes_.push_back(fmt::format("{} was not put back: the data directory has another {}",
                                   printable(f.path), printable(*way)));
      return {};
    }
    return moved(*way, as_text(f.content), old);
  }
  Result<> moved(const std::string& way, std::string_view text, const os::Path& old) {
    std::vector<std::string> folders;
    os::Path within = os::Path(way).parent_path();
    if (within.empty()) within = ".";
    const std::string content = moved_configuration(text, old, within, folders);
    for (const std::string& f : folders) TRY_OK(make_folders(os::Path(f) / "x"));
    return write(way, as_bytes(content));
  }

  // One that lay in the data directory all the time may name the others.
  Result<> main_file(const ConfigurationFile* outside, const os::Path& old) {
    Buffer own;
    if (!outside) {
      TRY_ASSIGN(own, os::read_file(data_ / kMain, kLargest));
    }
    return moved(std::string(kMain), as_text(outside ? outside->content : own), old);
  }

  Result<> write(const std::string& way, ByteView content) {
    const os::Path to = data_ / way;
    if (!below(to, data_)) return fail(Code::kDamaged, fmt::format("{} leads elsewhere", printable(way)));
    TRY_OK(make_folders(way));
    TRY_OK(os::replace_file(to, content, kFileMode));
    TRY_OK(give(to));
    written_.push_back(way);
    return {};
  }
  // Those that a file below the data directory needs.
  Result<> make_folders(const os::Path& way) {
    os::Path at = data_;
    for (const os::Path& part : way.parent_path()) {
      at /= part;
      if (!below(at, data_)) return {};
      TRY_ASSIGN(const auto there, os::status(at));
      if (there) continue;
      TRY_OK(os::make_directories(at, kFolderMode));
      TRY_OK(give(at));
    }
    return {};
  }
  Result<> give(const os::Path& path) const {
    if (::geteuid() != 0) return {};
    if (::lchown(path.c_str(), status_.uid, status_.gid) == 0) return {};
    return fail(os::errno_error(errno, "change the owner of", path));
  }

  const os::Path& data_;
  const os::FileStatus& status_;
  std::vector<std::string> written_, notes_;
};

}  // namespace

Result<std::vector<std::string>> place_configuration(const os::Path& data_directory,
                                                     std::span<const ConfigurationFile> files) {
  if (files.empty()) return std::vector<std::string>{};
  TRY_ASSIGN(const auto folder, os::status(data_directory));
  if (!folder) return fail(os::errno_error(ENOENT, "open the data directory", data_directory));
  return Placement(data_directory, *folder).run(files);
}

}  // namespace varve::engine::postgres
