#include "repo/backup_writer.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/log.h"
#include "repo/collect.h"

namespace varve::repo {
namespace {

// Small maps of small files stand in the file table; others in frames of their own, so that a table part
// stays small.
constexpr size_t kInlineMapBytes = 512;
constexpr uint64_t kInlineSegments = 4;

PackSet small_packs(const std::vector<PackInfo>& packs, uint64_t pack_size) {
  PackSet out;
  for (const PackInfo& p : packs)
    if (p.size < pack_size / kSmallShare) out.insert(p.id);
  if (out.size() <= kMostSmallPacks) out.clear();
  return out;
}

}  // namespace

BackupWriter::BackupWriter(RepositoryPtr repo, Context ctx, Pin pin, Options options, Progress* progress)
    : repo_(repo),
      ctx_(ctx),
      pin_(std::move(pin)),
      options_(options),
      stream_(repo, ctx, pin_.writer(), options.packs, progress),
      hasher_(repo->page_hasher()) {}

BackupWriter::~BackupWriter() {
  // Not ctx_: when that is stopped, the pin should still go.
  (void)pin_.release(Context{}.with_deadline(std::chrono::seconds(5)));
}

Result<std::unique_ptr<BackupWriter>> BackupWriter::begin(RepositoryPtr repo, const Context& ctx,
                                                          const std::string& source,
                                                          const std::string& parent, const Options& options,
                                                          Progress* progress) {
  TRY_ASSIGN(Pin pin, Pin::take(repo, ctx, source, "backup"));
  std::unique_ptr<BackupWriter> out(new BackupWriter(repo, ctx, std::move(pin), options, progress));
  if (!parent.empty()) {
    // Read under the pin: from now on no collection forgets what it does to its packs.
    auto read = load_manifest(*repo, ctx, source, parent);
    if (!read && read.error().code == Code::kNotFound)
      return fail(Code::kConflict,
                  fmt::format("{} of {}, which was to be built on, has expired meanwhile", parent, source),
                  "run the backup again");
    if (!read) return fail(std::move(read).error());
    out->parent_ = std::move(*read);
    if (out->parent_->segment_pages != options.segment_pages) {
      out->parent_.reset();  // maps that cannot be compared: everything is new
    } else {
      out->parent_slots_ = std::make_unique<SlotReader>(repo, ctx, SlotReaderOptions{}, nullptr);
      out->parent_slots_->know(out->parent_->packs);
      out->folded_ = small_packs(out->parent_->packs, options.packs.pack_size);
      out->parent_files_ = std::make_unique<FileTableReader>(*out->parent_slots_, *out->parent_);
    }
  }
  return out;
}

Result<std::unique_ptr<BackupWriter::FileWriter>> BackupWriter::file(const FileAttributes& attributes) {
  std::unique_ptr<FileWriter> out(new FileWriter(*this, attributes));
  if (parent_files_ && attributes.type == 0) {
    TRY_ASSIGN(out->before_, parent_files_->find(attributes.path));
    if (out->before_ && out->before_->attributes.page_size != attributes.page_size) out->before_.reset();
    if (out->before_) out->parent_pages_ = out->before_->attributes.pages();
  }
  return out;
}

Result<> BackupWriter::FileWriter::begin_segment() {
  const uint32_t per = backup_.options_.segment_pages;
  map_ = SegmentMapBuilder(next_);
  before_map_.reset();
  before_ids_.clear();
  const uint64_t segment = next_ / per;
  if (before_ && segment < before_->segments.size()) {
    TRY_ASSIGN(before_map_, backup_.parent_files_->map(*before_, segment));
  }
  return {};
}

Result<> BackupWriter::FileWriter::page(ByteView bytes) {
  const uint32_t per = backup_.options_.segment_pages;
  if (next_ >= attributes_.pages() || bytes.size() != attributes_.page_bytes(next_))
    return fail(Code::kInternal, "a page does not fit its file");
  if (next_ % per == 0) TRY_OK(begin_segment());
  const auto index = static_cast<uint32_t>(next_ % per);
  ++next_;
  if (all_zero(bytes)) {
    map_.add_zero();
  } else {
    const uint64_t id = backup_.hasher_(bytes);
    if (before_map_ && index < before_map_->pages.size() && !before_map_->is_zero(index) &&
        !backup_.folds(before_map_->place(index).pack)) {
      if (before_ids_.empty()) {
        TRY_ASSIGN(before_ids_, backup_.parent_files_->page_ids(*before_map_, backup_.folded_));
      }
      // Equal identities of pages of different length are different pages: the file's short end.
      if (before_ids_[index] == id && before_->attributes.page_bytes(next_ - 1) == bytes.size()) {
        map_.add(before_map_->place(index));
        return next_ % per == 0 || next_ == attributes_.pages() ? end_segment() : Result<>{};
      }
    }
    if (frame_.bytes.size() + bytes.size() > backup_.options_.packs.frame_size) TRY_OK(flush());
    append(frame_.bytes, bytes);
    frame_.slot_sizes.push_back(static_cast<uint32_t>(bytes.size()));
    frame_.ids.push_back(id);
    waiting_.push_back(map_.size());
    map_.add_zero();  // until its place is known
    ++backup_.pages_new_;
  }
  return next_ % per == 0 || next_ == attributes_.pages() ? end_segment() : Result<>{};
}

// Whether the parent has the same `pages` pages, as one part, and no more.
bool BackupWriter::FileWriter::same_part(uint64_t part, uint64_t pages) const {
  if (!before_ || part >= before_->segments.size()) return false;
  const uint32_t per = backup_.options_.segment_pages;
  const uint64_t last = part * per + pages - 1;
  if (const auto& slot = before_->segments[part].slot; slot && backup_.folds(slot->pack)) return false;
  return pages_in_segment(before_->attributes, per, part) == pages &&
         before_->attributes.page_bytes(last) == attributes_.page_bytes(last);
}

Result<> BackupWriter::FileWriter::unchanged(uint64_t count) {
  const uint32_t per = backup_.options_.segment_pages;
  while (count > 0) {
    // A whole part: its map need not even be read.
    const uint64_t part = std::min<uint64_t>(per, attributes_.pages() - std::min(next_, attributes_.pages()));
    if (next_ % per == 0 && part > 0 && count >= part && same_part(next_ / per, part)) {
      segments_.push_back(before_->segments[next_ / per]);
      next_ += part;
      count -= part;
      continue;
    }
    --count;
    if (next_ >= parent_pages_ || next_ >= attributes_.pages() ||
        before_->attributes.page_bytes(next_) != attributes_.page_bytes(next_))
      return fail(Code::kInternal, "a page called unchanged is not in the parent");
    if (next_ % per == 0) TRY_OK(begin_segment());
    const auto index = static_cast<uint32_t>(next_++ % per);
    if (before_map_->is_zero(index)) {
      map_.add_zero();
    } else {
      map_.add(before_map_->place(index));
    }
    if (next_ % per == 0 || next_ == attributes_.pages()) TRY_OK(end_segment());
  }
  return {};
}

Result<bool> BackupWriter::FileWriter::folds(uint64_t page) {
  if (backup_.folded_.empty() || page >= parent_pages_) return false;
  const uint32_t per = backup_.options_.segment_pages;
  const auto& packs = before_->segments[page / per].packs;
  if (std::none_of(packs.begin(), packs.end(), [&](const PackId& p) { return backup_.folds(p); }))
    return false;
  if (!folding_ || folding_->first_page != page / per * per) {
    TRY_ASSIGN(folding_, backup_.parent_files_->map(*before_, page / per));
  }
  const auto index = static_cast<uint32_t>(page % per);
  return !folding_->is_zero(index) && backup_.folds(folding_->place(index).pack);
}

Result<> BackupWriter::FileWriter::parent_page(uint64_t page, MutableBytes out) {
  if (page >= parent_pages_ || out.size() != before_->attributes.page_bytes(page))
    return fail(Code::kInternal, "a page is asked for that the parent does not have");
  const uint32_t per = backup_.options_.segment_pages;
  TRY_ASSIGN(const SegmentMap map, backup_.parent_files_->map(*before_, page / per));
  const auto index = static_cast<uint32_t>(page % per);
  if (map.is_zero(index)) {
    std::fill(out.begin(), out.end(), std::byte{0});
    return {};
  }
  return backup_.parent_slots_->read_page(map.place(index), out);
}

Result<> BackupWriter::FileWriter::flush() {
  if (waiting_.empty()) return {};
  FrameInput input = std::exchange(frame_, {});
  TRY_ASSIGN(SlotPlace place, backup_.stream_.append(std::move(input)));
  map_.resolve(waiting_, place);
  waiting_.clear();
  return {};
}

Result<> BackupWriter::FileWriter::end_segment() {
  TRY_OK(flush());
  SegmentMap map = map_.take();
  const size_t index = segments_.size();
  // Nothing changed: the parent's map serves.
  if (before_map_ && *before_map_ == map) {
    const Segment& before = before_->segments[index];
    if (!before.slot || !backup_.folds(before.slot->pack)) {
      segments_.push_back(before);
      return {};
    }
  }
  Segment& segment = segments_.emplace_back();
  segment.packs = map.used_packs();
  Buffer encoded = encode(map);
  if (encoded.size() <= kInlineMapBytes &&
      segment_count(attributes_, backup_.options_.segment_pages) <= kInlineSegments) {
    segment.map = std::move(map);
    return {};
  }
  const auto size = static_cast<uint32_t>(encoded.size());
  TRY_ASSIGN(segment.slot, backup_.stream_.append({FrameKind::kMapSegment, std::move(encoded), {size}, {}}));
  return {};
}

Result<> BackupWriter::FileWriter::finish() {
  if (next_ != attributes_.pages())
    return fail(Code::kIncomplete,
                fmt::format("{}: {} of {} pages were read", attributes_.path, next_, attributes_.pages()));
  return backup_.table_.add({attributes_, std::move(segments_)});
}

Result<std::vector<PackInfo>> BackupWriter::all_packs(const std::vector<PackInfo>& own) const {
  std::vector<PackInfo> out;
  std::unordered_map<PackId, PackInfo, PackIdHash> mine;
  for (const PackInfo& p : own) mine[p.id] = p;
  for (const auto& [id, number] : table_.packs()) {
    if (auto at = mine.find(id); at != mine.end()) {
      out.push_back(at->second);
    } else if (const PackInfo* p = parent_ ? parent_->find_pack(id) : nullptr) {
      out.push_back(*p);
    } else {
      return fail(Code::kInternal, "a page is in a pack that neither this backup nor its parent wrote");
    }
  }
  std::sort(out.begin(), out.end(), [](const PackInfo& a, const PackInfo& b) { return a.id < b.id; });
  return out;
}

Result<Manifest> BackupWriter::commit(Manifest m) {
  TRY_ASSIGN(m.tables, table_.finish(stream_, parent_files_.get(), folded_));
  TRY_ASSIGN(std::vector<PackInfo> own, stream_.finish());
  TRY_ASSIGN(m.packs, all_packs(own));
  m.files = table_.files();
  m.segment_pages = options_.segment_pages;
  m.pages_new = pages_new_;
  m.stored = stream_.stored_bytes();

  m.finished = now();
  TRY_ASSIGN(const uint64_t manifest_size,
             commit_manifest(*repo_, ctx_, pin_, m, parent_ ? parent_->retained_until : std::nullopt));
  m.stored += manifest_size;
  if (auto released = pin_.release(ctx_); !released)
    log::warn("the backup is complete, but its pin could not be removed: {}", released.error().describe());
  return m;
}

}  // namespace varve::repo
