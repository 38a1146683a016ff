// Follows a database that is not in WAL mode: there is no log to read, so every change is found by comparing
// the whole file with a table of page hashes, under a read lock that writers wait for.
#pragma once

#include "codec/codec.h"
#include "engine/sqlite/follow_one.h"

namespace varve::engine::sqlite {

class JournalFollower : public DatabaseFollower {
 public:
  JournalFollower(const DatabaseFile& database, const FollowOptions& options);
  Result<> start(const Context& ctx, const Snapshot& state) override;
  Result<std::optional<std::string>> resume(const Context& ctx, const CapturedDatabase& after) override;
  Result<Look> look(const Context& ctx, BatchBuilder& batch) override;

 private:
  Result<Look> compare(const Context& ctx, BatchBuilder& batch);
  Result<> for_each_page(const Context& ctx, const Snapshot& state,
                         const std::function<bool(uint32_t page, ByteView content)>& visit) const;

  DatabaseFile database_;
  FollowOptions options_;
  codec::PageHasher hasher_;
  std::vector<uint64_t> hashes_;  // of page 1 …
  uint32_t page_size_ = 0;
  Buffer seen_header_;  // as it stood at the last comparison
  SharedFile file_;
  os::FileStatus status_;
  SteadyClock::time_point not_before_ = {};
};

}  // namespace varve::engine::sqlite
