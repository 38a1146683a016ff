// Where a follower of a cluster's WAL goes on.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "backup/log_state.h"
#include "backup/postgres/timelines.h"

namespace varve::backup::postgres {

struct WalPlace {
  db::Timeline timeline = 0;
  uint64_t lsn = 0;
  bool operator==(const WalPlace&) const = default;
};

// Of the WAL that leads to `timeline`: the one on which it holds the byte at `lsn`; and the lsn, but at the
// begin of its segment when the repository has not what comes before it there. For recovery asks for whole
// segments: the first one of a new timeline begins with what the old one wrote.
WalPlace place_for(uint64_t lsn, db::Timeline timeline, const std::vector<db::HistoryEntry>& history,
                   const std::map<db::Timeline, std::vector<PieceName>>& pieces, uint32_t segment_size);

struct Resume {
  std::string base;  // the newest backup that the log can be replayed onto; empty: none
  // First the end of the log that leads on from it, then, when there is a gap, the end of what lies behind.
  std::vector<WalPlace> places;
  std::string mark;  // the newest one's key of the timeline's epoch; may be empty
  // Pieces of the timeline that lie within others, each with the one it lies in.
  std::vector<std::pair<PieceName, PieceName>> contained;
};
// `history`: of `timeline`, as the repository has it.
Result<Resume> find_resume(const repo::RepositoryPtr& repo, const Context& ctx, const std::string& source,
                           uint64_t system_id, db::Timeline timeline,
                           const std::vector<db::HistoryEntry>& history, uint32_t segment_size);

}  // namespace varve::backup::postgres
