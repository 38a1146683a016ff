#include "engine/sqlite/reader_vfs.h"

#include <optional>
#include <sqlite3.h>

#include "base/context.h"

namespace varve::engine::sqlite {
namespace {

constexpr int kWriteLock = 0;  // of the wal-index's locks (https://sqlite.org/walformat.html)
constexpr std::chrono::milliseconds kWriterIsDead{20};

thread_local bool writer_first = false;
thread_local std::optional<SteadyClock::time_point> refused_since;

// SQLite's methods, and the same with our lock.
struct Methods {
  const sqlite3_io_methods* original = nullptr;
  sqlite3_io_methods courteous{};
};
Methods methods;  // filled once, by the first file opened

int lock_index(sqlite3_file* file, int first, int count, int flags) {
  const int exclusively = SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE;
  if (writer_first && first == kWriteLock && (flags & exclusively) == exclusively) {
    if (!refused_since) refused_since = SteadyClock::now();
    if (SteadyClock::now() - *refused_since < kWriterIsDead) return SQLITE_BUSY;  // it reads the index again
  }
  return methods.original->xShmLock(file, first, count, flags);
}

int open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* flags_out) {
  sqlite3_vfs* system = sqlite3_vfs_find(nullptr);
  const int result = system->xOpen(system, name, file, flags, flags_out);
  if (result != SQLITE_OK || (flags & SQLITE_OPEN_MAIN_DB) == 0 || file->pMethods == nullptr) return result;
  static const bool filled = [file] {
    methods = {file->pMethods, *file->pMethods};
    methods.courteous.xShmLock = lock_index;
    return true;
  }();
  if (filled && file->pMethods == methods.original && methods.original->iVersion >= 2)
    file->pMethods = &methods.courteous;
  return result;
}

}  // namespace

const char* reader_vfs() {
  static sqlite3_vfs ours = [] {
    sqlite3_vfs copy = *sqlite3_vfs_find(nullptr);
    copy.pNext = nullptr;
    copy.zName = "varve-reader";
    copy.xOpen = open;
    return copy;
  }();
  static const int registered = sqlite3_vfs_register(&ours, 0);
  return registered == SQLITE_OK ? ours.zName : nullptr;
}

WriterFirst::WriterFirst() {
  writer_first = true;
  refused_since.reset();
}

WriterFirst::~WriterFirst() {
  writer_first = false;
}

}  // namespace varve::engine::sqlite
