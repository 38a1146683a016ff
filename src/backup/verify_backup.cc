#include "backup/verify_backup.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"

namespace varve::backup {
namespace {

// What is remembered of shared parts and maps is bounded: beyond, they are checked again.
constexpr size_t kMostRemembered = 200'000;
constexpr size_t kMostPacksRemembered = 256;

Error damaged(std::string what) {
  return Error{Code::kDamaged, std::move(what)};
}

}  // namespace

BackupChecker::BackupChecker(repo::RepositoryPtr repo, const Context& ctx, const BadPacks& bad,
                             Findings& findings)
    : repo_(repo), ctx_(ctx), bad_(bad), findings_(findings), slots_(repo, ctx, {}, nullptr) {}

Result<> BackupChecker::add(Problems& problems, const std::string& object, const Error& error) {
  TRY_ASSIGN(const Damage damage, damage_of(*repo_, ctx_, object, error));
  problems.insert(findings_.add(object, damage));
  return {};
}

Result<std::set<Findings::Id>> BackupChecker::check(const repo::Manifest& m) {
  Problems problems;
  const std::string name = repo::manifest_key(m.source, m.id);
  std::set<repo::PackId> unlisted;
  for (const repo::FileTableRef& ref : m.tables) {
    TRY_OK(ctx_.check());
    TRY_ASSIGN(const Part part, shared_part(ref.place, m.segment_pages));
    problems.insert(part.problems.begin(), part.problems.end());
    if (part.files == 0) continue;  // could not be read
    if (part.files != ref.files || part.first_path != ref.first_path || part.last_path != ref.last_path)
      TRY_OK(add(problems, name, damaged("refers to another part of the list of files than it wrote")));
    for (const repo::PackId& id : part.packs) {
      if (!m.find_pack(id)) unlisted.insert(id);
    }
  }
  for (const repo::PackId& id : unlisted)
    TRY_OK(add(problems, name,
               damaged(fmt::format("needs {}, which it does not list: a collection may remove it",
                                   repo::pack_key(id)))));
  return problems;
}

Result<BackupChecker::Part> BackupChecker::shared_part(const repo::SlotPlace& place, uint32_t segment_pages) {
  const PartKey key{place.pack, place.ordinal, segment_pages};
  {
    std::lock_guard lock(mutex_);
    if (auto at = parts_.find(key); at != parts_.end()) return at->second;
  }
  TRY_ASSIGN(Part part, check_part(place, segment_pages));
  std::lock_guard lock(mutex_);
  if (part.packs.size() <= kMostPacksRemembered && parts_.size() < kMostRemembered) parts_[key] = part;
  return part;
}

Result<BackupChecker::Part> BackupChecker::check_part(const repo::SlotPlace& place, uint32_t segment_pages) {
  Part part;
  part.packs.insert(place.pack);
  TRY_ASSIGN(auto bytes, read_meta(place, repo::FrameKind::kFileTable, part.problems));
  if (!bytes) return part;
  auto files = repo::decode_file_table(*bytes, segment_pages);
  if (files && files->empty()) files = fail(damaged("file table: is empty"));
  if (!files) {
    TRY_OK(add(part.problems, repo::pack_key(place.pack), files.error()));
    return part;
  }
  part.files = files->size();
  part.first_path = files->front().attributes.path;
  part.last_path = files->back().attributes.path;
  for (const repo::FileRecord& file : *files) TRY_OK(check_file(file, place, segment_pages, part));
  return part;
}

Result<> BackupChecker::check_file(const repo::FileRecord& file, const repo::SlotPlace& table,
                                   uint32_t segment_pages, Part& part) {
  for (uint64_t i = 0; i < file.segments.size(); ++i) {
    const repo::Segment& segment = file.segments[i];
    part.packs.insert(segment.packs.begin(), segment.packs.end());
    Problems problems;
    if (segment.map) {
      TRY_ASSIGN(problems, check_places(*segment.map, file.attributes, repo::pack_key(table.pack)));
    } else {
      part.packs.insert(segment.slot->pack);
      TRY_ASSIGN(problems, shared_map(file, i, segment_pages));
    }
    part.problems.merge(problems);
  }
  return {};
}

Result<BackupChecker::Problems> BackupChecker::shared_map(const repo::FileRecord& file, uint64_t segment,
                                                          uint32_t segment_pages) {
  const repo::FileAttributes& a = file.attributes;
  const repo::Segment& s = file.segments[segment];
  const uint64_t first = segment * segment_pages;
  const uint32_t pages = repo::pages_in_segment(a, segment_pages, segment);
  const MapKey key{s.slot->pack, s.slot->ordinal, first, pages, a.page_size, a.page_bytes(first + pages - 1)};
  const std::string owner = repo::pack_key(s.slot->pack);
  std::vector<repo::PackId> used;
  Problems problems;
  bool known = false;
  {
    std::lock_guard lock(mutex_);
    if (auto at = maps_.find(key); at != maps_.end()) {
      std::tie(used, problems) = at->second;
      known = true;
    }
  }
  if (!known) {
    TRY_ASSIGN(auto bytes, read_meta(*s.slot, repo::FrameKind::kMapSegment, problems));
    if (bytes) {
      auto map = repo::decode_segment_map(*bytes, first, pages);
      if (map) {
        used = map->used_packs();
        TRY_ASSIGN(Problems found, check_places(*map, a, owner));
        problems.merge(found);
      } else {
        TRY_OK(add(problems, owner, map.error()));
      }
    }
    std::lock_guard lock(mutex_);
    if (maps_.size() < kMostRemembered && used.size() <= kMostPacksRemembered) maps_[key] = {used, problems};
  }
  for (const repo::PackId& id : used) {
    if (std::find(s.packs.begin(), s.packs.end(), id) == s.packs.end())
      TRY_OK(add(problems, owner,
                 damaged(fmt::format("a map of {} uses {} without naming it", printable(a.path),
                                     repo::pack_key(id)))));
  }
  return problems;
}

Result<BackupChecker::Problems> BackupChecker::check_places(const repo::SegmentMap& map,
                                                            const repo::FileAttributes& file,
                                                            const std::string& owner) {
  Problems problems;
  std::vector<std::vector<std::pair<uint32_t, uint64_t>>> by_pack(map.packs.size());
  for (uint32_t i = 0; i < map.pages.size(); ++i) {
    if (!map.is_zero(i))
      by_pack[map.pages[i].pack - 1].emplace_back(map.pages[i].ordinal, map.first_page + i);
  }
  for (size_t p = 0; p < by_pack.size(); ++p) {
    if (!by_pack[p].empty()) TRY_OK(check_in_pack(map.packs[p], by_pack[p], file, owner, problems));
  }
  return problems;
}

Result<> BackupChecker::check_in_pack(const repo::PackId& id,
                                      const std::vector<std::pair<uint32_t, uint64_t>>& places,
                                      const repo::FileAttributes& file, const std::string& owner,
                                      Problems& problems) {
  const auto bad = bad_.find(id);
  if (bad != bad_.end()) {
    for (const auto& [ordinal, page] : places) {
      if (!bad->second.state.is_bad(ordinal)) continue;
      problems.insert(bad->second.problem);
      break;
    }
    if (bad->second.state.lost) return {};
  }
  auto pack = slots_.pack(id);
  if (!pack) return add(problems, repo::pack_key(id), pack.error());
  const repo::PackIndex& index = (*pack)->index();
  for (const auto& [ordinal, page] : places) {
    auto frame = index.frame_of(ordinal);
    if (frame && index.frames()[*frame].kind == repo::FrameKind::kPages &&
        index.slot_size(ordinal) == file.page_bytes(page))
      continue;
    return add(problems, owner,
               damaged(fmt::format("the map of {} sends page {} to slot {} of {}, which holds no such page",
                                   printable(file.path), page, ordinal, repo::pack_key(id))));
  }
  return {};
}

Result<std::optional<Buffer>> BackupChecker::read_meta(const repo::SlotPlace& place, repo::FrameKind kind,
                                                       Problems& problems) {
  if (auto bad = bad_.find(place.pack); bad != bad_.end() && bad->second.state.is_bad(place.ordinal)) {
    problems.insert(bad->second.problem);
    return std::nullopt;
  }
  auto bytes = slots_.read_meta(place, kind);
  if (bytes) return std::optional(std::move(*bytes));
  TRY_OK(add(problems, repo::pack_key(place.pack), bytes.error()));
  return std::nullopt;
}

}  // namespace varve::backup
