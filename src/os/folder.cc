// Names and folders: the part of os/file.h that works on paths.
#include <algorithm>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/text.h"
#include "os/file.h"
#include "os/trace.h"

namespace varve::os {
namespace {

struct CloseDir {
  void operator()(DIR* d) const { ::closedir(d); }
};
using Dir = std::unique_ptr<DIR, CloseDir>;

bool is_dots(std::string_view name) {
  return name == "." || name == "..";
}

Path parent_of(const Path& path) {
  return path.has_parent_path() ? path.parent_path() : Path(".");
}

// Takes the descriptor over.
Result<> read_entries(int fd, const Path& path, const std::function<Result<>(const Entry&)>& callback) {
  Dir dir(::fdopendir(fd));
  if (!dir) {
    const int error = errno;
    ::close(fd);
    return fail(errno_error(error, "list", path));
  }
  Entry entry;
  for (;;) {
    errno = 0;
    const dirent* d = ::readdir(dir.get());
    if (d == nullptr) break;
    if (is_dots(d->d_name)) continue;
    entry.name = d->d_name;
    unsigned char type = d->d_type;
    struct stat s;
    // Some file systems do not say.
    if (type == DT_UNKNOWN && ::fstatat(fd, d->d_name, &s, AT_SYMLINK_NOFOLLOW) == 0)
      type = static_cast<unsigned char>(IFTODT(s.st_mode));
    entry.is_directory = type == DT_DIR;
    entry.is_symlink = type == DT_LNK;
    TRY_OK(callback(entry));
  }
  if (errno != 0) return fail(errno_error(errno, "list", path));
  return {};
}

Result<std::vector<std::string>> names_in(int fd, const Path& path) {
  std::vector<std::string> names;
  TRY_OK(read_entries(fd, path, [&](const Entry& entry) -> Result<> {
    names.push_back(entry.name);
    return {};
  }));
  return names;
}

// Removes what is named `name` in the folder open as `parent`. The descriptors, not the paths, decide what is
// removed: a folder swapped for a link meanwhile is not followed.
Result<> remove_below(int parent, const char* name, const Path& path) {
  struct stat s;
  if (::fstatat(parent, name, &s, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return {};
    return fail(errno_error(errno, "examine", path));
  }
  if (!S_ISDIR(s.st_mode)) {
    TRY_OK(trace({.op = Op::kRemove, .path = path, .other = {}}));
    if (::unlinkat(parent, name, 0) != 0 && errno != ENOENT) return fail(errno_error(errno, "remove", path));
    return {};
  }
  const int fd = ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return fail(errno_error(errno, "open", path));
  const int listed = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  Result<> result;
  if (listed < 0) {
    result = fail(errno_error(errno, "open", path));
  } else if (auto names = names_in(listed, path); !names) {
    result = fail(std::move(names).error());
  } else {
    for (const std::string& child : *names) {
      result = remove_below(fd, child.c_str(), path / child);
      if (!result) break;
    }
  }
  ::close(fd);
  TRY_OK(result);
  TRY_OK(trace({.op = Op::kRemoveDir, .path = path, .other = {}}));
  if (::unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
    return fail(errno_error(errno, "remove", path));
  return {};
}

}  // namespace

Result<std::vector<std::string>> list_directory(const Path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return fail(errno_error(errno, "list", path));
  TRY_ASSIGN(auto names, names_in(fd, path));
  std::sort(names.begin(), names.end());
  return names;
}

Result<> for_each_entry(const Path& path, const std::function<Result<>(const Entry&)>& callback) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return fail(errno_error(errno, "list", path));
  return read_entries(fd, path, callback);
}

Result<> make_directories(const Path& path, uint32_t permissions) {
  // A trailing slash is an empty last name, whose parent would be the folder itself.
  if (!path.has_filename() && path.has_relative_path())
    return make_directories(path.parent_path(), permissions);
  TRY_ASSIGN(const auto present, os::status(path));
  if (present) {
    if (present->is_directory) return {};
    return fail(errno_error(ENOTDIR, "use as a folder", path));
  }
  const Path parent = parent_of(path);
  if (parent != path) TRY_OK(make_directories(parent, permissions));
  TRY_OK(trace({.op = Op::kMkdir, .path = path, .other = {}}));
  if (::mkdir(path.c_str(), static_cast<mode_t>(permissions)) != 0 && errno != EEXIST)
    return fail(errno_error(errno, "create folder", path));
  return sync_directory(parent);
}

Result<> link_file(const Path& from, const Path& to) {
  TRY_OK(trace({.op = Op::kLink, .path = from, .other = to}));
  if (::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), 0) == 0) return {};
  const int error = errno;
  // FAT, some FUSE and SMB mounts: link(2) documents EPERM for "no hard links here".
  if (error == EPERM || error == EOPNOTSUPP || error == ENOSYS || error == EMLINK) {
    Error unsupported = errno_error(error, "link", to);
    unsupported.code = Code::kUnsupported;
    unsupported.hint = "this file system has no hard links";
    return fail(std::move(unsupported));
  }
  return fail(errno_error(error, "link", to));
}

Result<> rename_file(const Path& from, const Path& to) {
  TRY_OK(trace({.op = Op::kRename, .path = from, .other = to}));
  if (::rename(from.c_str(), to.c_str()) != 0) return fail(errno_error(errno, "rename to", to));
  return {};
}

Result<> rename_no_replace(const Path& from, const Path& to) {
  TRY_OK(trace({.op = Op::kRename, .path = from, .other = to}));
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return {};
  const int error = errno;
  if (error == EINVAL || error == ENOSYS || error == EOPNOTSUPP) {
    Error unsupported = errno_error(error, "rename to", to);
    unsupported.code = Code::kUnsupported;
    unsupported.hint = "this file system cannot rename without replacing";
    return fail(std::move(unsupported));
  }
  return fail(errno_error(error, "rename to", to));
}

Result<> remove_file(const Path& path) {
  TRY_OK(trace({.op = Op::kRemove, .path = path, .other = {}}));
  if (::unlink(path.c_str()) != 0) return fail(errno_error(errno, "remove", path));
  return {};
}

Result<> remove_directory(const Path& path) {
  TRY_OK(trace({.op = Op::kRemoveDir, .path = path, .other = {}}));
  if (::rmdir(path.c_str()) != 0) return fail(errno_error(errno, "remove folder", path));
  return {};
}

Result<> remove_tree(const Path& path) {
  if (!path.has_filename() && path.has_relative_path()) return remove_tree(path.parent_path());
  const Path parent = parent_of(path);
  const int fd = ::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return {};
    return fail(errno_error(errno, "open", parent));
  }
  auto result = remove_below(fd, path.filename().c_str(), path);
  ::close(fd);
  return result;
}

Result<> sync_directory(const Path& path) {
  TRY_OK(trace({.op = Op::kSyncDir, .path = path, .other = {}}));
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return fail(errno_error(errno, "open", path));
  const int rc = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  // EINVAL: a file system whose folders have no sync of their own (some FUSE and SMB mounts) keeps them in
  // order itself.
  if (rc != 0 && error != EINVAL) return fail(errno_error(error, "sync", path));
  return {};
}

Result<uint64_t> free_space(const Path& path) {
  struct statvfs s;
  if (::statvfs(path.c_str(), &s) != 0) return fail(errno_error(errno, "examine", path));
  return uint64_t{s.f_bavail} * s.f_frsize;
}

Result<TempDir> TempDir::create(const std::string& prefix, const Path& parent) {
  Path base = parent;
  if (base.empty()) {
    const char* tmp = ::getenv("TMPDIR");
    base = tmp != nullptr && *tmp != '\0' ? tmp : "/tmp";
  }
  std::string name = (base / (prefix + "-XXXXXX")).native();
  TRY_OK(trace({.op = Op::kMkdir, .path = name, .other = {}}));
  if (::mkdtemp(name.data()) == nullptr) return fail(errno_error(errno, "create a folder in", base));
  return TempDir(name);
}

TempDir::TempDir(TempDir&& other) noexcept : path_(std::move(other.path_)) {
  other.path_.clear();
}

TempDir& TempDir::operator=(TempDir&& other) noexcept {
  std::swap(path_, other.path_);
  return *this;
}

TempDir::~TempDir() {
  if (!path_.empty()) (void)remove_tree(path_);
}

}  // namespace varve::os
