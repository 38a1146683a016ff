#include "engine/sqlite/reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <unistd.h>
#include <utility>

#include "base/text.h"
#include "engine/sqlite/reader_vfs.h"

namespace varve::engine::sqlite {
namespace {

// Where SQLite locks a database file (https://www.sqlite.org/lockingv3.html).
constexpr off_t kPendingByte = 0x40000000;
constexpr off_t kLockBytes = 512;
constexpr int kWalIndexRegion = 32 * 1024;
constexpr std::chrono::milliseconds kPause{5};     // between two tries to get a lock
constexpr std::chrono::milliseconds kPrompt{200};  // a transaction that takes longer to begin …
constexpr int kMostSlow = 3;                       // … begins again, but for so many times only

bool is_mapped(int result) {
  return result == SQLITE_OK || result == SQLITE_READONLY;
}

std::string process_name(pid_t pid) {
  const auto name = os::read_file(fmt::format("/proc/{}/comm", pid), 4096);
  if (!name) return fmt::format("process {}", pid);
  return fmt::format("process {} ({})", pid, printable(trim(as_text(*name))));
}

}  // namespace

std::optional<std::string> lock_holder(const SharedFile& file) {
  struct flock lock = {};
  lock.l_type = F_RDLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = kPendingByte;
  lock.l_len = kLockBytes;
  if (::fcntl(file.fd(), F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK || lock.l_pid <= 0)
    return std::nullopt;
  return process_name(lock.l_pid);
}

Reader::Reader(SharedFile file, Connection connection, os::Path path, Context ctx,
               std::chrono::milliseconds patience)
    : file_(std::move(file)),
      connection_(std::move(connection)),
      path_(std::move(path)),
      ctx_(std::move(ctx)),
      patience_(patience) {}

Result<std::unique_ptr<Reader>> Reader::open(const Context& ctx, const os::Path& path,
                                             std::chrono::milliseconds patience) {
  TRY_ASSIGN(SharedFile file, SharedFile::open(path));
  // Read-write, so that SQLite can finish what a crashed writer left (a hot journal, a WAL without its
  // index); where the file does not allow it, SQLite opens it for reading.
  TRY_ASSIGN(Connection connection,
             Connection::open(path.native(), SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                              printable(path.native()), reader_vfs()));
  connection.set_stop([ctx] { return !ctx.check(); });
  connection.set_patience(std::chrono::milliseconds(0));  // begin() waits
  // One PRAGMA at a time, and none that reads the database: it may be locked or none at all, and begin()
  // tells that.
  TRY_OK(connection.exec("PRAGMA query_only=1"));
  TRY_OK(connection.exec("PRAGMA wal_autocheckpoint=0"));
  TRY_OK(connection.exec("PRAGMA trusted_schema=0"));
  return std::unique_ptr<Reader>(new Reader(std::move(file), std::move(connection), path, ctx, patience));
}

Reader::~Reader() {
  end();
  // Whoever closes last checkpoints the WAL and deletes it. We must not: a follower goes on from this WAL. An
  // empty one means nothing to anybody, and goes.
  const auto wal = os::status(wal_path(path_));
  if (!wal || (*wal && (*wal)->size > 0)) {
    sqlite3_db_config(connection_.handle(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  }
}

Result<> Reader::begin() {
  std::optional<WriterFirst> courtesy;
  if (touch_) courtesy.emplace();
  const auto until = SteadyClock::now() + patience_;
  for (int slow = 0;;) {
    const auto tried = SteadyClock::now();
    begun_at_ = now();
    // Preparing may read the database already.
    auto begun = prepare();
    if (begun) begun = begin_once();
    if (begun) {
      // It may have waited within SQLite, or rolled back what a crashed writer left: then it does not know
      // when it began.
      if (SteadyClock::now() - tried < kPrompt || ++slow == kMostSlow) return {};
      end();
      continue;
    }
    Error error = explain(std::move(begun).error());
    end();
    if (error.code != Code::kConflict || SteadyClock::now() >= until) return fail(std::move(error));
    TRY_OK(ctx_.sleep(kPause));
  }
}

Result<> Reader::prepare() {
  if (!begin_) {
    TRY_ASSIGN(begin_, connection_.prepare("BEGIN"));
  }
  if (!end_) {
    TRY_ASSIGN(end_, connection_.prepare("ROLLBACK"));
  }
  if (!touch_) {
    // Takes the lock and the snapshot by reading page 1, whatever the schema is.
    TRY_ASSIGN(touch_, connection_.prepare("PRAGMA schema_version"));
  }
  return {};
}

Result<> Reader::begin_once() {
  TRY_OK(begin_->step());
  TRY_OK(begin_->reset());
  auto touched = touch_->step();
  if (touched) return touch_->reset();
  Error error = connection_.error();
  (void)touch_->reset();
  return fail(std::move(error));
}

void Reader::end() {
  if (!end_ || sqlite3_get_autocommit(connection_.handle()) != 0) return;
  (void)end_->step();
  (void)end_->reset();
}

Result<WalIndex> Reader::wal_index(std::chrono::milliseconds patience) {
  sqlite3_file* file = nullptr;
  sqlite3_file_control(connection_.handle(), "main", SQLITE_FCNTL_FILE_POINTER, &file);
  volatile void* region = nullptr;
  // READONLY: this user may only read it, which is enough. The mapping is SQLite's own: opening the -shm file
  // ourselves, and closing it, would drop SQLite's locks on it.
  if (file == nullptr || file->pMethods == nullptr || file->pMethods->iVersion < 2 ||
      !is_mapped(file->pMethods->xShmMap(file, 0, kWalIndexRegion, 0, &region)) || region == nullptr) {
    return fail(Code::kDenied, fmt::format("{}: the WAL's index cannot be shared", printable(path_.native())),
                "let this user write to the folder and to the -shm file beside the database");
  }
  const auto until = SteadyClock::now() + patience;
  for (;;) {
    if (const auto index = read_wal_index(region)) return *index;
    if (SteadyClock::now() > until) {
      return fail(Code::kConflict,
                  fmt::format("{}: the WAL's index stays half written", printable(path_.native())),
                  "a program may have died while writing it; opening the database with sqlite3 mends it");
    }
    TRY_OK(ctx_.sleep(std::chrono::milliseconds(1)));
  }
}

Error Reader::explain(Error error) const {
  const int code = sqlite3_extended_errcode(connection_.handle());
  switch (code & 0xff) {
    case SQLITE_BUSY: {
      error.retry = Retry::kTransient;
      const auto holder = lock_holder(file_);
      error.hint =
          holder ? fmt::format("{} holds it: a long transaction, or PRAGMA locking_mode=EXCLUSIVE", *holder)
                 : "another program holds it: a long transaction, or PRAGMA locking_mode=EXCLUSIVE";
      break;
    }
    case SQLITE_NOTADB:
      error.hint = "it is another kind of file, or an encrypted database";
      break;
    case SQLITE_CORRUPT:
      error.hint = "the database is damaged: see PRAGMA integrity_check, and .recover of the sqlite3 program";
      break;
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
      error.code = Code::kDenied;
      error.hint =
          "SQLite needs to write beside the database (-wal, -shm, or a journal a crashed program left): let "
          "this user write to the file and its folder";
      break;
    default:
      break;
  }
  return error;
}

}  // namespace varve::engine::sqlite
