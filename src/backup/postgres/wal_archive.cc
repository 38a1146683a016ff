#include "backup/postgres/wal_archive.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

#include "crypto/crypto.h"

namespace varve::backup::postgres {
namespace {

constexpr std::string_view kHistory = "history";
constexpr size_t kSlot = 64 << 10;  // bytes of WAL that are read as one
constexpr int kListings = 5;

// Pieces begin with a head whose index says what they hold; a history needs none.
std::vector<ByteView> slots_of(ByteView bytes) {
  std::vector<ByteView> out;
  for (; !bytes.empty(); bytes = bytes.subspan(std::min(kSlot, bytes.size())))
    out.push_back(bytes.first(std::min(kSlot, bytes.size())));
  return out;
}

PieceName name_of(const store::ObjectInfo& o, const repo::LogName& name) {
  return {o.key, name.first, name.last, o.size};
}

Result<repo::LogPiece> open(const repo::RepositoryPtr& repo, const Context& ctx, const PieceName& piece) {
  return repo::LogPiece::open(repo, ctx, piece.key, piece.size);
}

}  // namespace

std::string epoch_of(uint64_t system_id, db::Timeline timeline) {
  return fmt::format("{}-{:08X}", system_id, timeline);
}

std::string history_epoch_of(uint64_t system_id) {
  return fmt::format("{}-{}", system_id, kHistory);
}

std::optional<EpochName> parse_epoch(std::string_view epoch) {
  const size_t dash = epoch.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  EpochName out;
  const std::string_view id = epoch.substr(0, dash), rest = epoch.substr(dash + 1);
  const auto whole = [](std::string_view digits, auto& number, int base) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
    return error == std::errc() && end == digits.data() + digits.size();
  };
  if (!whole(id, out.system_id, 10)) return std::nullopt;
  if (rest != kHistory && (rest.size() != 8 || !whole(rest, out.timeline, 16) || out.timeline == 0))
    return std::nullopt;
  const bool canonical =
      epoch == (out.timeline ? epoch_of(out.system_id, out.timeline) : history_epoch_of(out.system_id));
  return canonical ? std::optional(out) : std::nullopt;
}

std::string position_of(uint64_t number) {
  return "lsn:" + db::format_lsn(number + 1);
}

std::vector<PieceName> in_a_row(const std::vector<PieceName>& pieces) {
  std::vector<PieceName> sorted = pieces, out;
  std::sort(sorted.begin(), sorted.end(), [](const PieceName& a, const PieceName& b) {
    return a.first != b.first ? a.first < b.first : a.last > b.last;
  });
  for (auto p = sorted.begin(); p != sorted.end();) {
    out.push_back(*p);
    const uint64_t next = p->last + 1;
    p = std::find_if(p, sorted.end(), [&](const PieceName& q) { return q.first >= next; });
  }
  return out;
}

Result<WalArchive::Kept> WalArchive::store(const Context& ctx, const db::PieceIdentity& piece,
                                           ByteView bytes) {
  const db::WalIndex index = db::build_index(piece, bytes);
  repo::LogPieceHead head;
  head.source = source_;
  head.epoch = epoch_of(piece.system, piece.timeline);
  head.first = piece.start;
  head.last = piece.start + bytes.size() - 1;
  head.first_time = index.part.first_commit.value_or(Timestamp{});
  head.last_time = index.part.last_commit.value_or(Timestamp{});
  head.engine_data = db::encode(index);
  TRY_ASSIGN(Kept kept, put(ctx, head, bytes));
  kept.commits = index.part.commits.size() + index.part.commits_left_out;
  kept.last_commit = index.part.last_commit;
  return kept;
}

Result<WalArchive::Kept> WalArchive::store_history(const Context& ctx, uint64_t system_id,
                                                   db::Timeline timeline, ByteView content) {
  TRY_OK(db::parse_history(timeline, as_text(content)));
  repo::LogPieceHead head;
  head.source = source_;
  head.epoch = history_epoch_of(system_id);
  head.first = head.last = timeline;
  return put(ctx, head, content);
}

Result<WalArchive::Kept> WalArchive::put(const Context& ctx, const repo::LogPieceHead& head, ByteView bytes) {
  repo::WriterId writer;
  crypto::random_bytes(writer.bytes);
  const auto written = repo::LogWriter(repo_, writer).write(ctx, head, slots_of(bytes));
  if (written) return Kept{Stored::kNow, *written, 0, {}};
  if (written.error().code != Code::kExists) return fail(written.error());
  // Twice the same is a success: the first answer may have been lost on its way to the server.
  const store::Key key = repo::log_piece_key(source_, head.epoch, head.first, head.last);
  TRY_ASSIGN(const auto there, repo_->store().head(ctx, key));
  TRY_ASSIGN(const bool same, holds(ctx, {key, head.first, head.last, there.size}, head, bytes));
  if (same) return Kept{Stored::kBefore, 0, 0, {}};
  return fail(Code::kConflict, fmt::format("{} is in the repository with other content", key),
              "two servers with one system identifier ship their WAL under the same source: give one of them "
              "a name of "
              "its own");
}

// By the digest in its index; a history by its content.
Result<bool> WalArchive::holds(const Context& ctx, const PieceName& name, const repo::LogPieceHead& head,
                               ByteView bytes) const {
  if (head.engine_data.empty()) {
    TRY_ASSIGN(const Buffer content, read_history(repo_, ctx, name));
    return same_bytes(content, bytes);
  }
  TRY_ASSIGN(const db::WalIndex stored, read_index(repo_, ctx, name));
  TRY_ASSIGN(const db::WalIndex ours, db::decode_index(head.engine_data));
  return stored.digest == ours.digest;
}

Result<Buffer> read_history(const repo::RepositoryPtr& repo, const Context& ctx, const PieceName& name) {
  TRY_ASSIGN(const repo::LogPiece piece, open(repo, ctx, name));
  Buffer out;
  TRY_OK(piece.read(ctx, {}, [&](uint32_t, ByteView slot) -> Result<> {
    append(out, slot);
    return {};
  }));
  return out;
}

Result<Buffer> WalArchive::history(const Context& ctx, uint64_t system_id, db::Timeline timeline) {
  const store::Key key = repo::log_piece_key(source_, history_epoch_of(system_id), timeline, timeline);
  TRY_ASSIGN(const auto there, repo_->store().head(ctx, key));
  return read_history(repo_, ctx, {key, timeline, timeline, there.size});
}

Result<std::vector<PieceName>> WalArchive::pieces(const Context& ctx, uint64_t system_id,
                                                  db::Timeline timeline, uint64_t from, uint64_t to) {
  std::vector<PieceName> out;
  const std::string epoch = epoch_of(system_id, timeline);
  TRY_OK(store::for_each(repo_->store(), ctx, repo::log_prefix(source_, epoch),
                         [&](const store::ObjectInfo& o) -> Result<> {
                           const auto name = repo::parse_log_name(repo::last_segment(o.key));
                           if (name && name->first < to && name->last >= from)
                             out.push_back(name_of(o, *name));
                           return {};
                         }));
  std::sort(out.begin(), out.end(), [](const PieceName& a, const PieceName& b) {
    return a.first != b.first ? a.first < b.first : a.last > b.last;
  });
  return out;
}

Result<uint64_t> WalArchive::read_whole_pieces(const Context& ctx, uint64_t system_id, db::Timeline timeline,
                                               uint64_t from, MutableBytes out) {
  const uint64_t to = from + out.size();
  uint64_t have = from;
  while (have < to) {
    const uint64_t last = have + std::min(kWalPiece, to - have) - 1;
    const store::Key key = repo::log_piece_key(source_, epoch_of(system_id, timeline), have, last);
    const auto there = repo_->store().head(ctx, key);
    if (!there && there.error().code == Code::kNotFound) break;
    if (!there) return fail(there.error());
    TRY_ASSIGN(have, read_piece(ctx, {key, have, last, there->size}, from, have, out));
  }
  return have - from;
}

Result<uint64_t> WalArchive::read(const Context& ctx, uint64_t system_id, db::Timeline timeline,
                                  uint64_t from, MutableBytes out) {
  const uint64_t to = from + out.size();
  TRY_ASSIGN(uint64_t have, read_whole_pieces(ctx, system_id, timeline, from, out));
  have += from;
  for (int tries = 1; have < to; ++tries) {
    TRY_ASSIGN(const auto names, pieces(ctx, system_id, timeline, have, to));
    bool vanished = false;
    for (const PieceName& name : names) {
      if (name.first > have || vanished) break;
      if (name.last < have) continue;
      const auto read = read_piece(ctx, name, from, have, out);
      // A follower joined it with others meanwhile.
      vanished = !read && read.error().code == Code::kNotFound && tries < kListings;
      if (!read && !vanished) return fail(read.error());
      if (read) have = *read;
      if (have == to) break;
    }
    if (!vanished) break;
  }
  return have - from;
}

// Copies what the piece has from `have` on into `out`, which begins at `from`; where it ends.
Result<uint64_t> WalArchive::read_piece(const Context& ctx, const PieceName& name, uint64_t from,
                                        uint64_t have, MutableBytes out) const {
  const uint64_t to = from + out.size();
  TRY_ASSIGN(const repo::LogPiece piece, open(repo_, ctx, name));
  std::vector<uint64_t> starts;
  uint64_t at = name.first;
  for (uint32_t s = 0; s < piece.slots(); ++s) {
    starts.push_back(at);
    at += piece.slot_size(s);
  }
  if (at != name.last + 1) return fail(Code::kDamaged, name.key + ": is not as long as its name says");
  const auto useful = [&](uint32_t s) { return starts[s] < to && starts[s] + piece.slot_size(s) > have; };
  TRY_OK(piece.read(ctx, useful, [&](uint32_t s, ByteView bytes) -> Result<> {
    const uint64_t begin = std::max(starts[s], from), end = std::min(starts[s] + bytes.size(), to);
    std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(begin - starts[s]), end - begin,
                out.begin() + static_cast<ptrdiff_t>(begin - from));
    return {};
  }));
  return std::min(name.last + 1, to);
}

Result<db::WalIndex> read_index(const repo::RepositoryPtr& repo, const Context& ctx, const PieceName& name) {
  TRY_ASSIGN(const repo::LogPiece piece, open(repo, ctx, name));
  auto index = db::decode_index(piece.head().engine_data);
  if (!index) return fail(Code::kDamaged, name.key + ": " + index.error().describe());
  const db::PieceIdentity& is = index->identity;
  if (is.start != name.first || index->end != name.last + 1 ||
      name.key !=
          repo::log_piece_key(piece.head().source, epoch_of(is.system, is.timeline), name.first, name.last))
    return fail(Code::kDamaged, name.key + ": describes another stretch of WAL");
  return std::move(*index);
}

}  // namespace varve::backup::postgres
