// One backup's tables of files and page maps followed to every page's place. Part of verify.
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <tuple>
#include <unordered_map>

#include "backup/verify_pack.h"
#include "repo/file_table.h"

namespace varve::backup {

// A pack in which something cannot be read.
struct BadPack {
  PackState state;
  Findings::Id problem = 0;
};
using BadPacks = std::unordered_map<repo::PackId, BadPack, repo::PackIdHash>;

// Thread-safe. What several backups share is checked once.
class BackupChecker {
 public:
  BackupChecker(repo::RepositoryPtr repo, const Context& ctx, const BadPacks& bad, Findings& findings);

  // What the backups of all manifests are in; before check().
  void know(const std::vector<repo::PackInfo>& packs) { slots_.know(packs); }
  // The problems that keep this backup from being restored.
  Result<std::set<Findings::Id>> check(const repo::Manifest& manifest);

 private:
  using Problems = std::set<Findings::Id>;
  struct Part {
    uint64_t files = 0;
    std::string first_path, last_path;
    std::set<repo::PackId> packs;  // that it and its maps name
    Problems problems;
  };
  Result<Part> check_part(const repo::SlotPlace& place, uint32_t segment_pages);
  Result<Part> shared_part(const repo::SlotPlace& place, uint32_t segment_pages);
  Result<> check_file(const repo::FileRecord& file, const repo::SlotPlace& table, uint32_t segment_pages,
                      Part& part);
  Result<Problems> shared_map(const repo::FileRecord& file, uint64_t segment, uint32_t segment_pages);
  Result<Problems> check_places(const repo::SegmentMap& map, const repo::FileAttributes& file,
                                const std::string& owner);
  Result<> check_in_pack(const repo::PackId& id, const std::vector<std::pair<uint32_t, uint64_t>>& places,
                         const repo::FileAttributes& file, const std::string& owner, Problems& problems);
  // The bytes of a slot of metadata; none when a problem stands in the way.
  Result<std::optional<Buffer>> read_meta(const repo::SlotPlace& place, repo::FrameKind kind,
                                          Problems& problems);
  Result<> add(Problems& problems, const std::string& object, const Error& error);

  const repo::RepositoryPtr repo_;
  const Context ctx_;
  const BadPacks& bad_;
  Findings& findings_;
  repo::SlotReader slots_;

  // A map's place, the pages it must cover, and their sizes.
  using MapKey = std::tuple<repo::PackId, uint32_t, uint64_t, uint32_t, uint32_t, uint32_t>;
  using PartKey = std::tuple<repo::PackId, uint32_t, uint32_t>;
  std::mutex mutex_;
  std::map<MapKey, std::pair<std::vector<repo::PackId>, Problems>> maps_;
  std::map<PartKey, Part> parts_;
};

}  // namespace varve::backup
