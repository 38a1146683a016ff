#include "engine/sqlite/checkpointer.h"

#include <sqlite3.h>

#include "base/log.h"
#include "base/text.h"
#include "engine/sqlite/reader_vfs.h"

namespace varve::engine::sqlite {

Checkpointer::Checkpointer() : thread_([this] { run(stop_.get_token()); }) {}

Checkpointer::~Checkpointer() {
  stop_.request_stop();
  thread_.join();
}

void Checkpointer::request(const os::Path& database) {
  const std::scoped_lock lock(mutex_);
  if (wanted_.insert(database).second) wake_.notify_one();
}

void Checkpointer::forget_all() {
  const std::scoped_lock lock(mutex_);
  wanted_.clear();
  forget_ = true;
  wake_.notify_one();
}

void Checkpointer::run(const std::stop_token& stop) {
  for (;;) {
    std::unique_lock lock(mutex_);
    if (!wake_.wait(lock, stop, [&] { return forget_ || !wanted_.empty(); })) return;
    const bool forget = std::exchange(forget_, false);
    std::optional<os::Path> database;
    if (!wanted_.empty()) database = *wanted_.begin();
    lock.unlock();
    if (forget) readers_.clear();
    if (!database) continue;
    checkpoint(*database);
    lock.lock();
    wanted_.erase(*database);
  }
}

void Checkpointer::checkpoint(const os::Path& database) {
  auto found = readers_.find(database);
  if (found == readers_.end()) {
    auto reader = Reader::open({.stop = stop_.get_token()}, database, std::chrono::milliseconds(0));
    if (!reader) return log::debug("checkpoint: {}", reader.error().describe());
    // A connection that has not read yet does not know of a WAL, and its checkpoint would do nothing and say
    // so to nobody.
    const auto read = (*reader)->begin();
    if (!read) return log::debug("checkpoint: {}", read.error().describe());
    (*reader)->end();
    found = readers_.emplace(database, *std::move(reader)).first;
  }
  sqlite3* handle = found->second->connection().handle();
  // A checkpoint of a huge WAL takes long; a stop must not wait for it.
  const std::stop_callback interrupt(stop_.get_token(), [handle] { sqlite3_interrupt(handle); });
  const WriterFirst courtesy;
  const int result = sqlite3_wal_checkpoint_v2(handle, "main", SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  if (result != SQLITE_OK && result != SQLITE_BUSY) {
    log::debug("checkpoint of {}: {}", printable(database.native()), sqlite3_errmsg(handle));
  }
}

}  // namespace varve::engine::sqlite
