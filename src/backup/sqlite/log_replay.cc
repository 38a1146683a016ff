#include "backup/sqlite/log_replay.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>

#include "repo/lease.h"

namespace varve::backup::sqlite {

Result<OpenPiece> open_piece(repo::RepositoryPtr repo, const Context& ctx, const PieceName& name) {
  TRY_ASSIGN(repo::LogPiece piece, repo::LogPiece::open(repo, ctx, name.key, name.size));
  auto set = db::decode(piece.head().engine_data);
  if (!set) return fail(Code::kDamaged, name.key + ": " + set.error().describe());
  const auto& head = piece.head();
  bool fits = set->first_txn == head.first && set->last_txn == head.last && set->merged == head.merged;
  for (const db::Commit& c : set->commits) {
    for (const db::PageWrite& w : c.writes)
      fits =
          fits && w.slot < piece.slots() && piece.slot_size(w.slot) == set->databases[c.database].page_size;
  }
  if (!fits) return fail(Code::kDamaged, name.key + ": its pages do not fit its commits");
  return OpenPiece{std::move(piece), std::move(*set)};
}

Result<uint64_t> replay(repo::RepositoryPtr repo, const Context& ctx, const std::vector<PieceName>& pieces,
                        uint64_t from, uint64_t until, const ReplaySink& sink) {
  uint64_t commits = 0;
  for (size_t number = 0; number < pieces.size(); ++number) {
    TRY_OK(ctx.check());
    TRY_ASSIGN(OpenPiece open, open_piece(repo, ctx, pieces[number]));
    const db::PageSet& set = open.set;
    if (set.merged && set.last_txn > until)
      return fail(Code::kIncomplete,
                  fmt::format("{}: the single commits up to txn:{} are gone", pieces[number].key, until),
                  "`varve list` shows the moments that can be recovered");
    // The last version of each page wins; earlier ones need not be read.
    std::vector<std::map<uint32_t, uint32_t>> last(set.databases.size());
    std::vector<uint64_t> size(set.databases.size(), UINT64_MAX);
    for (const db::Commit& c : set.commits) {
      if (c.txn > until || (!set.merged && c.txn <= from)) continue;
      for (const db::PageWrite& w : c.writes) last[c.database][w.page] = w.slot;
      size[c.database] = c.pages_after;
      ++commits;
    }
    std::map<uint32_t, std::pair<uint32_t, uint32_t>> wanted;  // slot → database, page
    for (uint32_t d = 0; d < set.databases.size(); ++d) {
      if (size[d] == UINT64_MAX) continue;
      const auto& database = set.databases[d];
      if (sink.size) TRY_OK(sink.size(database.name, database.page_size, size[d]));
      for (const auto& [page, slot] : last[d]) {
        if (page > size[d]) continue;
        if (sink.place) {
          TRY_OK(sink.place(database.name, page, number, slot));
        } else {
          wanted[slot] = {d, page};
        }
      }
    }
    if (!sink.place) {
      TRY_OK(open.piece.read(
          ctx, [&](uint32_t slot) { return wanted.contains(slot); },
          [&](uint32_t slot, ByteView bytes) -> Result<> {
            const auto [d, page] = wanted[slot];
            return sink.page(set.databases[d].name, page, bytes);
          }));
    }
  }
  return commits;
}

namespace {

constexpr auto kAnchorWait = std::chrono::seconds(5);

// The txn whose state this is, if the log as stored shows it beyond doubt.
std::optional<uint64_t> match(const db::CaptureData& captured, const std::vector<OpenPiece>& newest_first,
                              const db::CaptureData& base, uint64_t base_txn) {
  uint64_t at = 0;               // every database's state is reached at `at` …
  uint64_t before = UINT64_MAX;  // … and left before `before`
  for (const db::CapturedDatabase& db : captured.databases) {
    if (!db.wal_mode || db.wal.frame == 0) return std::nullopt;
    std::optional<uint64_t> found;
    uint64_t next = UINT64_MAX;
    for (const OpenPiece& open : newest_first) {
      for (auto c = open.set.commits.rbegin(); c != open.set.commits.rend() && !found; ++c) {
        if (open.set.databases[c->database].name != db.name) continue;
        if (c->wal == db.wal) {
          found = c->txn;
        } else {
          next = c->txn;
        }
      }
    }
    if (!found) {
      for (const db::CapturedDatabase& b : base.databases) {
        if (b.name == db.name && b.wal == db.wal) found = base_txn;
      }
    }
    if (!found) return std::nullopt;
    at = std::max(at, *found);
    before = std::min(before, next);
  }
  return at < before ? std::optional(at) : std::nullopt;
}

// The newest backup that stands in a log.
Result<std::optional<repo::Manifest>> newest_base(const repo::Repository& repo, const Context& ctx,
                                                  const std::string& source) {
  std::optional<repo::Manifest> out;
  TRY_OK(repo::for_newest_manifests(repo, ctx, source,
                                    [&](const std::string&, Result<repo::Manifest> m) -> Result<bool> {
                                      if (m && anchor_of(*m)) out = std::move(*m);
                                      return !out;
                                    }));
  return out;
}

}  // namespace

Result<> anchor_to_log(repo::RepositoryPtr repo, const Context& ctx, repo::Manifest& m) {
  if (m.engine != "sqlite") return {};
  const auto lease = repo::current_lease(*repo, ctx, m.source);
  if (!lease && lease.error().code == Code::kDamaged) return {};
  if (!lease) return fail(lease.error());
  if (!*lease || !repo::is_live(**lease, now())) return {};
  TRY_ASSIGN(db::CaptureData captured, db::decode_capture_data(m.engine_data));
  const auto give_up = SteadyClock::now() + kAnchorWait;
  do {
    TRY_ASSIGN(const auto base, newest_base(*repo, ctx, m.source));
    TRY_ASSIGN(const auto logs, list_log(*repo, ctx, m.source));
    if (!base || (!logs.empty() && logs.rbegin()->first > base->epoch)) return {};
    const auto at = logs.find(base->epoch);
    const EpochLog log = at == logs.end() ? EpochLog{} : at->second;
    if (!log.pieces.empty() && contiguous_end(log.pieces, *anchor_of(*base)) < log.pieces.back().last)
      return {};
    TRY_ASSIGN(db::CaptureData base_data, db::decode_capture_data(base->engine_data));
    const auto singles = commit_pieces(log);
    std::vector<OpenPiece> open;
    constexpr size_t kLookBack = 64;  // a backup of minutes behind a busy follower
    for (size_t i = singles.size(); i-- > 0 && open.size() < kLookBack && singles[i].last > *base_data.txn;) {
      TRY_ASSIGN(OpenPiece piece, open_piece(repo, ctx, singles[i]));
      const bool older = piece.set.last_time < m.moment - std::chrono::seconds(60);
      open.push_back(std::move(piece));
      if (older) break;
    }
    if (auto txn = match(captured, open, base_data, *base_data.txn)) {
      captured.txn = txn;
      m.engine_data = db::encode_capture_data(captured);
      m.epoch = base->epoch;
      m.start_position = m.stop_position = fmt::format("txn:{}", *txn);
      return {};
    }
    TRY_OK(ctx.sleep(std::chrono::milliseconds(300)));
  } while (SteadyClock::now() < give_up);
  return {};
}

Result<bool> merge_pieces(repo::RepositoryPtr repo, const Context& ctx, const std::vector<PieceName>& pieces,
                          repo::LogWriter& writer, uint64_t max_bytes) {
  struct Where {
    size_t piece;
    uint32_t slot;
  };
  std::map<std::string, std::map<uint32_t, Where>> latest;
  std::map<std::string, db::Commit> last;
  std::map<std::string, uint32_t> page_sizes;
  std::vector<OpenPiece> open;
  db::PageSet merged;
  merged.merged = true;
  for (const PieceName& name : pieces) {
    TRY_ASSIGN(OpenPiece piece, open_piece(repo, ctx, name));
    for (const db::Commit& c : piece.set.commits) {
      const auto& database = piece.set.databases[c.database];
      if (auto [at, added] = page_sizes.try_emplace(database.name, database.page_size);
          !added && at->second != database.page_size)
        return false;
      for (const db::PageWrite& w : c.writes) latest[database.name][w.page] = {open.size(), w.slot};
      db::Commit& end = last[database.name];
      end = c;
      end.writes.clear();
      end.changes.clear();
    }
    merged.unseen.insert(merged.unseen.end(), piece.set.unseen.begin(), piece.set.unseen.end());
    open.push_back(std::move(piece));
  }
  uint64_t bytes = 0;
  merged.first_txn = open.front().set.first_txn;
  merged.last_txn = open.back().set.last_txn;
  merged.first_time = open.front().set.first_time;
  merged.last_time = open.back().set.last_time;
  std::vector<std::map<uint32_t, uint32_t>> slots_of(open.size());  // piece → its slot → ours
  uint32_t slots = 0;
  for (auto& [name, commit] : last) {
    commit.database = static_cast<uint32_t>(merged.databases.size());
    merged.databases.push_back({name, page_sizes[name]});
    for (const auto& [page, where] : latest[name]) {
      if (page > commit.pages_after) continue;
      commit.writes.push_back({page, slots});
      slots_of[where.piece][where.slot] = slots++;
      bytes += page_sizes[name];
    }
    merged.commits.push_back(std::move(commit));
  }
  if (bytes > max_bytes) return false;
  std::sort(merged.commits.begin(), merged.commits.end(),
            [](const db::Commit& a, const db::Commit& b) { return a.txn < b.txn; });
  std::vector<Buffer> pages(slots);
  for (size_t i = 0; i < open.size(); ++i) {
    TRY_OK(open[i].piece.read(
        ctx, [&](uint32_t slot) { return slots_of[i].contains(slot); },
        [&](uint32_t slot, ByteView page) -> Result<> {
          pages[slots_of[i][slot]] = to_buffer(page);
          return {};
        }));
  }
  const auto& head = open.front().piece.head();
  TRY_ASSIGN(uint64_t stored, writer.write(ctx,
                                           {head.source, head.epoch, merged.first_txn, merged.last_txn,
                                            merged.first_time, merged.last_time, true, db::encode(merged)},
                                           {pages.begin(), pages.end()}));
  return stored > 0;
}

}  // namespace varve::backup::sqlite
