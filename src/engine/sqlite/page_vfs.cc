#include "engine/sqlite/page_vfs.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <fmt/format.h>
#include <sqlite3.h>

#include "engine/sqlite/btree.h"

namespace varve::engine::sqlite {

struct PageVfs::State {
  VirtualDatabase database;
  std::string name;
  sqlite3_vfs vfs{};
  std::optional<Error> failure;
  Buffer page;  // the last page fetched
  uint32_t page_number = 0;

  // Null on failure.
  const std::byte* fetch(uint32_t number);
};

namespace {

constexpr int kSectorSize = 4096;
// Where the header says whether readers and writers must use a WAL (2) or not (1).
constexpr size_t kWriteVersion = 18, kReadVersion = 19;

struct OpenFile {
  sqlite3_file base;  // first: SQLite knows only this
  PageVfs::State* state;
};

PageVfs::State& state_of(sqlite3_file* file) {
  return *reinterpret_cast<OpenFile*>(file)->state;
}
sqlite3_vfs* system_vfs() {
  return sqlite3_vfs_find(nullptr);
}

int read(sqlite3_file* file, void* out, int amount, sqlite3_int64 offset) {
  PageVfs::State& state = state_of(file);
  const uint64_t page_size = state.database.page_size, size = page_size * state.database.pages;
  auto* to = static_cast<std::byte*>(out);
  uint64_t at = static_cast<uint64_t>(offset), left = static_cast<uint64_t>(amount);
  while (left > 0 && at < size) {
    const uint64_t within = at % page_size, take = std::min(left, page_size - within);
    const std::byte* page = state.fetch(static_cast<uint32_t>(at / page_size + 1));
    if (page == nullptr) return SQLITE_IOERR_READ;
    std::memcpy(to, page + within, take);
    to += take;
    at += take;
    left -= take;
  }
  if (left == 0) return SQLITE_OK;
  std::memset(to, 0, left);
  return SQLITE_IOERR_SHORT_READ;
}

int file_size(sqlite3_file* file, sqlite3_int64* size) {
  const VirtualDatabase& d = state_of(file).database;
  *size = static_cast<sqlite3_int64>(d.pages * d.page_size);
  return SQLITE_OK;
}

const sqlite3_io_methods kMethods = {
    .iVersion = 1,
    .xClose = [](sqlite3_file*) { return SQLITE_OK; },
    .xRead = read,
    .xWrite = [](sqlite3_file*, const void*, int, sqlite3_int64) { return SQLITE_READONLY; },
    .xTruncate = [](sqlite3_file*, sqlite3_int64) { return SQLITE_READONLY; },
    .xSync = [](sqlite3_file*, int) { return SQLITE_OK; },
    .xFileSize = file_size,
    .xLock = [](sqlite3_file*, int) { return SQLITE_OK; },
    .xUnlock = [](sqlite3_file*, int) { return SQLITE_OK; },
    .xCheckReservedLock =
        [](sqlite3_file*, int* held) {
          *held = 0;
          return SQLITE_OK;
        },
    .xFileControl = [](sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; },
    .xSectorSize = [](sqlite3_file*) { return kSectorSize; },
    .xDeviceCharacteristics = [](sqlite3_file*) { return SQLITE_IOCAP_IMMUTABLE; },
    .xShmMap = nullptr,
    .xShmLock = nullptr,
    .xShmBarrier = nullptr,
    .xShmUnmap = nullptr,
    .xFetch = nullptr,
    .xUnfetch = nullptr,
};

int open_file(sqlite3_vfs* vfs, const char*, sqlite3_file* file, int flags, int* out_flags) {
  file->pMethods = nullptr;
  // Temporary files are kept in memory by the connections (PRAGMA temp_store); there is nothing else to open.
  if ((flags & SQLITE_OPEN_MAIN_DB) == 0) return SQLITE_CANTOPEN;
  auto* opened = reinterpret_cast<OpenFile*>(file);
  opened->state = static_cast<PageVfs::State*>(vfs->pAppData);
  opened->base.pMethods = &kMethods;
  if (out_flags != nullptr) *out_flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_MAIN_DB;
  return SQLITE_OK;
}

int full_path(sqlite3_vfs*, const char* name, int size, char* out) {
  sqlite3_snprintf(size, out, "%s", name);
  return SQLITE_OK;
}

void fill(sqlite3_vfs& vfs) {
  vfs.iVersion = 1;
  vfs.szOsFile = sizeof(OpenFile);
  vfs.mxPathname = 512;
  vfs.xOpen = open_file;
  vfs.xDelete = [](sqlite3_vfs*, const char*, int) { return SQLITE_OK; };
  vfs.xAccess = [](sqlite3_vfs*, const char*, int, int* there) {
    *there = 0;
    return SQLITE_OK;
  };
  vfs.xFullPathname = full_path;
  vfs.xRandomness = [](sqlite3_vfs*, int n, char* out) {
    return system_vfs()->xRandomness(system_vfs(), n, out);
  };
  vfs.xSleep = [](sqlite3_vfs*, int us) { return system_vfs()->xSleep(system_vfs(), us); };
  vfs.xCurrentTime = [](sqlite3_vfs*, double* t) { return system_vfs()->xCurrentTime(system_vfs(), t); };
  vfs.xGetLastError = [](sqlite3_vfs*, int, char*) { return 0; };
}

}  // namespace

const std::byte* PageVfs::State::fetch(uint32_t number) {
  if (number == page_number) return page.data();
  page_number = 0;
  page.resize(database.page_size);
  if (number == lock_page(database.page_size)) {
    // Never stored; SQLite reads it only to find nothing.
    std::ranges::fill(page, std::byte{0});
  } else if (auto fetched = database.fetch(number, page); !fetched) {
    if (!failure) failure = std::move(fetched).error();
    return nullptr;
  }
  if (number == 1) {
    for (const size_t at : {kWriteVersion, kReadVersion}) {
      if (page[at] == std::byte{2}) page[at] = std::byte{1};
    }
  }
  page_number = number;
  return page.data();
}

Result<std::unique_ptr<PageVfs>> PageVfs::create(VirtualDatabase database) {
  static std::atomic<uint64_t> next{1};
  if (database.page_size < 512 || database.page_size > 65536 || !std::has_single_bit(database.page_size) ||
      database.pages > 0xfffffffe) {
    return fail(Code::kDamaged, fmt::format("a SQLite database cannot have {} pages of {} bytes",
                                            database.pages, database.page_size));
  }
  std::unique_ptr<PageVfs> out(new PageVfs);
  out->state_ = std::make_unique<State>();
  State& state = *out->state_;
  state.database = std::move(database);
  state.name = fmt::format("varve-pages-{}", next++);
  fill(state.vfs);
  state.vfs.zName = state.name.c_str();
  state.vfs.pAppData = &state;
  if (sqlite3_vfs_register(&state.vfs, 0) != SQLITE_OK) {
    return fail(Code::kInternal, "SQLite does not accept a new VFS");
  }
  return out;
}

PageVfs::~PageVfs() {
  if (state_ && state_->vfs.pAppData != nullptr) sqlite3_vfs_unregister(&state_->vfs);
}

const std::string& PageVfs::name() const {
  return state_->name;
}
std::optional<Error> PageVfs::failure() const {
  return state_->failure;
}

}  // namespace varve::engine::sqlite
