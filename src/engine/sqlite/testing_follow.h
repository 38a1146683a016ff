// For the tests of following: a replica that grows from a base by batches, and a writer whose every commit
// leaves a mark by which a state can be judged.
#pragma once

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <sys/mman.h>

#include "engine/sqlite/follower.h"
#include "engine/sqlite/testing_process.h"

namespace varve::engine::sqlite::testing {

// A source as it was after the last commit applied.
class Replica {
 public:
  explicit Replica(os::Path folder) : folder_(std::move(folder)) {}
  os::Path path(const std::string& name) const { return folder_ / name; }
  uint64_t txn() const { return txn_; }
  const CaptureData& positions() const { return positions_; }

  void load(Capture& capture) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    const auto files = capture.files(Context{});
    ASSERT_TRUE(files);
    for (const FileSpec& file : *files) {
      auto reader = capture.open(file);
      ASSERT_TRUE(reader);
      Buffer all(file.size);
      const auto read = (*reader)->read(0, all);
      ASSERT_TRUE(read) << read.error().describe();
      std::filesystem::create_directories(path(file.path).parent_path());
      std::ofstream(path(file.path), std::ios::binary)
          .write(as_text(all).data(), static_cast<std::streamsize>(all.size()));
    }
    const auto end = capture.finish(Context{});
    ASSERT_TRUE(end) << end.error().describe();
    positions_ = *decode_capture_data(end->engine_data);
    txn_ = positions_.txn.value_or(0);
  }

  // Takes another's base as its own.
  void adopt(const os::Path& base, CaptureData positions) {
    std::filesystem::remove_all(folder_);
    std::filesystem::rename(base, folder_);
    positions_ = std::move(positions);
    txn_ = positions_.txn.value_or(0);
  }

  // Applies the batch's commits one by one; `after` sees the state after each.
  void apply(const Batch& batch, const std::function<void(const Commit&)>& after = {}) {
    if (batch.set.commits.empty()) return;
    const auto set = decode(encode(batch.set));  // as it will be stored
    ASSERT_TRUE(set) << set.error().describe();
    std::set<uint32_t> slots;
    for (const Commit& commit : set->commits) {
      ASSERT_EQ(commit.txn, txn_ + 1);
      ASSERT_GE(commit.time, time_);
      time_ = commit.time;
      const auto& database = set->databases.at(commit.database);
      std::fstream file(path(database.name), std::ios::binary | std::ios::in | std::ios::out);
      ASSERT_TRUE(file);
      for (const PageWrite& write : commit.writes) {
        ASSERT_TRUE(slots.insert(write.slot).second);
        const Buffer& content = batch.slots.at(write.slot);
        ASSERT_EQ(content.size(), database.page_size);
        file.seekp(static_cast<std::streamoff>(uint64_t{write.page - 1} * database.page_size));
        file.write(as_text(content).data(), static_cast<std::streamsize>(content.size()));
      }
      file.close();
      std::filesystem::resize_file(path(database.name), commit.pages_after * database.page_size);
      txn_ = commit.txn;
      for (CapturedDatabase& position : positions_.databases) {
        if (position.name != database.name) continue;
        position.wal = commit.wal;
        position.pages = commit.pages_after;
      }
      if (after) after(commit);
    }
    ASSERT_EQ(slots.size(), batch.slots.size());
  }

  // A copy to be opened: SQLite would change the replica itself.
  os::Path copy(const std::string& name) {
    const os::Path to = folder_ / "copy-for-checks";
    for (const char* suffix : {"", "-wal", "-shm", "-journal"}) std::filesystem::remove(to.native() + suffix);
    std::filesystem::copy_file(path(name), to);
    return to;
  }

 private:
  os::Path folder_;
  uint64_t txn_ = 0;
  Timestamp time_ = {};
  CaptureData positions_;
};

// First column of the first row.
inline std::string query(const os::Path& database, const std::string& sql) {
  sqlite3* db = nullptr;
  std::string out = "no row";
  const auto row = [](void* to, int, char** values, char**) {
    *static_cast<std::string*>(to) = values[0] ? values[0] : "NULL";
    return 1;
  };
  char* message = nullptr;
  if (sqlite3_open(database.c_str(), &db) != SQLITE_OK) out = "cannot open";
  const int rc = sqlite3_exec(db, sql.c_str(), row, &out, &message);
  if (rc != SQLITE_OK && rc != SQLITE_ABORT) out = std::string("error: ") + message;
  sqlite3_free(message);
  sqlite3_close(db);
  return out;
}

// Each transaction adds one mark: its number, and what table t holds after it.
// (The sizes are floating-point numbers, as total() gives them.)
inline constexpr const char* kMarkedSchema =
    "CREATE TABLE t(id INTEGER PRIMARY KEY, x, y); CREATE INDEX ty ON t(y);"
    "CREATE TABLE mark(n INTEGER PRIMARY KEY, rows, ids, size);";
inline constexpr const char* kMark =
    "INSERT INTO mark(rows, ids, size) SELECT count(*), total(id), total(length(x)) FROM t;";
// The number of the last mark when the marks are 1 … n without a gap and the last one fits what t holds; else
// why not.
inline std::string judge(const os::Path& database) {
  if (const std::string whole = query(database, "PRAGMA integrity_check"); whole != "ok") return whole;
  return query(
      database,
      "SELECT CASE WHEN count(*) <> coalesce(max(n),0) THEN 'marks are missing' WHEN count(*) > 0 AND "
      "(SELECT "
      "rows||'/'||ids||'/'||size FROM mark ORDER BY n DESC LIMIT 1) <> (SELECT "
      "count(*)||'/'||total(id)||'/'||total(length(x)) FROM t) THEN 'the last mark does not fit' ELSE "
      "count(*) END FROM mark");
}

// What a writing process tells its parent, in shared memory.
struct Told {
  std::atomic<uint64_t> marks{0}, busy{0}, errors{0}, slowest_us{0};
  std::atomic<bool> stop{false};
  static Told* create() {
    void* at = ::mmap(nullptr, sizeof(Told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return new (at) Told;
  }
};

inline constexpr size_t kIndexSize = 32 * 1024;
inline constexpr off_t kWriteLockAt = 120;  // in the -shm file (https://sqlite.org/walformat.html)

// A writer as the wal-index sees it: takes the write lock, changes the header's two copies, lets the lock go.
class IndexWriter {
 public:
  explicit IndexWriter(const os::Path& database) : fd_(::open((database.native() + "-shm").c_str(), O_RDWR)) {
    void* at = ::mmap(nullptr, kIndexSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    words_ = static_cast<uint32_t*>(at);
  }
  bool lock() const { return lock(F_WRLCK); }
  void unlock() const { lock(F_UNLCK); }
  // One copy alone is changed, and changed back.
  void halve() const { __atomic_fetch_xor(words_ + 2, 1u, __ATOMIC_SEQ_CST); }

 private:
  bool lock(short type) const {
    struct flock lock = {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = kWriteLockAt;
    lock.l_len = 1;
    return ::fcntl(fd_, F_SETLK, &lock) == 0;
  }
  int fd_;
  uint32_t* words_;
};

// A program that writes at random: many small transactions, some large, rolled back, with savepoints;
// checkpoints of all kinds from a second connection, closing and opening again, VACUUM, indexes that come and
// go.
class WildWriter {
 public:
  WildWriter(os::Path database, Told& told, unsigned seed, int busy_timeout)
      : path_(std::move(database)), told_(told), random_(seed), timeout_(busy_timeout) {}

  int run() {
    open();
    while (!told_.stop) {
      step();
      if (dice(4) == 0) ::usleep(dice(8000));
    }
    close();
    return 0;
  }

 private:
  unsigned dice(unsigned sides) { return static_cast<unsigned>(random_() % sides); }
  void open() {
    for (sqlite3** db : {&db_, &other_}) {
      sqlite3_open(path_.c_str(), db);
      sqlite3_busy_timeout(*db, timeout_);
      exec(*db, "PRAGMA synchronous=OFF; PRAGMA cache_size=20; SELECT * FROM sqlite_schema");
    }
  }
  void close() {
    sqlite3_close(std::exchange(db_, nullptr));
    sqlite3_close(std::exchange(other_, nullptr));
  }
  bool exec(sqlite3* db, const std::string& sql) {
    const auto start = SteadyClock::now();
    const int rc = sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
    const auto took = static_cast<uint64_t>(
        std::chrono::microseconds((SteadyClock::now() - start) / std::chrono::microseconds(1)).count());
    if (took > told_.slowest_us) told_.slowest_us = took;
    if (rc == SQLITE_BUSY) ++told_.busy;
    if (rc != SQLITE_OK && rc != SQLITE_BUSY) ++told_.errors;
    return rc == SQLITE_OK;
  }
  void transaction(const std::string& work) {
    if (exec(db_, "BEGIN IMMEDIATE;" + work + kMark + "COMMIT")) {
      ++told_.marks;
    } else if (!sqlite3_get_autocommit(db_)) {
      exec(db_, "ROLLBACK");
    }
  }
  std::string insert(unsigned rows, unsigned size) {
    return fmt::format(
        "INSERT INTO t(x,y) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<{}) "
        "SELECT randomblob(abs(random())%{}), random() FROM c;",
        rows, size);
  }
  void step() {
    static constexpr const char* kCheckpoints[] = {"PASSIVE", "FULL", "RESTART", "TRUNCATE"};
    switch (const unsigned what = dice(100)) {
      case 0:
        exec(db_, "VACUUM");
        break;
      case 1:
      case 2:
        close();
        open();
        break;
      case 3:
        transaction(insert(400, 2000));
        break;
      case 4:
        exec(db_, "BEGIN;" + insert(100, 1000) + "ROLLBACK");
        break;
      case 5:
        transaction("SAVEPOINT s;" + insert(200, 1500) + "ROLLBACK TO s; RELEASE s;");
        break;
      case 6:
        transaction("DROP INDEX IF EXISTS ty;");
        break;
      case 7:
        transaction("CREATE INDEX IF NOT EXISTS ty ON t(y);");
        break;
      case 8:
      case 9:
        transaction(fmt::format("DELETE FROM t WHERE id % {} = 0;", 2 + dice(5)));
        break;
      default:
        if (what < 20) {
          exec(dice(2) ? db_ : other_, fmt::format("PRAGMA wal_checkpoint({})", kCheckpoints[dice(4)]));
        } else if (what < 60) {
          transaction(insert(1 + dice(5), 300));
        } else {
          transaction(
              fmt::format("UPDATE t SET y = random(), x = randomblob(50) WHERE id % 97 = {};", dice(97)));
        }
    }
  }

  os::Path path_;
  Told& told_;
  std::mt19937 random_;
  int timeout_;
  sqlite3 *db_ = nullptr, *other_ = nullptr;
};

}  // namespace varve::engine::sqlite::testing
