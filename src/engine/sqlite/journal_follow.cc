#include "engine/sqlite/journal_follow.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <random>

#include "base/text.h"
#include "engine/sqlite/btree.h"

namespace varve::engine::sqlite {
namespace {

constexpr uint64_t kChunk = 1 << 20;
// After a comparison writers are left alone for this many times as long as it took: they wait 20 % of the
// time at most.
constexpr int kRest = 4;
constexpr std::chrono::milliseconds kPatience{20};
constexpr size_t kReadVersionAt = 19;

// Only this process compares these hashes, so the secret lives and dies with it.
codec::PageHasher make_hasher() {
  std::array<std::byte, codec::PageHasher::kSecretSize> secret;
  std::random_device random;
  for (std::byte& b : secret) b = static_cast<std::byte>(random());
  return codec::PageHasher(secret);
}

// The header holds the change counter, which every transaction advances.
Result<Buffer> read_header(const SharedFile& file) {
  Buffer header(kHeaderSize);
  TRY_ASSIGN(const size_t got, file.read_at(0, header));
  header.resize(got);
  return header;
}

}  // namespace

JournalFollower::JournalFollower(const DatabaseFile& database, const FollowOptions& options)
    : database_(database), options_(options), hasher_(make_hasher()) {}

Result<> JournalFollower::for_each_page(const Context& ctx, const Snapshot& state,
                                        const std::function<bool(uint32_t, ByteView)>& visit) const {
  const uint64_t page_size = state.state().page_size;
  Buffer chunk(kChunk);
  for (uint64_t at = 0; at < state.size(); at += chunk.size()) {
    TRY_OK(ctx.check());
    chunk.resize(std::min<uint64_t>(kChunk, state.size() - at));
    TRY_OK(state.read(at, chunk));
    for (uint64_t offset = 0; offset < chunk.size(); offset += page_size) {
      const auto page = static_cast<uint32_t>((at + offset) / page_size + 1);
      if (page == lock_page(static_cast<uint32_t>(page_size))) continue;
      if (!visit(page, ByteView(chunk).subspan(offset, page_size))) return {};
    }
  }
  return {};
}

Result<> JournalFollower::start(const Context& ctx, const Snapshot& state) {
  if (state.state().pages > kMostJournalPages) {
    return fail(
        Code::kUnsupported,
        fmt::format("{} is too large to be followed without WAL mode", printable(database_.path.native())),
        "PRAGMA journal_mode=WAL, once, by its owner; backups work in any mode");
  }
  page_size_ = state.state().page_size;
  status_ = state.status();
  hashes_.assign(state.state().pages, 0);
  TRY_OK(for_each_page(ctx, state, [&](uint32_t page, ByteView content) {
    hashes_[page - 1] = hasher_(content);
    return true;
  }));
  TRY_ASSIGN(file_, SharedFile::open(database_.path));
  TRY_ASSIGN(seen_header_, read_header(file_));
  return {};
}

// Nothing in the file proves that it is the one we left: whoever puts an older copy back, and writes to that,
// may reach the same change counter and size with other content. All of it would have to be read and
// compared, which is what a base does.
Result<std::optional<std::string>> JournalFollower::resume(const Context&, const CapturedDatabase&) {
  return "it is not in WAL mode";
}

Result<Look> JournalFollower::look(const Context& ctx, BatchBuilder& batch) {
  TRY_ASSIGN(const auto status, os::status(database_.path));
  if (!status) return Look{.doubt = "its file is gone"};
  if (status->inode != status_.inode || status->device != status_.device)
    return Look{.doubt = "its file was replaced"};
  // Without a lock: a commit under way shows as a change, and then the lock is asked for; one that does not
  // show yet is not complete, since SQLite writes page 1 before it completes any.
  TRY_ASSIGN(const Buffer header, read_header(file_));
  if (header == seen_header_) return Look{.caught_up = true};
  if (header.size() == kHeaderSize && header[kReadVersionAt] == std::byte{2}) {
    return Look{.doubt = "it was switched to WAL mode"};
  }
  if (batch.full() || SteadyClock::now() < not_before_) return Look{};
  const auto began = SteadyClock::now();
  auto found = compare(ctx, batch);
  not_before_ = SteadyClock::now() + kRest * (SteadyClock::now() - began);
  // A writer is at work; there will be a moment between its transactions.
  if (!found && found.error().code == Code::kConflict) return Look{};
  return found;
}

Result<Look> JournalFollower::compare(const Context& ctx, BatchBuilder& batch) {
  TRY_ASSIGN(const auto state, Snapshot::take(ctx, database_, kPatience));
  const CapturedDatabase& is = state->state();
  if (is.wal_mode) return Look{.doubt = "it was switched to WAL mode"};
  if (is.page_size != page_size_) return Look{.doubt = "its page size changed"};
  if (is.pages > kMostJournalPages) return Look{.doubt = "it grew too large to be followed without WAL mode"};
  TRY_ASSIGN(Buffer header, read_header(file_));

  std::map<uint32_t, Buffer> changed;
  uint64_t bytes = 0;
  TRY_OK(for_each_page(ctx, *state, [&](uint32_t page, ByteView content) {
    if (page <= hashes_.size() && hasher_(content) == hashes_[page - 1]) return true;
    bytes += content.size();
    changed[page] = to_buffer(content);
    return bytes <= options_.max_commit_bytes;
  }));
  if (bytes > options_.max_commit_bytes) {
    return Look{.doubt = fmt::format("more than {} changed at once", human_size(options_.max_commit_bytes))};
  }
  TRY_OK(state->check());
  const bool resized = is.pages != hashes_.size();
  hashes_.resize(is.pages, 0);
  for (const auto& [page, content] : changed) hashes_[page - 1] = hasher_(content);
  seen_header_ = std::move(header);
  if (!changed.empty() || resized) {
    batch.add(database_.name, page_size_, is.pages, {}, std::move(changed), {{"", "commit", std::nullopt}});
  }
  return Look{.caught_up = true};
}

}  // namespace varve::engine::sqlite
