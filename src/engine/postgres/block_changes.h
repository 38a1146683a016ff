// Which blocks of which relation files a stretch of the write-ahead log may have changed: what an incremental
// backup has to read. It may name more than changed, never less.
//
// Source: src/backend/postmaster/walsummarizer.c and src/common/blkreftable.c of PostgreSQL 17, and, for the
// visibility map, heapam.c: a heap record that clears bits of the map has no reference to the map's block (of
// any version to 18).
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include "engine/postgres/block_set.h"
#include "engine/postgres/wal_record.h"

namespace varve::engine::postgres {

// What holds of a relation's fork after the stretch, against its state before: block b is as it was when b is
// below `limit`, not in `blocks`, and the file had it before.
struct ForkChanges {
  static constexpr uint32_t kNoLimit = UINT32_MAX;
  uint32_t limit = kNoLimit;  // the file was made anew (0) or cut to this length: all from here on is new
  BlockSet blocks;            // all below the limit
  bool changed(uint32_t block) const { return block >= limit || blocks.contains(block); }
};

// Not asked of it, because the log does not tell, and to be taken whole: free-space maps, files that are no
// relations, files and blocks that were not there before (a file can grow by pages of zeros without a
// record). Not thread-safe.
class BlockChanges {
 public:
  struct File {
    RelFile file;
    Fork fork = Fork::kMain;
    auto operator<=>(const File&) const = default;
  };

  explicit BlockChanges(uint32_t block_size = 8192) : block_size_(block_size) {}
  BlockChanges(BlockChanges&& other) noexcept : BlockChanges() { *this = std::move(other); }
  BlockChanges& operator=(BlockChanges&& other) noexcept;

  // Records in any order: the outcome is the same. A record that changes files in a way we do not know, or
  // that cannot be read, breaks the coverage.
  void apply(int version, const WalRecord& record);
  void merge(const BlockChanges& other);
  void break_coverage(std::string reason);  // the first reason stays

  // Not empty: the log does not tell what changed, and why.
  const std::optional<std::string>& broken() const { return broken_; }

  // Every relation of it is new.
  bool whole_database(uint32_t tablespace, uint32_t database) const {
    return whole_.contains({tablespace, database});
  }
  // nullptr: nothing of it changed, unless its whole database is new. Valid until the next change.
  const ForkChanges* find(const File& file) const;
  bool changed(const File& file, uint32_t block) const;

  using Database = std::pair<uint32_t, uint32_t>;  // tablespace, database
  const std::set<Database>& whole_databases() const { return whole_; }
  // Ascending by file, without those of whole databases.
  void for_each(const std::function<void(const File&, const ForkChanges&)>& visit) const;
  size_t files() const { return forks_.size(); }
  uint64_t blocks() const;  // listed below limits
  uint32_t block_size() const { return block_size_; }

  // For building it from what was stored.
  void mark(const File& file, uint32_t block);
  void mark_run(const File& file, uint32_t first, uint32_t length);
  void set_limit(const File& file, uint32_t limit);
  void set_whole_database(uint32_t tablespace, uint32_t database);

 private:
  struct Hash {
    size_t operator()(const File& f) const {
      uint64_t h = f.file.relation * 0x9e3779b97f4a7c15u;
      h = (h ^ f.file.database) * 0xc2b2ae3d27d4eb4fu;
      h = (h ^ f.file.tablespace ^ static_cast<uint64_t>(f.fork) << 32) * 0x165667b19e3779f9u;
      return h ^ h >> 29;
    }
  };
  using Forks = std::unordered_map<File, ForkChanges, Hash>;

  Forks::value_type& entry(const File& file);
  void reset_file(const RelFile& file);
  void apply_blocks(const WalRecord& record);
  void apply_special(int version, const WalRecord& record);
  Result<bool> apply_xact(int version, const WalRecord& record);
  Result<bool> apply_smgr(const WalRecord& record);
  Result<bool> apply_database(int version, const WalRecord& record);

  uint32_t block_size_;
  Forks forks_;
  std::set<Database> whole_;
  std::optional<std::string> broken_;
  // The files that the records before were about: entries of forks_ stay where they are.
  std::array<Forks::value_type*, 64> recent_{};
};

}  // namespace varve::engine::postgres
