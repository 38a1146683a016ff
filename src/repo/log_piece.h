// Pieces of a source's log: packs of their own, named by the stretch of the log they hold.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "repo/slot_reader.h"

namespace varve::repo {

struct LogPieceHead {
  std::string source, epoch;
  uint64_t first = 0, last = 0;  // transactions, inclusive
  Timestamp first_time = {}, last_time = {};
  bool merged = false;  // only its end is a state
  Buffer engine_data;
};

// Writes pieces with ids of one writer. Not thread-safe.
class LogWriter {
 public:
  LogWriter(RepositoryPtr repo, const WriterId& writer) : repo_(std::move(repo)), writer_(writer) {}
  // Durable when it returns; the size stored. kExists: another follower wrote this stretch.
  Result<uint64_t> write(const Context& ctx, const LogPieceHead& head, const std::vector<ByteView>& slots);

 private:
  RepositoryPtr repo_;
  WriterId writer_;
  uint32_t next_ = 0;
};

class LogPiece {
 public:
  static Result<LogPiece> open(RepositoryPtr repo, const Context& ctx, const store::Key& key, uint64_t size);
  const LogPieceHead& head() const { return head_; }
  uint32_t slots() const { return file_->index().slots() - 1; }
  uint32_t slot_size(uint32_t slot) const { return file_->index().slot_size(slot + 1); }
  // The slots that are stored, and cost as much to read, as one: from first up to before end.
  struct Slots {
    uint32_t first = 0, end = 0;
  };
  Slots stored_with(uint32_t slot) const;
  // All slots for which `wanted` says so (all, when empty), ascending, in bounded memory.
  Result<> read(const Context& ctx, const std::function<bool(uint32_t slot)>& wanted,
                const std::function<Result<>(uint32_t slot, ByteView bytes)>& deliver) const;
  uint64_t size() const { return file_->size(); }
  WriterId writer() const { return writer_of(file_->footer().id); }

 private:
  RepositoryPtr repo_;
  std::shared_ptr<const PackFile> file_;
  LogPieceHead head_;
};

// A mark says up to when nothing is missing, where no commit says so by being there.
struct LogMark {
  struct Unseen {
    Timestamp from = {}, to = {};
  };
  std::string epoch;
  uint64_t last = 0;
  Timestamp covered_until = {};
  bool ended = false;
  // Stretches of the epoch up to here of which no moment is known, because nobody was looking. Ascending.
  std::vector<Unseen> unseen = {};
};
Result<> put_log_mark(const Repository& repo, const Context& ctx, const std::string& source,
                      const LogMark& mark);
Result<LogMark> load_log_mark(const Repository& repo, const Context& ctx, const store::Key& key);

}  // namespace varve::repo
