// The tar archives that BASE_BACKUP sends: POSIX ustar, as tarCreateHeader() of PostgreSQL's src/port/tar.c
// writes it. What it never writes (prefixes, extended headers, hard links, devices) is refused: bytes that
// were misread must not become a backup.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "engine/engine.h"

namespace varve::engine::postgres {

inline constexpr size_t kTarBlock = 512;

struct TarEntry {
  std::string path;  // relative, without "." or "..", without a slash at its end
  FileType type = FileType::kRegular;
  uint64_t size = 0;  // of a regular file; else 0
  uint32_t mode = 0, uid = 0, gid = 0;
  int64_t mtime_us = 0;
  std::string link_target;
};

// Of one block; nullopt: it holds zeros, as at an archive's end. kDamaged when it is no header, or a value is
// impossible.
Result<std::optional<TarEntry>> parse_tar_header(ByteView block);

// Reads one archive from its begin to its end. Not thread-safe. After an error it is of no use.
class TarReader {
 public:
  // Fills `bytes` with what comes next, in any portions; false: there is no more.
  using More = std::function<Result<bool>(Buffer& bytes)>;
  // `terminated`: two blocks of zeros stand at the end (servers before 15 send none).
  TarReader(More more, bool terminated) : more_(std::move(more)), terminated_(terminated) {}

  // What is left of the entry before is passed over. nullopt: the archive has ended, where it may end.
  // kDamaged when it is cut short or goes on after its end.
  Result<std::optional<TarEntry>> next();
  // The next bytes of a regular file.
  Result<> read(MutableBytes out);
  uint64_t left() const { return left_; }  // of the entry's content

 private:
  Result<bool> fill();  // false: the archive ends here
  Result<> take(MutableBytes out);
  Result<> skip(uint64_t bytes);
  Result<> end_of_archive(bool zeros);

  const More more_;
  const bool terminated_;
  Buffer bytes_;
  size_t at_ = 0;
  uint64_t left_ = 0;
  size_t padding_ = 0;
};

}  // namespace varve::engine::postgres
