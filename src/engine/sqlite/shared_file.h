// Descriptors of database files beside SQLite's own. POSIX drops every lock a process holds on a file when
// the process closes any descriptor of it, so a descriptor we opened to read a database would, when closed,
// take SQLite's locks with it. Therefore one descriptor a file is shared in the process, and it is closed
// only when the last one who needs the file — every reader that has it open through SQLite too — has let go
// of it.
#pragma once

#include "os/file.h"

namespace varve::engine::sqlite {

// A share in the descriptor, for reading. Whoever opens a database with SQLite takes one before and drops it
// after. Opening and dropping are thread-safe; so is reading.
class SharedFile {
 public:
  // kNotFound, kDenied …; kDatabase for what is not a regular file (opening a pipe would wait for ever).
  static Result<SharedFile> open(const os::Path& path);
  SharedFile() = default;
  SharedFile(SharedFile&& other) noexcept;
  SharedFile& operator=(SharedFile&& other) noexcept;
  ~SharedFile();

  // Fewer bytes only at the end of the file.
  Result<size_t> read_at(uint64_t offset, MutableBytes out) const;
  Result<os::FileStatus> status() const;
  int fd() const;

 private:
  struct Entry;
  explicit SharedFile(Entry* entry) : entry_(entry) {}
  Entry* entry_ = nullptr;
};

}  // namespace varve::engine::sqlite
