// Why no commit is missed (words as in snapshot.cc; P is position_, up to which everything was delivered):
//
// held_ always is in a read transaction, and these two hold after start(), resume() and each refresh():
//   (1) nothing beyond P has been copied into the database file, nor can be;
//   (2) if all of a generation is copied so that it may be restarted, all of it is delivered.
// A transaction on mark m > 0 gives both: it began when P was at m or was captured up to m before its
// predecessor ended, so nothing beyond m ≤ P is copied, and its generation is not restarted at all. One on
// mark 0 began when all was copied (2: delivered, before its predecessor ended) and keeps anybody from
// copying more, so the WAL can be restarted once, and the new generation stays until the next transaction
// stands. Empty generations may go by; they hold nothing. refresh() keeps it so: begin the spare transaction,
// then capture up to what the index says after that, then end the old one. While the old one stands, (1) and
// (2) hold by it; once it ends, by the new one.
//
// So when the index shows other salts than P's, P was the end of its generation, and the new one is read from
// its start. The salts themselves prove nothing: they ascend by one only as long as the same connection
// restarts the WAL.
//
// What locks cannot promise (a file replaced under us, a WAL deleted by hand, a file system without true
// locks) shows as another inode, a WAL that does not fit its index, a broken checksum chain, or a page 1
// nobody committed: doubt.

#include "engine/sqlite/wal_follow.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <functional>

#include "base/log.h"
#include "base/text.h"
#include "engine/sqlite/btree.h"

namespace varve::engine::sqlite {
namespace {

constexpr unsigned kMostMismatches = 20;
// What a look may meet for as long as the writer, stopped in the middle of a write, is not let on.
constexpr std::chrono::milliseconds kPromptIndex{5};
constexpr std::chrono::seconds kMostHalfWritten{10};
constexpr std::chrono::milliseconds kMostStrangeFirstPage{500};
constexpr std::chrono::milliseconds kBetweenCheckpoints{10};
constexpr size_t kReadVersionAt = 19;

uint64_t page_hash(ByteView page) {
  return std::hash<std::string_view>{}(as_text(page));
}

}  // namespace

struct WalFollower::Pending {
  std::map<uint32_t, Buffer> pages;
  std::map<uint32_t, uint32_t> frames;
  uint64_t bytes = 0;
};

Result<std::unique_ptr<WalFollower>> WalFollower::open(const Context& ctx, const DatabaseFile& database,
                                                       const FollowOptions& options,
                                                       Checkpointer& checkpointer) {
  std::error_code unresolved;
  const os::Path real = std::filesystem::canonical(database.path, unresolved);
  if (unresolved) return fail(os::errno_error(unresolved.value(), "open", database.path));
  // Connections outlive this call, and its deadline.
  const Context lasting{.stop = ctx.stop, .trace = ctx.trace};
  TRY_ASSIGN(auto held, Reader::open(lasting, real, CaptureOptions{}.busy_timeout));
  TRY_ASSIGN(auto spare, Reader::open(lasting, real, std::chrono::milliseconds(0)));
  TRY_OK(held->begin());
  held->set_patience(std::chrono::milliseconds(0));
  std::array<std::byte, kHeaderSize> header;
  TRY_ASSIGN(const size_t got, held->file().read_at(0, header));
  if (got < header.size() || header[kReadVersionAt] != std::byte{2}) return nullptr;
  TRY_ASSIGN(const os::FileStatus file, held->file().status());
  std::unique_ptr<WalFollower> out(
      new WalFollower(database, options, checkpointer, std::move(held), std::move(spare), file));
  TRY_ASSIGN(const DatabaseHeader parsed, parse_header(header));
  out->page_size_ = parsed.page_size;
  TRY_ASSIGN(const uint64_t first, out->hash_first_page());
  out->first_pages_.push_back(first);
  return out;
}

WalFollower::WalFollower(const DatabaseFile& database, const FollowOptions& options,
                         Checkpointer& checkpointer, std::unique_ptr<Reader> held,
                         std::unique_ptr<Reader> spare, os::FileStatus file)
    : database_(database),
      options_(options),
      checkpointer_(checkpointer),
      held_(std::move(held)),
      spare_(std::move(spare)),
      file_(file) {}

Result<> WalFollower::start(const Context&, const Snapshot& state) {
  position_ = state.state().wal;
  pages_ = state.state().pages;
  page_size_ = state.state().page_size;
  Buffer buffer(page_size_);
  build_tracker([&](uint32_t page) -> Result<ByteView> {
    TRY_OK(state.read(uint64_t{page - 1} * page_size_, buffer));
    return ByteView(buffer);
  });
  // A checkpoint may bring any first page of the WAL into the file before the next commit is read, and each
  // has to be known by then. What is doubtful about the WAL the looks will say.
  if (position_.frame == 0) return {};
  TRY_ASSIGN(const WalIndex index, held_->wal_index(kIndexPatience));
  bool not_yet = false;
  TRY_ASSIGN(const auto doubt, open_wal(index, &not_yet));
  if (doubt) {
    wal_.reset();
    frames_.clear();
  }
  return {};
}

Result<std::optional<std::string>> WalFollower::resume(const Context&, const CapturedDatabase& after) {
  TRY_ASSIGN(const WalIndex index, held_->wal_index(kIndexPatience));
  if (!after.wal_mode || after.page_size != page_size_) return "its journal mode or page size changed";
  // A wal-index that was made for an empty WAL has no salts of its own.
  const bool has_salts = after.wal.salt1 != 0 || after.wal.salt2 != 0;
  if (!has_salts || index.committed.salt1 != after.wal.salt1 || index.committed.salt2 != after.wal.salt2 ||
      index.committed.frame < after.wal.frame) {
    return "its WAL was restarted since";
  }
  position_ = after.wal;
  pages_ = after.pages;
  // While nobody looked, all that is there may have been copied: then our transaction stands on mark 0, and
  // the WAL can be restarted before we have read on.
  behind_ = index.committed.frame > position_.frame;
  if (position_.frame > 0) {
    bool not_yet = false;
    TRY_ASSIGN(const auto doubt, open_wal(index, &not_yet));
    if (doubt) return doubt;
    if (not_yet) return "its WAL is being restarted";
  }
  Buffer buffer;
  build_tracker([&](uint32_t page) { return page_at_position(page, buffer); });
  return std::nullopt;
}

void WalFollower::build_tracker(const PageSource& state) {
  if (!options_.with_tables) return;
  auto tracker = TableTracker::build(state, pages_, page_size_);
  if (tracker) {
    tracker_ = *std::move(tracker);
  } else {
    log::info("{}: commits are told without their tables: {}", printable(database_.name),
              tracker.error().describe());
  }
}

// By (1) above the file holds nothing beyond position_, so a page without a frame up to there is in the file
// as it was.
Result<ByteView> WalFollower::page_at_position(uint32_t page, Buffer& into) const {
  if (page == 0 || page > pages_) return fail(Code::kDamaged, "no such page");
  into.assign(page_size_, std::byte{0});
  const auto frame = frames_.find(page);
  if (frame != frames_.end()) {
    TRY_OK(wal_->page(frame->second, page, into));
  } else if (page != lock_page(page_size_)) {
    TRY_OK(held_->file().read_at(uint64_t{page - 1} * page_size_, into));
  }
  return ByteView(into);
}

std::vector<TableChange> WalFollower::tell_changes(const Pending& pending, uint64_t pages_after) {
  std::vector<TableChange> changes;
  if (tracker_) {
    std::vector<uint32_t> written;
    written.reserve(pending.pages.size());
    for (const auto& [page, content] : pending.pages) written.push_back(page);
    Buffer old_page, new_page;
    const PageSource before = [&](uint32_t page) { return page_at_position(page, old_page); };
    const PageSource after = [&](uint32_t page) -> Result<ByteView> {
      const auto found = pending.pages.find(page);
      if (found != pending.pages.end()) return ByteView(found->second);
      if (page > pages_after) return fail(Code::kDamaged, "no such page");
      return page_at_position(page, new_page);
    };
    changes = tracker_->apply(written, pages_after, before, after);
  }
  if (changes.empty()) changes.push_back({"", "commit", std::nullopt});
  return changes;
}

Result<Look> WalFollower::look(const Context& ctx, BatchBuilder& batch) {
  TRY_OK(ctx.check());
  TRY_ASSIGN(const auto file, os::status(database_.path));
  TRY_ASSIGN(auto doubt, check_identity(file));
  if (doubt) return Look{.doubt = std::move(doubt)};
  TRY_ASSIGN(const bool known, know_first_page(*file));
  if (!known) {
    if (SteadyClock::now() - *strange_since_ > kMostStrangeFirstPage)
      return Look{.doubt = "its file was overwritten"};
    return Look{};
  }
  const auto seen = held_->wal_index(kPromptIndex);
  if (!seen && seen.error().code == Code::kConflict) return wait_for_index();
  if (!seen) return fail(seen.error());
  half_written_since_.reset();
  const WalIndex& index = *seen;
  TRY_ASSIGN(Look found, capture(index, batch));
  if (!found.caught_up || found.doubt) return found;
  TRY_ASSIGN(found, refresh(index, batch));
  // A writer begins its WAL anew when it finds all of it copied and nobody on a mark: between two of its
  // commits our transaction has to get on the last mark, the checkpoint has to copy, and our next one has to
  // get on mark 0. So while that is wanted the looks follow closely on each other.
  const WalIndex& last = refreshed_at_.value_or(index);
  lags_ = last.committed.frame >= options_.checkpoint_pages && last.backfilled < last.committed.frame;
  if (lags_ && SteadyClock::now() >= next_checkpoint_) {
    checkpointer_.request(held_->path());
    next_checkpoint_ = SteadyClock::now() + kBetweenCheckpoints;
  }
  return found;
}

// The index is half written: its writer does not run at this instant, or died. Beginning a transaction makes
// SQLite mend what a dead one left.
Result<Look> WalFollower::wait_for_index() {
  if (!half_written_since_) half_written_since_ = SteadyClock::now();
  if (SteadyClock::now() - *half_written_since_ > kMostHalfWritten)
    return Look{.doubt = "the index of its WAL stays half written"};
  const auto begun = spare_->begin();
  if (!begun && begun.error().code != Code::kConflict) return fail(begun.error());
  spare_->end();
  return Look{};
}

Result<Look> WalFollower::capture(const WalIndex& index, BatchBuilder& batch) {
  const WalPosition& end = index.committed;
  if (end.frame > 0 && index.page_size != page_size_) return Look{.doubt = "its page size changed"};
  if (end.salt1 == position_.salt1 && end.salt2 == position_.salt2) {
    if (end.frame < position_.frame) return Look{.doubt = "its WAL lost commits"};
    if (end.frame == position_.frame) {
      if (!same_place(position_, end)) return Look{.doubt = "its WAL was rewritten"};
      return Look{.caught_up = true};
    }
  } else {
    if (behind_) return Look{.doubt = "its WAL was restarted before it was read whole"};
    wal_.reset();
    frames_.clear();
    position_ = {.salt1 = end.salt1, .salt2 = end.salt2};
    if (end.frame == 0) return Look{.caught_up = true};
  }
  behind_ = true;
  TRY_ASSIGN(Look found, read_commits(index, batch));
  behind_ = !found.caught_up;
  return found;
}

Result<WalFollower::Doubt> WalFollower::open_wal(const WalIndex& index, bool* not_yet) {
  auto wal = WalReader::open(wal_path(held_->path()));
  if (!wal && wal.error().code == Code::kNotFound) return "its WAL was deleted";
  if (!wal && wal.error().code != Code::kDamaged) return fail(std::move(wal).error());
  if (!wal || wal->position().salt1 != index.committed.salt1 ||
      wal->position().salt2 != index.committed.salt2) {
    // It may have been restarted between two looks at it; the index will say so at the next.
    *not_yet = true;
    return ++mismatches_ > kMostMismatches ? Doubt("its WAL is not the one its index describes")
                                           : std::nullopt;
  }
  mismatches_ = 0;
  wal_ = *std::move(wal);
  frames_.clear();
  if (wal_->page_size() != page_size_) return "its page size changed";
  return read_to_position();
}

Result<WalFollower::Doubt> WalFollower::read_to_position() {
  if (position_.frame == 0) return std::nullopt;
  uint32_t pages_after = 0;
  TRY_OK(wal_->read(position_.frame, [&](const WalFrame& frame) -> Result<bool> {
    frames_[frame.page] = frame.number;
    if (frame.page == 1) first_pages_.push_back(page_hash(frame.content));
    pages_after = frame.pages_after;
    return true;
  }));
  if (!same_place(wal_->position(), position_) || pages_after == 0) return "its WAL was rewritten";
  pages_ = pages_after;
  return std::nullopt;
}

Result<Look> WalFollower::read_commits(const WalIndex& index, BatchBuilder& batch) {
  if (!wal_) {
    bool not_yet = false;
    TRY_ASSIGN(auto doubt, open_wal(index, &not_yet));
    if (doubt || not_yet) return Look{.doubt = std::move(doubt)};
  }
  Pending pending;
  bool too_large = false;
  TRY_OK(wal_->read(index.committed.frame, [&](const WalFrame& frame) -> Result<bool> {
    Buffer& content = pending.pages[frame.page];
    pending.bytes += frame.content.size() - content.size();
    content = to_buffer(frame.content);
    pending.frames[frame.page] = frame.number;
    too_large = pending.bytes > options_.max_commit_bytes;
    if (too_large) return false;
    if (frame.pages_after == 0) return true;
    take_in(pending, frame, batch);
    pending = {};
    return !batch.full();
  }));
  if (too_large) {
    return Look{.doubt =
                    fmt::format("a transaction wrote more than {}", human_size(options_.max_commit_bytes))};
  }
  if (position_.frame == index.committed.frame) {
    if (!same_place(position_, index.committed)) return Look{.doubt = "its WAL does not fit its index"};
    return Look{.caught_up = true};
  }
  if (!batch.full()) return Look{.doubt = "its WAL is damaged before its last commit"};
  return Look{};
}

void WalFollower::take_in(Pending& pending, const WalFrame& last, BatchBuilder& batch) {
  // A transaction may have written pages that it then cut off.
  pending.pages.erase(pending.pages.upper_bound(last.pages_after), pending.pages.end());
  pending.pages.erase(static_cast<uint32_t>(lock_page(page_size_)));
  auto changes = tell_changes(pending, last.pages_after);
  for (const auto& [page, frame] : pending.frames) frames_[page] = frame;
  const auto first = pending.pages.find(1);
  if (first != pending.pages.end()) first_pages_.push_back(page_hash(first->second));
  if (wal_->unsummed() && !std::exchange(told_unsummed_, true)) {
    log::warn("{}: {}", printable(database_.path.native()), kUnsummedWarning);
  }
  position_ = wal_->position();
  pages_ = last.pages_after;
  batch.add(database_.name, page_size_, pages_, position_, std::move(pending.pages), std::move(changes));
}

// A transaction that stays on its mark keeps checkpoints from getting past it, and a program that asks for a
// truncating checkpoint waits for it; so it moves on as soon as it may.
Result<Look> WalFollower::refresh(const WalIndex& index, BatchBuilder& batch) {
  if (refreshed_at_ == index && index.backfilled == index.committed.frame) return Look{.caught_up = true};
  const auto begun = spare_->begin();
  if (!begun) {
    // Someone recovers or restarts the WAL at this instant; what is held goes on holding.
    if (begun.error().code == Code::kConflict) return Look{.caught_up = true};
    return fail(begun.error());
  }
  const auto now_there = spare_->wal_index(kPromptIndex);
  auto found = now_there                                   ? capture(*now_there, batch)
               : now_there.error().code == Code::kConflict ? Look{.caught_up = true}
                                                           : Result<Look>(fail(now_there.error()));
  if (!found || !found->caught_up || !now_there) {
    spare_->end();
    return found;
  }
  held_->end();
  std::swap(held_, spare_);
  refreshed_at_ = *now_there;
  return found;
}

Result<WalFollower::Doubt> WalFollower::check_identity(const std::optional<os::FileStatus>& file) const {
  if (!file) return "its file is gone";
  if (file->inode != file_.inode || file->device != file_.device) return "its file was replaced";
  if (wal_) {
    TRY_ASSIGN(const auto wal, os::status(wal_path(held_->path())));
    TRY_ASSIGN(const os::FileStatus ours, wal_->status());
    if (!wal || wal->inode != ours.inode || wal->device != ours.device) return "its WAL was replaced";
  }
  return std::nullopt;
}

Result<uint64_t> WalFollower::hash_first_page() const {
  Buffer page(page_size_);
  TRY_ASSIGN(const size_t got, held_->file().read_at(0, page));
  return page_hash(ByteView(page).first(got));
}

// Checkpoints bring page 1 into the file only as commits wrote it. Any other is someone copying over the
// file, or of two halves, read while it was being written.
Result<bool> WalFollower::know_first_page(const os::FileStatus& file) {
  if (file.mtime_us == checked_mtime_) return true;
  TRY_ASSIGN(const uint64_t hash, hash_first_page());
  const auto known = std::ranges::find(first_pages_, hash);
  if (known == first_pages_.end()) {
    if (!strange_since_) strange_since_ = SteadyClock::now();
    return false;
  }
  first_pages_.erase(first_pages_.begin(), known);  // it never goes back
  checked_mtime_ = file.mtime_us;
  strange_since_.reset();
  return true;
}

}  // namespace varve::engine::sqlite
