// Writes one backup: pages in, a committed manifest out. The commit protocol is in docs/format/commit.md.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "repo/file_table.h"
#include "repo/manifest.h"
#include "repo/pack_stream.h"
#include "repo/pin.h"
#include "repo/slot_reader.h"

namespace varve::repo {

// Each incremental leaves a pack, however little changed, and each pack costs whoever compares or restores a
// request. When a parent has more than kMostSmallPacks that are smaller than a kSmallShare-th of a full one,
// what it has in these is stored anew.
inline constexpr size_t kMostSmallPacks = 32;
inline constexpr uint64_t kSmallShare = 32;

class BackupWriter {
 public:
  struct Options {
    PackStreamOptions packs;
    uint32_t segment_pages = kSegmentPages;
  };
  // Takes the pin, then reads the parent (a backup id; empty: none). kConflict when that has expired.
  static Result<std::unique_ptr<BackupWriter>> begin(RepositoryPtr repo, const Context& ctx,
                                                     const std::string& source, const std::string& parent,
                                                     const Options& options, Progress* progress);
  ~BackupWriter();  // abandons: the pin is released if it can be, packs already written are left to
                    // collection

  const std::optional<Manifest>& parent() const { return parent_; }

  // Writes the pages of one file, first to last. One thread at a time; several files may be written side by
  // side.
  class FileWriter {
   public:
    // The next page, page_bytes() long: zeros, equal to the parent's, or new.
    Result<> page(ByteView bytes);
    // The next `count` pages are known to be the parent's: not read. The parent must have them
    // (parent_pages()).
    Result<> unchanged(uint64_t count);
    // Whether a page that is known to be the parent's should go to page() all the same, to be stored anew
    // (kMostSmallPacks).
    Result<bool> folds(uint64_t page);
    // Pages of this file in the parent, 0 when it has none or its pages have another size.
    uint64_t parent_pages() const { return parent_pages_; }
    // The parent's content of a page that it has, page_bytes() long.
    Result<> parent_page(uint64_t page, MutableBytes out);
    // After the last page: the file joins the backup.
    Result<> finish();

   private:
    friend class BackupWriter;
    FileWriter(BackupWriter& backup, FileAttributes attributes)
        : backup_(backup), attributes_(std::move(attributes)) {}
    bool same_part(uint64_t part, uint64_t pages) const;
    Result<> begin_segment();
    Result<> end_segment();
    Result<> flush();
    void keep(const SlotPlace& place);
    BackupWriter& backup_;
    FileAttributes attributes_;
    std::optional<FileRecord> before_;
    uint64_t parent_pages_ = 0;
    std::vector<Segment> segments_;
    uint64_t next_ = 0;                     // page
    std::optional<SegmentMap> before_map_;  // of the segment under way
    std::vector<uint64_t> before_ids_;      // of its pages; read when first needed
    std::optional<SegmentMap> folding_;     // the parent's map that folds() looked into last
    SegmentMapBuilder map_{0};
    FrameInput frame_;               // new pages that wait for their place
    std::vector<uint32_t> waiting_;  // their indexes in map_
  };
  Result<std::unique_ptr<FileWriter>> file(const FileAttributes& attributes);

  // Fills in what the writer knows (packs, tables, writer, sizes stored) and commits. Success means: durable,
  // readable and not touched by any collection. kConflict: a collection took packs
  // meanwhile, begin anew.
  Result<Manifest> commit(Manifest draft);

  uint64_t pages_new() const { return pages_new_; }

 private:
  BackupWriter(RepositoryPtr repo, Context ctx, Pin pin, Options options, Progress* progress);
  Result<std::vector<PackInfo>> all_packs(const std::vector<PackInfo>& own) const;
  bool folds(const PackId& pack) const { return folded_.contains(pack); }

  const RepositoryPtr repo_;
  const Context ctx_;
  Pin pin_;
  const Options options_;
  std::optional<Manifest> parent_;
  PackSet folded_;  // packs of the parent that this backup refers to no more
  std::unique_ptr<SlotReader> parent_slots_;
  std::unique_ptr<FileTableReader> parent_files_;
  PackStream stream_;
  FileTableWriter table_;
  codec::PageHasher hasher_;
  std::atomic<uint64_t> pages_new_{0};
};

}  // namespace varve::repo
