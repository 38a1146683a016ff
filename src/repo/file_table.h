// The list of a backup's files, kept in parts: a million files must not mean a gigabyte.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "repo/pack_stream.h"
#include "repo/page_map.h"
#include "repo/slot_reader.h"

namespace varve::repo {

struct FileAttributes {
  std::string path;   // relative, '/'-separated
  uint32_t type = 0;  // 0 regular, 1 directory, 2 symbolic link
  uint64_t size = 0;
  uint32_t page_size = 0;  // > 0 for regular files
  uint32_t mode = 0, uid = 0, gid = 0;
  int64_t mtime_us = 0;
  std::string link_target;

  uint64_t pages() const { return page_size ? (size + page_size - 1) / page_size : 0; }
  // Bytes of page i (the last may be short).
  uint32_t page_bytes(uint64_t page) const {
    const uint64_t left = size - page * page_size;
    return left < page_size ? static_cast<uint32_t>(left) : page_size;
  }
};

// One segment of a file as a table tells it: a map elsewhere, or here.
struct Segment {
  std::optional<SlotPlace> slot;  // of a kMapSegment frame
  std::vector<PackId> packs;      // every pack its pages are in
  std::optional<SegmentMap> map;  // when there is no slot
};

struct FileRecord {
  FileAttributes attributes;
  std::vector<Segment> segments;  // as many as segment_count()
};
uint64_t segment_count(const FileAttributes& file, uint32_t segment_pages);
uint32_t pages_in_segment(const FileAttributes& file, uint32_t segment_pages, uint64_t segment);

// Reads the files of one backup. Thread-safe.
class FileTableReader {
 public:
  FileTableReader(SlotReader& slots, const Manifest& manifest) : slots_(slots), manifest_(manifest) {}
  // nullopt: the backup has no such file. Looking up in ascending order costs each part once.
  Result<std::optional<FileRecord>> find(const std::string& path);
  // All, ascending by path.
  Result<> for_each(const std::function<Result<>(const FileRecord&)>& callback);
  Result<SegmentMap> map(const FileRecord& file, uint64_t segment);
  // The identity of each page of a map (0 for zeros). Each pack's index is looked at once, however its pages
  // are scattered: a segment may refer to more packs than fit in a cache.
  // Pages in `without` count as zeros.
  Result<std::vector<uint64_t>> page_ids(const SegmentMap& map, const PackSet& without = {});
  // The encoded part that covers exactly these paths, if there is one: a new backup may refer to it.
  Result<std::optional<std::pair<SlotPlace, Buffer>>> part(const std::string& first, const std::string& last);

 private:
  Result<std::shared_ptr<const std::vector<FileRecord>>> load(size_t part);
  SlotReader& slots_;
  const Manifest& manifest_;
  std::mutex mutex_;
  size_t cached_part_ = SIZE_MAX;
  std::shared_ptr<const std::vector<FileRecord>> cached_;
};

// Collects files in any order and writes the table. add() is thread-safe.
class FileTableWriter {
 public:
  // kConflict for a path that was added before (found by finish()).
  Result<> add(const FileRecord& file);
  // Parts equal to the parent's are referred to, not written again, but for those in `without`.
  Result<std::vector<FileTableRef>> finish(PackStream& stream, FileTableReader* parent,
                                           const PackSet& without = {});
  // Every pack that the files refer to; after finish() also those of the table's parts.
  const std::unordered_map<PackId, uint32_t, PackIdHash>& packs() const { return numbers_; }
  uint64_t files() const { return entries_.size(); }

 private:
  uint32_t number(const PackId& id);
  struct Entry {
    uint64_t offset;
    uint32_t path_size, size;  // the path, then the encoded message
  };
  std::mutex mutex_;
  std::string arena_;
  std::vector<Entry> entries_;
  std::vector<PackId> pack_ids_;  // numbers_ turned around; 1-based
  std::unordered_map<PackId, uint32_t, PackIdHash> numbers_;
};

Result<std::vector<FileRecord>> decode_file_table(ByteView bytes, uint32_t segment_pages);

}  // namespace varve::repo
