#include "engine/postgres/wal_summaries.h"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>

#include "engine/postgres/wal_contents.h"

namespace varve::engine::postgres {
namespace {

constexpr int kFirstVersion = 17;
// A summary ends at each checkpoint, which wakes the summarizer up. One that reads on is waited for.
constexpr std::chrono::milliseconds kPoll(100);
constexpr std::chrono::seconds kStandstill(10), kPatience(120);

Result<bool> makes_summaries(const Context& ctx, Connection& session) {
  if (session.major() < kFirstVersion) return false;
  TRY_ASSIGN(const Rows rows, session.query(ctx, "SELECT pg_catalog.current_setting('summarize_wal')::bool"));
  return rows.boolean(0, 0);
}

Result<> wait_for_summarizer(const Context& ctx, Connection& session, Lsn until) {
  const auto begun = SteadyClock::now();
  auto moved = begun;
  Lsn seen = 0;
  for (;;) {
    TRY_ASSIGN(const Rows rows, session.query(ctx,
                                              "SELECT summarized_lsn, pending_lsn FROM"
                                              " pg_catalog.pg_get_wal_summarizer_state()"));
    TRY_ASSIGN(const Lsn summarized, parse_lsn(rows.text(0, 0)));
    TRY_ASSIGN(const Lsn pending, parse_lsn(rows.text(0, 1)));
    if (summarized >= until) return {};
    const auto now = SteadyClock::now();
    if (pending != seen) moved = now;
    seen = pending;
    if (now - moved > kStandstill || now - begun > kPatience)
      return fail(Code::kIncomplete,
                  fmt::format("the server has summarized its WAL up to {} only", format_lsn(summarized)));
    TRY_OK(ctx.sleep(kPoll));
  }
}

Result<std::vector<WalStretch>> list_summaries(const Context& ctx, Connection& session) {
  TRY_ASSIGN(const Rows rows, session.query(ctx,
                                            "SELECT tli, start_lsn, end_lsn FROM"
                                            " pg_catalog.pg_available_wal_summaries()"));
  std::vector<WalStretch> out(rows.size());
  for (size_t i = 0; i < out.size(); ++i) {
    TRY_ASSIGN(const uint64_t timeline, rows.number(i, 0));
    out[i].timeline = static_cast<Timeline>(timeline);
    TRY_ASSIGN(out[i].from, parse_lsn(rows.text(i, 1)));
    TRY_ASSIGN(out[i].to, parse_lsn(rows.text(i, 2)));
  }
  return out;
}

Result<> read_summary(const Context& ctx, Connection& session, const WalStretch& summary,
                      BlockChanges& changes) {
  const std::string sql = fmt::format(
      "SELECT reltablespace, reldatabase, relfilenode, relforknumber, relblocknumber, is_limit_block"
      " FROM pg_catalog.pg_wal_summary_contents({}, '{}', '{}')",
      summary.timeline, format_lsn(summary.from), format_lsn(summary.to));
  return session.for_each(ctx, sql, [&](const Rows& row) -> Result<> {
    SummaryRow out;
    uint32_t* const parts[] = {&out.file.tablespace, &out.file.database, &out.file.relation};
    for (size_t i = 0; i < std::size(parts); ++i) {
      TRY_ASSIGN(const uint64_t oid, row.number(0, i));
      *parts[i] = static_cast<uint32_t>(oid);
    }
    TRY_ASSIGN(out.fork, row.number(0, 3));
    TRY_ASSIGN(out.block, row.number(0, 4));
    out.is_limit = row.boolean(0, 5);
    return apply_summary(changes, out);
  });
}

}  // namespace

Result<std::vector<WalStretch>> choose_summaries(std::vector<WalStretch> summaries,
                                                 const std::vector<WalStretch>& way) {
  std::ranges::sort(summaries, [](const WalStretch& a, const WalStretch& b) {
    return a.from != b.from ? a.from < b.from : a.to > b.to;
  });
  std::vector<WalStretch> out;
  for (const WalStretch& stretch : way) {
    Lsn at = stretch.from;
    for (const WalStretch& s : summaries) {
      if (at >= stretch.to || s.from > at) break;
      if (s.timeline != stretch.timeline || s.to <= at) continue;
      out.push_back(s);
      at = s.to;
    }
    if (at < stretch.to)
      return fail(Code::kIncomplete,
                  fmt::format("the server has no summary of its WAL from {} on", format_lsn(at)));
  }
  return out;
}

Result<> apply_summary(BlockChanges& changes, const SummaryRow& row) {
  if (row.fork >= kForks || row.block > UINT32_MAX)
    return fail(Code::kDatabase, fmt::format("a WAL summary names block {} of fork {}", row.block, row.fork));
  // A database that was created or dropped.
  if (row.file.relation == 0) {
    changes.set_whole_database(row.file.tablespace, row.file.database);
    return {};
  }
  const auto fork = static_cast<Fork>(row.fork);
  if (fork == Fork::kFreeSpace) return {};
  const auto block = static_cast<uint32_t>(row.block);
  const auto take = [&](Fork of, uint32_t n) {
    row.is_limit ? changes.set_limit({row.file, of}, n) : changes.mark({row.file, of}, n);
  };
  take(fork, block);
  if (fork == Fork::kMain) take(Fork::kVisibility, block / heap_pages_per_map_page(changes.block_size()));
  return {};
}

Result<std::optional<BlockChanges>> summarized_changes(const Context& ctx, const ClusterSpec& spec,
                                                       const std::vector<WalStretch>& way,
                                                       uint32_t block_size) {
  TRY_ASSIGN(const auto session, Connection::open(ctx, spec));
  TRY_ASSIGN(const bool has, makes_summaries(ctx, *session));
  if (!has) return std::nullopt;
  TRY_OK(wait_for_summarizer(ctx, *session, way.back().to));
  TRY_ASSIGN(auto there, list_summaries(ctx, *session));
  TRY_ASSIGN(const auto chosen, choose_summaries(std::move(there), way));
  BlockChanges out(block_size);
  for (const WalStretch& summary : chosen) TRY_OK(read_summary(ctx, *session, summary, out));
  return out;
}

}  // namespace varve::engine::postgres
