// One database pinned at one committed state, to be read page by page while others go on writing.
#pragma once

#include <memory>
#include <optional>

#include "engine/sqlite/reader.h"

namespace varve::engine::sqlite {

class Snapshot {
 public:
  static Result<std::unique_ptr<Snapshot>> take(const Context& ctx, const DatabaseFile& database,
                                                std::chrono::milliseconds patience);

  const CapturedDatabase& state() const { return state_; }
  const os::FileStatus& status() const { return status_; }  // of the file, when it was pinned
  uint64_t size() const { return state_.pages * state_.page_size; }
  // It holds every commit made before this moment, and none made noticeably later.
  Timestamp moment() const { return reader_->begun_at(); }
  // Any thread. The range must lie within size().
  Result<> read(uint64_t offset, MutableBytes out) const;
  // Fails when the state could have slipped away: the file was replaced, or its WAL.
  Result<> check() const;
  const std::vector<std::string>& warnings() const { return warnings_; }
  // The names of its tables, without SQLite's own.
  Result<std::vector<std::string>> tables();

 private:
  explicit Snapshot(std::unique_ptr<Reader> reader) : reader_(std::move(reader)) {}
  Result<> pin_wal();
  Result<> pin_file(ByteView header);

  std::unique_ptr<Reader> reader_;
  CapturedDatabase state_;
  os::FileStatus status_;
  uint64_t lock_page_ = 0;
  std::optional<WalReader> wal_;  // when pages are read from it
  FrameIndex frames_;
  std::vector<std::string> warnings_;
};

}  // namespace varve::engine::sqlite
