// Why what is read is one committed state, although others write, checkpoint and restart the WAL meanwhile:
//
// Our read transaction holds one of the wal-index's read locks until the end. Let the index, read after the
// transaction began, say that frames up to C are committed, and that B of them are in the database file
// ("backfilled").
//
// - A reader on mark m > 0 (m ≤ C: it began before) keeps every checkpointer from copying frames beyond m,
// and every
//   writer from restarting the WAL. A reader on mark 0 (all was in the file when it began) keeps every
//   checkpointer from copying anything; a writer may restart the WAL once, before it appends: then the frames
//   it appends are not in the file, and no further restart can follow while nobody may copy them.
// - B < C: some frame is not in the file, so by the above the WAL will not be restarted before our
// transaction ends.
//   A page that has a frame ≤ C is read from its latest such frame; frames are never overwritten within a
//   generation. A page that has none is read from the file; only pages of frames ≤ m ≤ C are ever copied
//   there, which it is not. Nor can the file be cut below it: a checkpointer cuts it to the size after a
//   commit ≤ m, and pages that came to be after that commit have frames.
// - B = C: the file alone holds the state at C, and nothing later can be copied there: m ≤ C on a mark,
// nothing at all
//   on mark 0. The WAL may be restarted under us, so it is not read.
//
// In the other journal modes the transaction's SHARED lock keeps the file as it is; writers wait at their
// commit.

#include "engine/sqlite/snapshot.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/text.h"
#include "engine/sqlite/btree.h"

namespace varve::engine::sqlite {
namespace {

constexpr uint32_t kDefaultPageSize = 4096;  // of a database that has no page yet
constexpr size_t kReadVersionAt = 19;
constexpr std::byte kWalVersion{2};

Result<> read_zero_filled(const SharedFile& file, uint64_t offset, MutableBytes out) {
  TRY_ASSIGN(const size_t got, file.read_at(offset, out));
  std::fill(out.begin() + static_cast<ptrdiff_t>(got), out.end(), std::byte{0});
  return {};
}

}  // namespace

Result<std::unique_ptr<Snapshot>> Snapshot::take(const Context& ctx, const DatabaseFile& database,
                                                 std::chrono::milliseconds patience) {
  std::error_code unresolved;
  const os::Path real = std::filesystem::canonical(database.path, unresolved);
  if (unresolved) return fail(os::errno_error(unresolved.value(), "open", database.path));
  TRY_ASSIGN(auto reader, Reader::open(ctx, real, patience));
  TRY_OK(reader->begin());
  std::unique_ptr<Snapshot> out(new Snapshot(std::move(reader)));
  out->state_.name = database.name;
  TRY_ASSIGN(out->status_, out->reader_->file().status());

  std::array<std::byte, kHeaderSize> header;
  TRY_ASSIGN(const size_t got, out->reader_->file().read_at(0, header));
  if (got == 0) {  // valid, and empty
    out->state_.page_size = kDefaultPageSize;
    return out;
  }
  // Which mode it is cannot change under the lock that every transaction holds on the file.
  out->state_.wal_mode = got == header.size() && header[kReadVersionAt] == kWalVersion;
  TRY_OK(out->pin_file(ByteView(header).first(got)));
  if (out->state_.wal_mode) TRY_OK(out->pin_wal());
  out->lock_page_ = lock_page(out->state_.page_size);
  if (out->state_.pages > 0) {
    TRY_OK(out->read(0, header));
    TRY_ASSIGN(const DatabaseHeader parsed, parse_header(header));
    out->state_.change_counter = parsed.change_counter;
  }
  return out;
}

Result<> Snapshot::pin_file(ByteView header) {
  TRY_ASSIGN(const DatabaseHeader parsed, parse_header(header));
  state_.page_size = parsed.page_size;
  // As SQLite decides it: the header's count where the last writer knew it, else the file's size, a part of a
  // page counting as one.
  const uint64_t in_file = (status_.size + parsed.page_size - 1) / parsed.page_size;
  const bool counted = parsed.pages > 0 && std::ranges::equal(header.subspan(24, 4), header.subspan(92, 4));
  state_.pages = counted ? parsed.pages : in_file;
  return {};
}

Result<> Snapshot::pin_wal() {
  TRY_ASSIGN(const WalIndex index, reader_->wal_index(kIndexPatience));
  state_.wal = index.committed;
  if (index.pages > 0) state_.pages = index.pages;
  if (index.committed.frame == 0) return {};
  state_.page_size = index.page_size;
  if (index.backfilled == index.committed.frame) return {};

  const auto unsound = [&](std::string_view why) {
    return fail(Code::kDatabase, fmt::format("{}: {}", printable(wal_path(reader_->path()).native()), why),
                "the WAL is damaged or was replaced while the database was open; see PRAGMA integrity_check");
  };
  TRY_ASSIGN(WalReader wal, WalReader::open(wal_path(reader_->path())));
  if (wal.position().salt1 != index.committed.salt1 || wal.position().salt2 != index.committed.salt2 ||
      wal.page_size() != index.page_size) {
    return unsound("it is not the WAL its index describes");
  }
  TRY_OK(wal.read(index.committed.frame, [&](const WalFrame& frame) -> Result<bool> {
    if (frame.page <= state_.pages) frames_[frame.page] = frame.number;
    return true;
  }));
  if (!same_place(wal.position(), index.committed)) return unsound("it is not whole up to the last commit");
  state_.wal = wal.position();
  if (wal.unsummed()) warnings_.push_back(fmt::format("{}: {}", printable(state_.name), kUnsummedWarning));
  wal_ = std::move(wal);
  return {};
}

Result<> Snapshot::read(uint64_t offset, MutableBytes out) const {
  if (offset > size() || out.size() > size() - offset) {
    return fail(Code::kInternal, fmt::format("{}: read beyond the end", printable(state_.name)));
  }
  // A page the file is too short for was never written; SQLite reads it as zeros too.
  TRY_OK(read_zero_filled(reader_->file(), offset, out));
  const uint64_t page_size = state_.page_size;
  Buffer whole;
  for (uint64_t at = offset; at < offset + out.size();) {
    const uint64_t page = at / page_size + 1;
    const uint64_t skip = at % page_size;
    const uint64_t length = std::min(page_size - skip, offset + out.size() - at);
    const MutableBytes into = out.subspan(at - offset, length);
    at += length;
    if (page == lock_page_) {
      std::fill(into.begin(), into.end(), std::byte{0});
      continue;
    }
    if (!wal_) continue;
    const auto frame = frames_.find(static_cast<uint32_t>(page));
    if (frame == frames_.end()) continue;
    if (length == page_size) {
      TRY_OK(wal_->page(frame->second, frame->first, into));
    } else {
      whole.resize(page_size);
      TRY_OK(wal_->page(frame->second, frame->first, whole));
      std::copy_n(whole.begin() + static_cast<ptrdiff_t>(skip), length, into.begin());
    }
  }
  return {};
}

Result<> Snapshot::check() const {
  const auto lost = [&](std::string_view why) {
    return fail(Code::kConflict,
                fmt::format("{}: {} while it was being read", printable(reader_->path().native()), why),
                "what was read cannot be trusted; try again");
  };
  TRY_ASSIGN(const auto now, os::status(reader_->path()));
  if (!now || now->inode != status_.inode || now->device != status_.device)
    return lost("the file was replaced");
  if (wal_) {
    TRY_ASSIGN(const bool same, wal_->same_generation());
    if (!same) return lost("the WAL was restarted");
    TRY_ASSIGN(const auto wal_now, os::status(wal_path(reader_->path())));
    TRY_ASSIGN(const os::FileStatus wal_then, wal_->status());
    if (!wal_now || wal_now->inode != wal_then.inode) return lost("the WAL was replaced");
  }
  return {};
}

Result<std::vector<std::string>> Snapshot::tables() {
  return reader_->connection().column(
      "SELECT name FROM sqlite_schema WHERE type='table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY "
      "name");
}

}  // namespace varve::engine::sqlite
