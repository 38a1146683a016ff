// Files and folders. Every call that changes the disk passes the trace (os/trace.h), so that tests can see
// the order of syncs, fail the n-th call, or end the process at it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"

namespace varve::os {

using Path = std::filesystem::path;

struct FileStatus {
  uint64_t size = 0;
  uint64_t inode = 0;
  uint64_t device = 0;
  uint32_t mode = 0;  // permission bits and type as of stat(2)
  uint32_t uid = 0, gid = 0;
  int64_t mtime_us = 0;
  bool is_directory = false, is_regular = false, is_symlink = false;
};

// An open file. Moves, does not copy. The destructor closes without reporting: close() where it matters.
// Reads and writes at offsets are thread-safe; the rest is not.
class File {
 public:
  enum class Mode { kRead, kReadWrite /* must exist */, kCreateNew /* read-write, must not exist */ };
  static Result<File> open(const Path& path, Mode mode, uint32_t permissions = 0600);
  File() = default;
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  const Path& path() const { return path_; }
  // Reads up to out.size() bytes; fewer only at the end of the file.
  Result<size_t> read_at(uint64_t offset, MutableBytes out) const;
  // Reads exactly out.size() bytes; kDamaged "… is shorter than expected" otherwise.
  Result<> read_exact_at(uint64_t offset, MutableBytes out) const;
  Result<> write_at(uint64_t offset, ByteView bytes);
  Result<> truncate(uint64_t size);
  Result<> sync();  // fsync
  void begin_writeback()
      const;  // lets the system write what is due: a later sync() then has less to wait for
  Result<uint64_t> size() const;
  Result<FileStatus> status() const;
  void advise_sequential() const;  // reading once, from the start
  void advise_dont_need(uint64_t offset, uint64_t length) const;
  Result<> close();

 private:
  int fd_ = -1;
  Path path_;
};

Result<Buffer> read_file(const Path& path, uint64_t max_size);
// Temporary file beside, fsync, rename over, fsync of the folder: the old or the new content, never a part.
Result<> replace_file(const Path& path, ByteView bytes, uint32_t permissions = 0600);

Result<std::optional<FileStatus>> status(const Path& path,
                                         bool follow_symlinks = true);  // nullopt: not there
Result<std::vector<std::string>> list_directory(const Path& path);      // names, sorted; without . and ..
struct Entry {
  std::string name;
  bool is_directory = false, is_symlink = false;
};
// As they come, for folders that may be too large to hold; without . and ..; the callback's error ends it.
Result<> for_each_entry(const Path& path, const std::function<Result<>(const Entry&)>& callback);
Result<> make_directories(const Path& path,
                          uint32_t permissions = 0700);  // existing is fine; parents are synced
// link, rename_no_replace: kExists when `to` exists, kUnsupported when the file system cannot.
Result<> link_file(const Path& from, const Path& to);
Result<> rename_file(const Path& from, const Path& to);  // replaces
Result<> rename_no_replace(const Path& from, const Path& to);
Result<> remove_file(const Path& path);       // kNotFound when absent
Result<> remove_directory(const Path& path);  // must be empty
Result<> remove_tree(const Path& path);       // absent is fine; does not follow links
Result<> sync_directory(const Path& path);
Result<uint64_t> free_space(const Path& path);
// Files that match a shell-like glob ("/srv/*.db", "/srv/**/app.db"), sorted; only regular files. Hidden
// names match only a pattern that begins with a dot; "**" does not follow links. A folder that may not be
// read is an error, not an omission.
Result<std::vector<Path>> glob_files(const std::string& pattern);

// Owns a new folder under $TMPDIR (or the given parent) and removes it with everything in it.
class TempDir {
 public:
  static Result<TempDir> create(const std::string& prefix = "varve", const Path& parent = {});
  TempDir(TempDir&&) noexcept;
  TempDir& operator=(TempDir&&) noexcept;
  ~TempDir();
  const Path& path() const { return path_; }

 private:
  explicit TempDir(Path p) : path_(std::move(p)) {}
  Path path_;
};

// An Error from errno: code, retry class and a message "cannot <verb> <path>: <reason>", with a hint where
// there is one (ENOSPC/EDQUOT/EFBIG → kNoSpace, EACCES/EPERM/EROFS → kDenied, ENOENT → kNotFound, EEXIST →
// kExists, others kIo).
Error errno_error(int errnum, std::string_view verb, const Path& path);

}  // namespace varve::os
