// The branches of a cluster's history, and which WAL leads from one to another.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "backup/log_state.h"
#include "backup/postgres/wal_archive.h"

namespace varve::backup::postgres {

// Of one cluster. Immutable once loaded.
class Timelines {
 public:
  // Reads every history the repository has. One that is damaged is left out: its timeline then has no
  // ancestors.
  static Result<Timelines> load(const repo::RepositoryPtr& repo, const Context& ctx,
                                const EpochLog& histories);

  // A stretch of the way to a position on a timeline: WAL of `timeline` from `from` up to before `to`.
  struct Stretch {
    db::Timeline timeline = 0;
    uint64_t from = 0, to = UINT64_MAX;
  };
  // Oldest first; the last is `timeline` itself, without an end.
  std::vector<Stretch> way_to(db::Timeline timeline) const;
  // Whether `timeline` goes through `position` of timeline `of`.
  bool contains(db::Timeline timeline, db::Timeline of, uint64_t position) const;

 private:
  std::map<db::Timeline, std::vector<db::HistoryEntry>> histories_;
};

// The log that leads to a timeline's end, with pieces of its ancestors as far as they were followed, and the
// backups it can be replayed onto, ascending by anchor.
struct TimelineView {
  EpochLog log;
  std::vector<const repo::Manifest*> bases;
};
TimelineView view_of(const Timelines& timelines, const std::map<std::string, EpochLog>& epochs,
                     const std::vector<repo::Manifest>& backups, const EpochName& epoch);

}  // namespace varve::backup::postgres
