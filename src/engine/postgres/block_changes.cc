#include "engine/postgres/block_changes.h"

#include <algorithm>
#include <fmt/format.h>
#include <vector>

#include "engine/postgres/wal_contents.h"

namespace varve::engine::postgres {
namespace {

// Records of these may clear bits of the visibility map without saying so. Extensions may keep heaps of their
// own.
bool may_clear_visibility(uint8_t rmid) {
  return rmid == rmgr::kHeap || rmid == rmgr::kHeap2 || rmid == rmgr::kGeneric || rmid > rmgr::kLast;
}

}  // namespace

BlockChanges& BlockChanges::operator=(BlockChanges&& other) noexcept {
  block_size_ = other.block_size_;
  forks_ = std::move(other.forks_);
  whole_ = std::move(other.whole_);
  broken_ = std::move(other.broken_);
  recent_ = {};
  other.forks_.clear();
  other.recent_ = {};
  return *this;
}

BlockChanges::Forks::value_type& BlockChanges::entry(const File& file) {
  const size_t slot = (file.file.relation * 4 + static_cast<size_t>(file.fork)) % recent_.size();
  if (recent_[slot] == nullptr || recent_[slot]->first != file)
    recent_[slot] = &*forks_.try_emplace(file).first;
  return *recent_[slot];
}

void BlockChanges::mark(const File& file, uint32_t block) {
  ForkChanges& fork = entry(file).second;
  if (block < fork.limit) fork.blocks.insert(block);
}

void BlockChanges::mark_run(const File& file, uint32_t first, uint32_t length) {
  ForkChanges& fork = entry(file).second;
  if (first < fork.limit) fork.blocks.insert_run(first, std::min(length, fork.limit - first));
}

void BlockChanges::set_limit(const File& file, uint32_t limit) {
  ForkChanges& fork = entry(file).second;
  if (limit >= fork.limit) return;
  fork.limit = limit;
  fork.blocks.erase_from(limit);
}

void BlockChanges::set_whole_database(uint32_t tablespace, uint32_t database) {
  whole_.insert({tablespace, database});
}

void BlockChanges::break_coverage(std::string reason) {
  if (!broken_) broken_ = std::move(reason);
}

void BlockChanges::reset_file(const RelFile& file) {
  for (const Fork fork : {Fork::kMain, Fork::kVisibility, Fork::kInit}) set_limit({file, fork}, 0);
}

void BlockChanges::apply(int version, const WalRecord& record) {
  apply_blocks(record);
  apply_special(version, record);
}

void BlockChanges::apply_blocks(const WalRecord& record) {
  const bool map_too = may_clear_visibility(record.rmid);
  for (const BlockRef& block : record.blocks()) {
    if (block.fork == Fork::kFreeSpace) continue;
    mark({block.file, block.fork}, block.block);
    if (map_too && block.fork == Fork::kMain)
      mark({block.file, Fork::kVisibility}, block.block / heap_pages_per_map_page(block_size_));
  }
}

void BlockChanges::apply_special(int version, const WalRecord& record) {
  Result<bool> known = false;
  switch (record.rmid) {
    case rmgr::kXact:
      known = apply_xact(version, record);
      break;
    case rmgr::kSmgr:
      known = apply_smgr(record);
      break;
    case rmgr::kDatabase:
      known = apply_database(version, record);
      break;
    case rmgr::kXlog: {
      auto note = parse_server_note(version, record);
      if (!note) {
        known = fail(std::move(note).error());
      } else if (*note && (*note)->wal_level == WalLevel::kMinimal) {
        break_coverage(
            fmt::format("from {} on the server ran with wal_level=minimal", format_lsn(record.lsn)));
      }
      break;
    }
    default:
      break;
  }
  const bool special = (record.info & kSpecialUpdate) != 0;
  if (!known) {
    break_coverage(
        fmt::format("the record at {} cannot be read: {}", format_lsn(record.lsn), known.error().message));
  } else if (!*known && (special || (record.rmid > rmgr::kLast && record.rmid < rmgr::kCustom))) {
    break_coverage(
        fmt::format("the record at {} (resource manager {}, {:#04x}) changes files in a way unknown to Varve",
                    format_lsn(record.lsn), record.rmid, record.info));
  }
}

Result<bool> BlockChanges::apply_xact(int version, const WalRecord& record) {
  XactEnd end;
  TRY_ASSIGN(const bool is_end, parse_xact_end(version, record, end));
  for (const RelFile& file : end.dropped) reset_file(file);
  return is_end;
}

Result<bool> BlockChanges::apply_smgr(const WalRecord& record) {
  TRY_ASSIGN(const FileChange change, parse_file_change(record));
  if (const auto* created = std::get_if<FileCreated>(&change)) {
    if (created->fork != Fork::kFreeSpace) set_limit({created->file, created->fork}, 0);
    return true;
  }
  const auto* truncated = std::get_if<FileTruncated>(&change);
  if (truncated == nullptr) return false;
  if (truncated->main) set_limit({truncated->file, Fork::kMain}, truncated->blocks);
  // The map is cut with the heap; in the last page that stays, bits are cleared.
  if (truncated->visibility)
    set_limit({truncated->file, Fork::kVisibility}, truncated->blocks / heap_pages_per_map_page(block_size_));
  return true;
}

Result<bool> BlockChanges::apply_database(int version, const WalRecord& record) {
  TRY_ASSIGN(const auto change, parse_database_change(version, record));
  if (!change) return false;
  for (const uint32_t tablespace : change->tablespaces) set_whole_database(tablespace, change->database);
  return true;
}

void BlockChanges::merge(const BlockChanges& other) {
  for (const auto& [file, changes] : other.forks_) {
    ForkChanges& fork = entry(file).second;
    fork.limit = std::min(fork.limit, changes.limit);
    fork.blocks.merge(changes.blocks);
    if (fork.limit != ForkChanges::kNoLimit) fork.blocks.erase_from(fork.limit);
  }
  whole_.insert(other.whole_.begin(), other.whole_.end());
  if (other.broken_) break_coverage(*other.broken_);
}

const ForkChanges* BlockChanges::find(const File& file) const {
  const auto at = forks_.find(file);
  return at == forks_.end() ? nullptr : &at->second;
}

bool BlockChanges::changed(const File& file, uint32_t block) const {
  if (whole_database(file.file.tablespace, file.file.database)) return true;
  const ForkChanges* fork = find(file);
  return fork != nullptr && fork->changed(block);
}

void BlockChanges::for_each(const std::function<void(const File&, const ForkChanges&)>& visit) const {
  std::vector<const Forks::value_type*> order;
  order.reserve(forks_.size());
  for (const auto& entry : forks_)
    if (!whole_database(entry.first.file.tablespace, entry.first.file.database)) order.push_back(&entry);
  std::ranges::sort(order, {}, [](const auto* entry) { return entry->first; });
  for (const auto* entry : order) visit(entry->first, entry->second);
}

uint64_t BlockChanges::blocks() const {
  uint64_t out = 0;
  for (const auto& [file, fork] : forks_) out += fork.blocks.count();
  return out;
}

}  // namespace varve::engine::postgres
