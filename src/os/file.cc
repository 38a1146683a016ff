#include "os/file.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "base/text.h"
#include "os/trace.h"

namespace varve::os {
namespace {

// One system call moves at most this: Linux stops short of 2 GiB anyway.
constexpr size_t kMostPerCall = size_t{1} << 30;

FileStatus from_stat(const struct stat& s) {
  FileStatus out;
  out.size = static_cast<uint64_t>(s.st_size);
  out.inode = s.st_ino;
  out.device = s.st_dev;
  out.mode = s.st_mode;
  out.uid = s.st_uid;
  out.gid = s.st_gid;
  out.mtime_us = int64_t{s.st_mtim.tv_sec} * 1'000'000 + s.st_mtim.tv_nsec / 1000;
  out.is_directory = S_ISDIR(s.st_mode);
  out.is_regular = S_ISREG(s.st_mode);
  out.is_symlink = S_ISLNK(s.st_mode);
  return out;
}

std::string hint_for(int errnum) {
  switch (errnum) {
    case ENOSPC:
    case EDQUOT:
      return "free some space (or raise the quota) and run again";
    case EFBIG:
      return "the file system or a limit of the process (ulimit -f) allows no file of this size";
    case EACCES:
    case EPERM:
      return "run as a user who may do this, or change the permissions";
    case EROFS:
      return "the file system is mounted read-only: mount it for writing, or choose another folder";
    case EMFILE:
    case ENFILE:
      return "raise the limit of open files (ulimit -n)";
    case EIO:
      return "the device reports errors: look in the kernel's log (dmesg) and check the disk";
    case ELOOP:
      return "symbolic links form a circle, or one stands where none is allowed";
    default:
      return {};
  }
}

}  // namespace

Error errno_error(int errnum, std::string_view verb, const Path& path) {
  Error error;
  switch (errnum) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      error.code = Code::kNoSpace;
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      error.code = Code::kDenied;
      break;
    case ENOENT:
      error.code = Code::kNotFound;
      break;
    case EEXIST:
      error.code = Code::kExists;
      break;
    default:
      error.code = Code::kIo;
      break;
  }
  // A network file system that lost its server for a while, or a handle that a rename on the server made
  // stale.
  if (errnum == EAGAIN || errnum == ESTALE || errnum == ETIMEDOUT) error.retry = Retry::kTransient;
  error.message = fmt::format("cannot {} {}: {}", verb, printable(path.native()),
                              std::generic_category().message(errnum));
  error.hint = hint_for(errnum);
  return error;
}

File::File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  return *this;
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

Result<File> File::open(const Path& path, Mode mode, uint32_t permissions) {
  int flags = O_CLOEXEC | O_NOCTTY;
  const char* verb = "open";
  switch (mode) {
    case Mode::kRead:
      flags |= O_RDONLY;
      break;
    case Mode::kReadWrite:
      flags |= O_RDWR;
      break;
    case Mode::kCreateNew:
      flags |= O_RDWR | O_CREAT | O_EXCL;
      verb = "create";
      TRY_OK(trace({.op = Op::kCreate, .path = path, .other = {}}));
      break;
  }
  File file;
  do {
    file.fd_ = ::open(path.c_str(), flags, static_cast<mode_t>(permissions));
  } while (file.fd_ < 0 && errno == EINTR);
  if (file.fd_ < 0) return fail(errno_error(errno, verb, path));
  file.path_ = path;
  return file;
}

Result<size_t> File::read_at(uint64_t offset, MutableBytes out) const {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = ::pread(fd_, out.data() + done, std::min(out.size() - done, kMostPerCall),
                              static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(errno_error(errno, "read", path_));
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

Result<> File::read_exact_at(uint64_t offset, MutableBytes out) const {
  TRY_ASSIGN(const size_t n, read_at(offset, out));
  if (n == out.size()) return {};
  return fail(Code::kDamaged, fmt::format("{} is shorter than expected: {} bytes at offset {} are missing",
                                          printable(path_.native()), out.size() - n, offset + n));
}

Result<> File::write_at(uint64_t offset, ByteView bytes) {
  TRY_OK(trace({.op = Op::kWrite, .path = path_, .other = {}, .offset = offset, .size = bytes.size()}));
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::pwrite(fd_, bytes.data() + done, std::min(bytes.size() - done, kMostPerCall),
                               static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(errno_error(errno, "write", path_));
    done += static_cast<size_t>(n);
  }
  return {};
}

Result<> File::truncate(uint64_t size) {
  TRY_OK(trace({.op = Op::kTruncate, .path = path_, .other = {}, .size = size}));
  int rc;
  do {
    rc = ::ftruncate(fd_, static_cast<off_t>(size));
  } while (rc != 0 && errno == EINTR);
  if (rc != 0) return fail(errno_error(errno, "truncate", path_));
  return {};
}

// Never repeated after a failure: the kernel may have dropped the dirty pages, and a second fsync would then
// lie.
Result<> File::sync() {
  TRY_OK(trace({.op = Op::kSync, .path = path_, .other = {}}));
  if (::fsync(fd_) != 0) return fail(errno_error(errno, "sync", path_));
  return {};
}

void File::begin_writeback() const {
  (void)::sync_file_range(fd_, 0, 0, SYNC_FILE_RANGE_WRITE);
}

Result<FileStatus> File::status() const {
  struct stat s;
  if (::fstat(fd_, &s) != 0) return fail(errno_error(errno, "examine", path_));
  return from_stat(s);
}

Result<uint64_t> File::size() const {
  TRY_ASSIGN(const FileStatus s, status());
  return s.size;
}

void File::advise_sequential() const {
  ::posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL);
}

void File::advise_dont_need(uint64_t offset, uint64_t length) const {
  ::posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(length), POSIX_FADV_DONTNEED);
}

Result<> File::close() {
  if (fd_ < 0) return {};
  const int rc = ::close(std::exchange(fd_, -1));
  // On Linux the descriptor is gone even after EINTR; network file systems report lost writes here.
  if (rc != 0 && errno != EINTR) return fail(errno_error(errno, "close", path_));
  return {};
}

Result<Buffer> read_file(const Path& path, uint64_t max_size) {
  TRY_ASSIGN(const File file, File::open(path, File::Mode::kRead));
  TRY_ASSIGN(const FileStatus status, file.status());
  if (status.is_directory) return fail(errno_error(EISDIR, "read", path));
  Buffer out;
  // Files of /proc and pipes claim size 0: read until the end says so, not until the size.
  size_t filled = 0;
  size_t room = static_cast<size_t>(std::min<uint64_t>(status.size, max_size)) + 1;
  for (;;) {
    out.resize(filled + room);
    TRY_ASSIGN(const size_t n, file.read_at(filled, MutableBytes(out).subspan(filled, room)));
    filled += n;
    if (filled > max_size) {
      return fail(Code::kDamaged, fmt::format("{} is larger than the {} expected here",
                                              printable(path.native()), human_size(max_size)));
    }
    if (n < room) break;
    room = static_cast<size_t>(std::min<uint64_t>(std::max<size_t>(filled, 4096), max_size - filled + 1));
  }
  out.resize(filled);
  return out;
}

Result<> replace_file(const Path& path, ByteView bytes, uint32_t permissions) {
  static std::atomic<uint64_t> serial = 0;
  const Path temporary =
      path.parent_path() / fmt::format(".{}.{}-{}.tmp", path.filename().native(), ::getpid(), ++serial);
  auto write = [&]() -> Result<> {
    TRY_ASSIGN(File file, File::open(temporary, File::Mode::kCreateNew, permissions));
    TRY_OK(file.write_at(0, bytes));
    TRY_OK(file.sync());
    TRY_OK(file.close());
    return rename_file(temporary, path);
  };
  if (auto done = write(); !done) {
    ::unlink(temporary.c_str());
    return done;
  }
  return sync_directory(path.has_parent_path() ? path.parent_path() : Path("."));
}

Result<std::optional<FileStatus>> status(const Path& path, bool follow_symlinks) {
  struct stat s;
  const int rc = follow_symlinks ? ::stat(path.c_str(), &s) : ::lstat(path.c_str(), &s);
  if (rc == 0) return from_stat(s);
  if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
  return fail(errno_error(errno, "examine", path));
}

}  // namespace varve::os
