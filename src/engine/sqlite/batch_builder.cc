#include <algorithm>

#include "engine/sqlite/follow_one.h"

namespace varve::engine::sqlite {
namespace {

// A commit is told as made when it is seen. Seen within this time of the last look it is told well enough.
constexpr auto kTimely = std::chrono::seconds(1);

// Commits that were all found at one look share its stretch.
void add_unseen(std::vector<Stretch>& unseen, const Stretch& stretch) {
  if (!unseen.empty() && stretch.from <= unseen.back().to) {
    unseen.back().to = stretch.to;
  } else {
    unseen.push_back(stretch);
  }
}

}  // namespace

void BatchBuilder::restart(uint64_t txn, Timestamp seen) {
  batch_ = {};
  bytes_ = 0;
  next_txn_ = txn;
  seen_ = seen;
  last_time_ = std::max(last_time_, seen);
}

void BatchBuilder::add(const std::string& database, uint32_t page_size, uint64_t pages_after,
                       const WalPosition& wal, std::map<uint32_t, Buffer> pages,
                       std::vector<TableChange> changes) {
  PageSet& set = batch_.set;
  if (empty()) first_ = SteadyClock::now();
  const auto known = std::ranges::find(set.databases, database, &PageSet::Database::name);
  Commit commit;
  commit.txn = next_txn_++;
  // The order of commits is what is sure: a clock that was set back must not turn it around.
  commit.time = last_time_ = std::max(last_time_, now());
  if (commit.time - seen_ > kTimely) add_unseen(set.unseen, {seen_, commit.time});
  commit.database = static_cast<uint32_t>(known - set.databases.begin());
  if (known == set.databases.end()) set.databases.push_back({database, page_size});
  commit.pages_after = pages_after;
  commit.wal = wal;
  commit.changes = std::move(changes);
  commit.writes.reserve(pages.size());
  for (auto& [page, content] : pages) {
    commit.writes.push_back({.page = page, .slot = static_cast<uint32_t>(batch_.slots.size())});
    bytes_ += content.size();
    batch_.slots.push_back(std::move(content));
  }
  if (set.commits.empty()) {
    set.first_txn = commit.txn;
    set.first_time = commit.time;
  }
  set.last_txn = commit.txn;
  set.last_time = commit.time;
  set.commits.push_back(std::move(commit));
}

bool BatchBuilder::ripe() const {
  return full() || (!empty() && SteadyClock::now() - first_ >= options_.batch);
}

Batch BatchBuilder::take() {
  bytes_ = 0;
  return std::exchange(batch_, {});
}

}  // namespace varve::engine::sqlite
