#include "backup/postgres/followed_wal.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/log.h"
#include "crypto/crypto.h"
#include "engine/postgres/wal_format.h"

namespace varve::backup::postgres {
namespace {

constexpr auto kReaders = std::chrono::seconds(60);  // between listing a piece and reading it
constexpr auto kAgain = std::chrono::seconds(10);
constexpr auto kPut = std::chrono::seconds(60);
constexpr size_t kMostWaiting = 1024;

}  // namespace

UnitFolder::~UnitFolder() {
  thread_ = {};
}

void UnitFolder::add(Unit unit) {
  const std::scoped_lock lock(mutex_);
  // One unit's bytes are kept at most; of more the repository has them.
  if (waiting_bytes_ > 0) unit.bytes = {};
  waiting_bytes_ += unit.bytes.size();
  waiting_.push_back(std::move(unit));
  if (waiting_.size() > kMostWaiting) {
    waiting_bytes_ -= waiting_.front().bytes.size();
    waiting_.pop_front();
  }
  if (!thread_.joinable()) thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  changed_.notify_all();
}

void UnitFolder::run(const std::stop_token& stop) {
  Context ctx;
  ctx.stop = stop;
  bool told = false;
  while (!stop.stop_requested()) {
    std::optional<Unit> unit;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, stop, std::chrono::seconds(1), [&] { return !waiting_.empty(); });
      if (!waiting_.empty()) {
        unit = std::move(waiting_.front());
        waiting_.pop_front();
        waiting_bytes_ -= unit->bytes.size();
      }
    }
    remove_due(ctx, false);
    if (!unit) continue;
    const auto done = fold(ctx, *unit);
    if (!done && stop.stop_requested()) {
      const std::scoped_lock lock(mutex_);
      unit->bytes = {};
      waiting_.push_front(std::move(*unit));
      return;
    }
    if (done) {
      told = false;
      continue;
    }
    if (!std::exchange(told, true))
      log::warn("pieces of the log were not joined: {}", done.error().describe());
    if (done.error().retry == Retry::kNever) continue;
    unit->bytes = {};
    add(std::move(*unit));
    (void)ctx.sleep(kAgain);
  }
}

void UnitFolder::finish(const Context& ctx) {
  thread_ = {};
  while (!waiting_.empty() && ctx.check()) {
    if (auto done = fold(ctx, waiting_.front()); !done)
      log::debug("pieces of the log were not joined: {}", done.error().describe());
    waiting_.pop_front();
  }
  waiting_bytes_ = 0;
  remove_due(ctx, true);
}

Result<> UnitFolder::fold(const Context& ctx, Unit& unit) {
  const uint64_t start = unit.identity.start;
  const uint64_t size = std::min<uint64_t>(unit.identity.segment_size, kWalPiece);
  if (unit.bytes.empty()) unit.from = start + size;
  Buffer whole(size);
  const uint64_t before = unit.from - start;
  TRY_ASSIGN(const uint64_t have, archive_.read(ctx, unit.identity.system, unit.identity.timeline, start,
                                                MutableBytes(whole).first(before)));
  if (have < before) return {};  // not known from its begin: it stays in pieces
  std::copy(unit.bytes.begin(), unit.bytes.end(), whole.begin() + static_cast<ptrdiff_t>(before));
  unit.bytes = std::move(whole);
  unit.from = start;
  if (unit.ours) TRY_OK(archive_.store(ctx.with_deadline(kPut), unit.identity, unit.bytes));
  if (unit.pieces.empty() || repo_->retain() || !may_remove_) return {};
  // It is seen to be there before anything goes.
  const store::Key key = repo::log_piece_key(source_, epoch_of(unit.identity.system, unit.identity.timeline),
                                             start, start + size - 1);
  TRY_OK(repo_->store().head(ctx, key));
  TRY_ASSIGN(auto keys, equal_pieces(ctx, unit));
  going_.push_back({SteadyClock::now() + kReaders, std::move(keys), unit.ours});
  return {};
}

// Of the small pieces those that hold what the unit holds: all, unless something is very wrong.
Result<std::vector<store::Key>> UnitFolder::equal_pieces(const Context& ctx, const Unit& unit) const {
  std::vector<store::Key> out;
  for (const PieceName& p : unit.pieces) {
    if (!unit.ours) {
      const auto index = read_index(repo_, ctx, p);
      if (!index && index.error().code == Code::kNotFound) continue;
      if (!index && index.error().retry != Retry::kNever) return fail(index.error());
      crypto::Hasher hasher;
      hasher.update(ByteView(unit.bytes).subspan(p.first - unit.from, p.last - p.first + 1));
      if (!index || index->digest != hasher.finish()) {
        log::warn("{} is kept: it is not as the piece that holds it", p.key);
        continue;
      }
    }
    out.push_back(p.key);
  }
  return out;
}

void UnitFolder::remove_due(const Context& ctx, bool finishing) {
  while (!going_.empty() && may_remove_) {
    const Going& next = going_.front();
    if (next.when > SteadyClock::now() && !(finishing && !next.ours)) return;
    const auto removed = repo_->store().remove(ctx, next.keys);
    if (!removed) {
      if (removed.error().retry != Retry::kNever || removed.error().code == Code::kInterrupted) return;
      log::debug("small pieces of the log stay: {}", removed.error().describe());
    }
    // A host that may only write leaves them to `varve expire`.
    may_remove_ = removed && std::none_of(removed->begin(), removed->end(), [](const auto& r) {
                    return !r.result && r.result.error().code == Code::kDenied;
                  });
    going_.pop_front();
  }
}

void FollowedWal::begin(const db::PieceIdentity& identity) {
  db::PieceIdentity same = identity_;
  same.start = stored_;
  identity_ = identity;
  if (same == identity) return bytes_.resize(stored_ - from_);
  from_ = stored_ = identity.start;
  bytes_.clear();
  pieces_.clear();
}

// WAL can be read from any place but the midst of a page's header.
uint64_t FollowedWal::storable_end() const {
  const uint64_t last = end(), page = last / db::kWalPage * db::kWalPage;
  const uint64_t header = page % identity_.segment_size == 0 ? db::kLongHeader : db::kShortHeader;
  return last - page < header ? page : last;
}

Result<std::optional<WalArchive::Kept>> FollowedWal::flush(const Context& ctx) {
  const uint64_t to = storable_end();
  if (to <= stored_) return std::nullopt;
  db::PieceIdentity piece = identity_;
  piece.start = stored_;
  const ByteView bytes = ByteView(bytes_).subspan(stored_ - from_, to - stored_);
  TRY_ASSIGN(auto kept, archive_.store(ctx, piece, bytes));
  const uint64_t begin = unit_start();
  const std::string epoch = epoch_of(identity_.system, identity_.timeline);
  if (bytes.size() < unit())
    pieces_.push_back(
        {repo::log_piece_key(archive_.source(), epoch, stored_, to - 1), stored_, to - 1, kept.size});
  stored_ = to;
  if (to == begin + unit()) {
    if (!pieces_.empty()) {
      UnitFolder::Unit whole{identity_, from_, std::move(bytes_), std::move(pieces_), true};
      whole.identity.start = begin;
      folder_.add(std::move(whole));
    }
    from_ = stored_;
    bytes_ = {};
    pieces_ = {};
  }
  return kept;
}

}  // namespace varve::backup::postgres
