#include "engine/postgres/data_directory.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <set>
#include <sys/stat.h>

#include "base/text.h"

namespace varve::engine::postgres {
namespace {

constexpr int kDeepest = 64;
constexpr uint64_t kSmall = 64u << 10;      // files read while listing
constexpr uint64_t kSmallAtTop = 1u << 20;  // …configuration files stand at the top
constexpr uint64_t kMostRead = 32u << 20;   // …in total

// Contents removed or made anew when a server starts.
constexpr std::array<std::string_view, 7> kEmptied = {
    "pg_dynshmem", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"};
// At the top of the data directory.
constexpr std::array<std::string_view, 13> kNotTaken = {
    "postmaster.pid",   "postmaster.opts",          "backup_label",
    "backup_label.old", "tablespace_map",           "tablespace_map.old",
    "backup_manifest",  "postgresql.auto.conf.tmp", "current_logfiles.tmp",
    "standby.signal",   "recovery.signal",          "promote",
    "logrotate"};

template <typename List>
bool contains(const List& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

bool all_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

std::optional<uint32_t> number(std::string_view text) {
  uint32_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (!all_digits(text) || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return out;
}

// "base/5", "pg_tblspc/16400/PG_15_202209061/5", "global": where relations' files lie.
bool holds_relations(std::string_view path) {
  const auto parts = split(path, '/');
  if (path == "global") return true;
  if (parts.size() == 2 && parts[0] == "base") return all_digits(parts[1]);
  return parts.size() == 4 && parts[0] == "pg_tblspc" && parts[2].starts_with("PG_") && all_digits(parts[3]);
}

Error with_user_hint(Error error) {
  if (error.code == Code::kDenied)
    error.hint = "run as the user who owns the data directory: sudo -u postgres varve …";
  return error;
}

using Identity = std::pair<uint64_t, uint64_t>;
Identity identity(const os::FileStatus& s) {
  return {s.device, s.inode};
}

class Walker {
 public:
  Walker(const Context& ctx, os::Path root, const ControlFile& control, int major)
      : ctx_(ctx),
        root_(std::move(root)),
        page_size_(control.page_size),
        major_(major),
        version_folder_(tablespace_version_folder(major, control.catalog_version)) {}

  Result<DataDirectory> run() {
    TRY_ASSIGN(const auto status, os::status(root_));
    if (!status)
      return fail(Code::kNotFound, fmt::format("there is no data directory {}", printable(root_.native())),
                  "give the one of the server's SHOW data_directory, as this host sees it");
    out_.mode = status->mode & 07777;
    out_.uid = status->uid;
    out_.gid = status->gid;
    folders_.insert(identity(*status));
    TRY_OK(find_tablespaces());
    TRY_OK(folder("", root_, 0));
    std::ranges::sort(out_.files, {}, &FileSpec::path);
    std::ranges::sort(out_.read, {}, &ReadFile::path);
    std::ranges::sort(out_.tablespaces, {}, &Tablespace::oid);
    return std::move(out_);
  }

 private:
  // Names first: folders that are tablespaces are not walked twice when they lie inside the data directory.
  Result<> find_tablespaces() {
    TRY_ASSIGN(const auto names, list(root_ / "pg_tblspc"));
    for (const std::string& name : names) {
      const auto oid = number(name);
      const os::Path path = root_ / "pg_tblspc" / name;
      TRY_ASSIGN(const auto status, os::status(path, false));
      if (!oid || !status || (!status->is_symlink && !status->is_directory)) continue;
      Tablespace t{.oid = *oid, .location = "", .in_place = status->is_directory};
      if (status->is_symlink) {
        std::error_code failed;
        t.location = std::filesystem::read_symlink(path, failed).native();
        if (failed) return fail(os::errno_error(failed.value(), "read the link", path));
        TRY_ASSIGN(const auto target, os::status(path));
        if (target) locations_.insert(identity(*target));
      }
      out_.tablespaces.push_back(std::move(t));
    }
    return {};
  }

  // A folder that is gone has no names.
  Result<std::vector<std::string>> list(const os::Path& real) {
    auto names = os::list_directory(real);
    if (names) return names;
    if (names.error().code == Code::kNotFound) return std::vector<std::string>();
    return fail(with_user_hint(std::move(names).error()));
  }

  Result<> folder(const std::string& path, const os::Path& real, int depth) {
    TRY_OK(ctx_.check());
    if (depth > kDeepest)
      return fail(Code::kUnsupported, fmt::format("{} lies too deep", printable(real.native())));
    TRY_ASSIGN(const auto names, list(real));
    std::set<uint32_t> unlogged;
    const bool relations = holds_relations(path);
    if (relations) {
      for (const std::string& name : names) {
        const auto file = relation_file(path + "/" + name);
        if (file && file->fork == Fork::kInit) unlogged.insert(file->filenode);
      }
    }
    for (const std::string& name : names) {
      const std::string below = path.empty() ? name : path + "/" + name;
      if (is_left_out(below)) continue;
      if (relations) {
        const auto file = relation_file(below);
        if (file && file->fork != Fork::kInit && unlogged.contains(file->filenode)) continue;
      }
      TRY_OK(entry(below, real / name, depth));
    }
    return {};
  }

  Result<> entry(const std::string& path, const os::Path& real, int depth) {
    TRY_ASSIGN(auto status, look(real, false));
    if (!status) return {};
    if (path == "pg_wal" || contains(kEmptied, path)) return emptied(path, real);
    const auto parts = split(path, '/');
    if (parts.size() == 2 && parts[0] == "pg_tblspc" && all_digits(parts[1]) &&
        (status->is_symlink || status->is_directory))
      return tablespace(path, real, *status, depth);
    if (status->is_symlink) {
      TRY_ASSIGN(const auto target, look(real, true));
      if (!target) {
        warn("{} is a link to nowhere and is left out", path);
        return {};
      }
      if (target->is_directory || target->is_regular)
        warn("{} is a link; what it points at is in the backup, and is restored in its place", path);
      status = target;
    }
    if (status->is_directory) {
      add(path, FileType::kDirectory, *status);
      if (locations_.contains(identity(*status))) return {};
      if (!folders_.insert(identity(*status)).second) {
        warn("{} is a folder met before, by a link: what is in it is taken once", path);
        return {};
      }
      return folder(path, real, depth + 1);
    }
    if (status->is_regular) return regular(path, real, *status);
    warn("{} is neither file nor folder and is left out", path);
    return {};
  }

  Result<std::optional<os::FileStatus>> look(const os::Path& real, bool follow) {
    auto status = os::status(real, follow);
    if (!status) return fail(with_user_hint(std::move(status).error()));
    return status;
  }

  // The folder alone; a link to it becomes a folder.
  Result<> emptied(const std::string& path, const os::Path& real) {
    TRY_ASSIGN(const auto status, look(real, true));
    if (!status || !status->is_directory) return {};
    add(path, FileType::kDirectory, *status);
    if (path != "pg_wal") return {};
    add("pg_wal/archive_status", FileType::kDirectory, *status);
    if (major_ >= 17) add("pg_wal/summaries", FileType::kDirectory, *status);
    return {};
  }

  Result<> tablespace(const std::string& path, const os::Path& real, const os::FileStatus& status,
                      int depth) {
    FileSpec& spec = add(path, status.is_symlink ? FileType::kSymlink : FileType::kDirectory, status);
    if (status.is_symlink) {
      std::error_code failed;
      spec.link_target = std::filesystem::read_symlink(real, failed).native();
      if (failed) return fail(os::errno_error(failed.value(), "read the link", real));
    }
    const os::Path inside = real / version_folder_;
    TRY_ASSIGN(const auto version, look(inside, true));
    if (!version) return {};  // dropped meanwhile
    const std::string below = path + "/" + version_folder_;
    add(below, FileType::kDirectory, *version);
    return folder(below, inside, depth + 2);
  }

  Result<> regular(const std::string& path, const os::Path& real, os::FileStatus status) {
    if (relation_file(path)) {
      status.size -= status.size % page_size_;
    } else if (const bool top = path.find('/') == path.npos; !may_shrink(path) &&
                                                             status.size <= (top ? kSmallAtTop : kSmall) &&
                                                             read_ + status.size <= kMostRead) {
      auto content = os::read_file(real, 2 * kSmallAtTop);
      if (!content && content.error().code == Code::kNotFound) return {};
      if (!content) return fail(with_user_hint(std::move(content).error()));
      status.size = content->size();
      read_ += content->size();
      out_.read.push_back({path, std::move(*content)});
    }
    add(path, FileType::kRegular, status);
    return {};
  }

  FileSpec& add(const std::string& path, FileType type, const os::FileStatus& status) {
    FileSpec spec;
    spec.path = path;
    spec.type = type;
    spec.size = type == FileType::kRegular ? status.size : 0;
    spec.page_size = page_size_;
    spec.mode = status.mode & 07777;
    spec.uid = status.uid;
    spec.gid = status.gid;
    spec.mtime_us = status.mtime_us;
    return out_.files.emplace_back(std::move(spec));
  }

  void warn(std::string_view format, const std::string& path) {
    out_.warnings.push_back(fmt::format(fmt::runtime(format), printable(path)));
  }

  const Context& ctx_;
  os::Path root_;
  uint32_t page_size_;
  int major_;
  std::string version_folder_;
  std::set<Identity> locations_;  // of tablespaces
  std::set<Identity> folders_;    // walked
  uint64_t read_ = 0;
  DataDirectory out_;
};

}  // namespace

bool is_left_out(std::string_view path) {
  const size_t slash = path.rfind('/');
  const std::string_view folder = slash == path.npos ? "" : path.substr(0, slash);
  const std::string_view name = slash == path.npos ? path : path.substr(slash + 1);
  if (name.starts_with("pgsql_tmp") || name.starts_with("pg_internal.init") || name == ".DS_Store")
    return true;
  if (path == kControlPath) return true;
  if (slash != path.npos && contains(kEmptied, path.substr(0, path.find('/')))) return true;
  if (folder == "pg_wal") return name != "archive_status" && name != "summaries";
  if (folder.starts_with("pg_wal/")) return true;
  if (folder != "global" && holds_relations(folder) && is_temporary_relation(name)) return true;
  return folder.empty() && contains(kNotTaken, name);
}

Result<DataDirectory> walk(const Context& ctx, const os::Path& data_directory, const ControlFile& control,
                           int major_version) {
  std::error_code unresolved;
  os::Path root = std::filesystem::canonical(data_directory, unresolved);
  if (unresolved)
    return fail(
        with_user_hint(os::errno_error(unresolved.value(), "open the data directory", data_directory)));
  return Walker(ctx, std::move(root), control, major_version).run();
}

}  // namespace varve::engine::postgres
