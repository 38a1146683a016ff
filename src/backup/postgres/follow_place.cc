#include "backup/postgres/follow_place.h"

#include <algorithm>

#include "backup/engines.h"

namespace varve::backup::postgres {
namespace {

// Whole units that hold other pieces.
std::vector<std::pair<PieceName, PieceName>> contained_in_units(const std::vector<PieceName>& pieces,
                                                                uint64_t unit) {
  std::vector<std::pair<PieceName, PieceName>> out;
  const PieceName* whole = nullptr;
  for (const PieceName& p : pieces) {  // ascending, of two that begin alike the longer one first
    if (p.first % unit == 0 && p.last == p.first + unit - 1) {
      whole = &p;
    } else if (whole && p.first >= whole->first && p.last <= whole->last) {
      out.emplace_back(p, *whole);
    }
  }
  return out;
}

}  // namespace

WalPlace place_for(uint64_t lsn, db::Timeline timeline, const std::vector<db::HistoryEntry>& history,
                   const std::map<db::Timeline, std::vector<PieceName>>& pieces, uint32_t segment_size) {
  WalPlace out{timeline, lsn};
  for (const db::HistoryEntry& e : history) {
    if (lsn >= e.end) continue;
    out.timeline = e.timeline;
    break;
  }
  const uint64_t begin = lsn / segment_size * segment_size;
  const auto own = pieces.find(out.timeline);
  const uint64_t have =
      own == pieces.end() || begin == 0 ? begin : contiguous_end(own->second, begin - 1) + 1;
  if (have < lsn) out.lsn = begin;
  return out;
}

Result<Resume> find_resume(const repo::RepositoryPtr& repo, const Context& ctx, const std::string& source,
                           uint64_t system_id, db::Timeline timeline,
                           const std::vector<db::HistoryEntry>& history, uint32_t segment_size) {
  TRY_ASSIGN(const SourceState state, load_source(*repo, ctx, source));
  std::map<std::string, EpochLog> epochs;
  std::map<db::Timeline, std::vector<PieceName>> pieces;
  for (const EpochLog& e : state.epochs) {
    epochs[e.epoch] = e;
    const auto name = parse_epoch(e.epoch);
    if (name && name->system_id == system_id && name->timeline != 0) pieces[name->timeline] = e.pieces;
  }
  const std::string epoch = epoch_of(system_id, timeline);
  epochs[epoch].epoch = epoch;
  TRY_ASSIGN(auto views, find_engine("postgres")->views(repo, ctx, epochs, state.backups.manifests));
  const auto view =
      std::find_if(views.begin(), views.end(), [&](const auto& v) { return v.log.epoch == epoch; });
  Resume out;
  out.mark = epochs[epoch].mark;
  out.contained = contained_in_units(epochs[epoch].pieces, std::min<uint64_t>(segment_size, kWalPiece));
  if (view == views.end()) return out;
  const auto add = [&](uint64_t lsn) {
    out.places.push_back(place_for(lsn, timeline, history, pieces, segment_size));
  };
  uint64_t led = 0;
  if (!view->bases.empty()) {
    const repo::Manifest& base = *view->bases.back();
    out.base = base.id;
    led = contiguous_end(view->log.pieces, *anchor_of(base));
    add(led + 1);
  }
  // The last stretch of all.
  uint64_t end = 0;
  for (const PieceName& p : view->log.pieces) end = std::max(end, p.last);
  if (end > led) add(end + 1);
  return out;
}

}  // namespace varve::backup::postgres
