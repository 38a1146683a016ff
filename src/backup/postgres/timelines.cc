#include "backup/postgres/timelines.h"

#include <algorithm>

#include "backup/engines.h"
#include "base/log.h"

namespace varve::backup::postgres {

Result<Timelines> Timelines::load(const repo::RepositoryPtr& repo, const Context& ctx,
                                  const EpochLog& histories) {
  Timelines out;
  for (const PieceName& p : histories.pieces) {
    const auto timeline = static_cast<db::Timeline>(p.first);
    const auto content = read_history(repo, ctx, p);
    if (!content && content.error().code != Code::kDamaged) return fail(content.error());
    const auto entries = content ? db::parse_history(timeline, as_text(*content)) : fail(content.error());
    if (!entries) {
      log::warn("the history of timeline {} cannot be read: {}", timeline, entries.error().describe());
      continue;
    }
    out.histories_[timeline] = *entries;
  }
  return out;
}

std::vector<Timelines::Stretch> Timelines::way_to(db::Timeline timeline) const {
  std::vector<Stretch> out;
  uint64_t from = 0;
  if (const auto at = histories_.find(timeline); at != histories_.end()) {
    for (const db::HistoryEntry& e : at->second) {
      out.push_back({e.timeline, from, e.end});
      from = e.end;
    }
  }
  out.push_back({timeline, from, UINT64_MAX});
  return out;
}

bool Timelines::contains(db::Timeline timeline, db::Timeline of, uint64_t position) const {
  for (const Stretch& s : way_to(timeline)) {
    if (s.timeline == of) return position <= s.to;
  }
  return false;
}

TimelineView view_of(const Timelines& timelines, const std::map<std::string, EpochLog>& epochs,
                     const std::vector<repo::Manifest>& backups, const EpochName& epoch) {
  TimelineView out;
  const std::string name = epoch_of(epoch.system_id, epoch.timeline);
  if (const auto own = epochs.find(name); own != epochs.end()) out.log = own->second;
  out.log.epoch = name;
  out.log.pieces.clear();
  for (const Timelines::Stretch& s : timelines.way_to(epoch.timeline)) {
    const std::string part = epoch_of(epoch.system_id, s.timeline);
    if (const auto at = epochs.find(part); at != epochs.end()) {
      for (PieceName p : at->second.pieces) {
        if (p.first >= s.to) continue;
        p.last = std::min(p.last, s.to - 1);
        out.log.pieces.push_back(std::move(p));
      }
    }
    for (const repo::Manifest& m : backups) {
      const auto place = m.epoch == part ? place_of(m) : std::nullopt;
      if (place && place->first_state < s.to) out.bases.push_back(&m);
    }
  }
  std::sort(out.log.pieces.begin(), out.log.pieces.end(), [](const PieceName& a, const PieceName& b) {
    return a.first != b.first ? a.first < b.first : a.last > b.last;
  });
  std::stable_sort(out.bases.begin(), out.bases.end(),
                   [](const auto* a, const auto* b) { return *anchor_of(*a) < *anchor_of(*b); });
  return out;
}

}  // namespace varve::backup::postgres
