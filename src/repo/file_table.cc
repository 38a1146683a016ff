#include "repo/file_table.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"
#include "repo/format.pb.h"

namespace varve::repo {
namespace {

constexpr size_t kPartFiles = 4096;
constexpr size_t kPartBytes = 256u << 10;

tl::unexpected<Error> damaged(std::string what) {
  return fail(Code::kDamaged, "file table: " + std::move(what));
}

// Restoring writes where paths say: none may leave the target.
bool safe_path(std::string_view path) {
  if (path.empty() || path.front() == '/' || path.find('\0') != std::string_view::npos) return false;
  for (std::string_view segment : split(path, '/')) {
    if (segment.empty() || segment == "." || segment == "..") return false;
  }
  return true;
}

// Part borders depend on the paths alone, so that a file that comes or goes changes one part, not all that
// follow.
bool ends_part(std::string_view path) {
  return (load_le<uint64_t>(codec::checksum(as_bytes(path)).data()) & 1023) == 0;
}

Result<FileRecord> decode_file(const format::File& f, const std::vector<PackId>& packs,
                               uint32_t segment_pages) {
  FileRecord out;
  FileAttributes& a = out.attributes;
  a = {f.path(), f.type(), f.size(),     f.page_size(),  f.mode(),
       f.uid(),  f.gid(),  f.mtime_us(), f.link_target()};
  if (!safe_path(a.path) || a.type > 2 || (a.type == 0 && a.page_size == 0) || a.page_size > kMaxFramePlain ||
      (a.type != 0 && a.size != 0))
    return damaged(fmt::format("the entry of {} is impossible", printable(a.path)));
  if (segment_count(a, segment_pages) != static_cast<uint64_t>(f.segments_size()))
    return damaged(fmt::format("the maps of {} do not cover it", printable(a.path)));
  const auto pack_at = [&](uint32_t n) -> Result<PackId> {
    if (n == 0 || n > packs.size()) return damaged("a reference to a pack that is not listed");
    return packs[n - 1];
  };
  for (int i = 0; i < f.segments_size(); ++i) {
    const format::SegmentRef& s = f.segments(i);
    Segment& segment = out.segments.emplace_back();
    for (uint32_t n : s.packs()) {
      TRY_ASSIGN(PackId id, pack_at(n));
      segment.packs.push_back(id);
    }
    if (s.has_slot()) {
      TRY_ASSIGN(PackId id, pack_at(s.slot().pack()));
      segment.slot = SlotPlace{id, s.slot().ordinal()};
    } else {
      // The numbers of the table, turned into those of the segment's own few packs.
      format::MapSegment m = s.inline_map();
      for (int r = 0; r < m.run_pack_size(); ++r) {
        if (m.run_pack(r) == 0) continue;
        TRY_ASSIGN(PackId id, pack_at(m.run_pack(r)));
        auto at = std::find(segment.packs.begin(), segment.packs.end(), id);
        if (at == segment.packs.end()) return damaged("a map uses a pack that it does not name");
        m.set_run_pack(r, static_cast<uint32_t>(at - segment.packs.begin()) + 1);
      }
      const auto index = static_cast<uint64_t>(i);
      TRY_ASSIGN(segment.map, from_message(m, segment.packs, index * segment_pages,
                                           pages_in_segment(a, segment_pages, index)));
    }
  }
  return out;
}

}  // namespace

uint64_t segment_count(const FileAttributes& file, uint32_t segment_pages) {
  return (file.pages() + segment_pages - 1) / segment_pages;
}

uint32_t pages_in_segment(const FileAttributes& file, uint32_t segment_pages, uint64_t segment) {
  return static_cast<uint32_t>(std::min<uint64_t>(segment_pages, file.pages() - segment * segment_pages));
}

Result<std::vector<FileRecord>> decode_file_table(ByteView bytes, uint32_t segment_pages) {
  format::FileTable t;
  if (!t.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return damaged("not readable");
  std::vector<PackId> packs;
  for (const std::string& id : t.packs()) {
    TRY_ASSIGN(PackId pack, PackId::from_bytes(as_bytes(id)));
    packs.push_back(pack);
  }
  std::vector<FileRecord> out;
  out.reserve(static_cast<size_t>(t.files_size()));
  for (const format::File& f : t.files()) {
    TRY_ASSIGN(FileRecord record, decode_file(f, packs, segment_pages));
    if (!out.empty() && out.back().attributes.path >= record.attributes.path)
      return damaged("files out of order");
    out.push_back(std::move(record));
  }
  return out;
}

// --- reading ---

Result<std::shared_ptr<const std::vector<FileRecord>>> FileTableReader::load(size_t part) {
  {
    std::lock_guard lock(mutex_);
    if (part == cached_part_) return cached_;
  }
  const FileTableRef& ref = manifest_.tables[part];
  TRY_ASSIGN(Buffer bytes, slots_.read_meta(ref.place, FrameKind::kFileTable));
  TRY_ASSIGN(auto files, decode_file_table(bytes, manifest_.segment_pages));
  if (files.size() != ref.files || files.empty() || files.front().attributes.path != ref.first_path ||
      files.back().attributes.path != ref.last_path)
    return damaged("a part is not the one the manifest refers to");
  auto shared = std::make_shared<const std::vector<FileRecord>>(std::move(files));
  std::lock_guard lock(mutex_);
  cached_part_ = part;
  cached_ = shared;
  return shared;
}

Result<std::optional<FileRecord>> FileTableReader::find(const std::string& path) {
  const auto& tables = manifest_.tables;
  auto at = std::lower_bound(tables.begin(), tables.end(), path,
                             [](const FileTableRef& t, const std::string& p) { return t.last_path < p; });
  if (at == tables.end() || path < at->first_path) return std::nullopt;
  TRY_ASSIGN(auto files, load(static_cast<size_t>(at - tables.begin())));
  auto file =
      std::lower_bound(files->begin(), files->end(), path,
                       [](const FileRecord& f, const std::string& p) { return f.attributes.path < p; });
  if (file == files->end() || file->attributes.path != path) return std::nullopt;
  return std::optional<FileRecord>(*file);
}

Result<> FileTableReader::for_each(const std::function<Result<>(const FileRecord&)>& callback) {
  for (size_t part = 0; part < manifest_.tables.size(); ++part) {
    TRY_ASSIGN(auto files, load(part));
    for (const FileRecord& f : *files) TRY_OK(callback(f));
  }
  return {};
}

Result<SegmentMap> FileTableReader::map(const FileRecord& file, uint64_t segment) {
  const Segment& s = file.segments[segment];
  if (s.map) return *s.map;
  TRY_ASSIGN(Buffer bytes, slots_.read_meta(*s.slot, FrameKind::kMapSegment));
  return decode_segment_map(bytes, segment * manifest_.segment_pages,
                            pages_in_segment(file.attributes, manifest_.segment_pages, segment));
}

Result<std::vector<uint64_t>> FileTableReader::page_ids(const SegmentMap& map, const PackSet& without) {
  std::vector<uint64_t> out(map.pages.size(), 0);
  std::vector<std::vector<uint32_t>> by_pack(map.packs.size());
  for (uint32_t i = 0; i < map.pages.size(); ++i) {
    if (!map.is_zero(i)) by_pack[map.pages[i].pack - 1].push_back(i);
  }
  for (size_t p = 0; p < by_pack.size(); ++p) {
    if (by_pack[p].empty() || without.contains(map.packs[p])) continue;
    TRY_ASSIGN(auto pack, slots_.pack(map.packs[p]));
    const PackIndex& index = pack->index();
    for (uint32_t i : by_pack[p]) {
      const uint32_t ordinal = map.pages[i].ordinal;
      TRY_ASSIGN(const uint32_t frame, index.frame_of(ordinal));
      if (index.frames()[frame].kind != FrameKind::kPages)
        return fail(Code::kDamaged, fmt::format("{}: slot {} is no page", pack->key(), ordinal));
      out[i] = index.page_id(ordinal);
    }
  }
  return out;
}

Result<std::optional<std::pair<SlotPlace, Buffer>>> FileTableReader::part(const std::string& first,
                                                                          const std::string& last) {
  const auto& tables = manifest_.tables;
  auto at = std::lower_bound(tables.begin(), tables.end(), first,
                             [](const FileTableRef& t, const std::string& p) { return t.first_path < p; });
  if (at == tables.end() || at->first_path != first || at->last_path != last) return std::nullopt;
  TRY_ASSIGN(Buffer bytes, slots_.read_meta(at->place, FrameKind::kFileTable));
  return std::optional(std::pair(at->place, std::move(bytes)));
}

// --- writing ---

uint32_t FileTableWriter::number(const PackId& id) {
  auto [at, added] = numbers_.try_emplace(id, static_cast<uint32_t>(pack_ids_.size()) + 1);
  if (added) pack_ids_.push_back(id);
  return at->second;
}

Result<> FileTableWriter::add(const FileRecord& file) {
  const FileAttributes& a = file.attributes;
  if (!safe_path(a.path)) return fail(Code::kInternal, "a file's path is unsafe: " + printable(a.path));
  format::File f;
  f.set_type(a.type);
  f.set_size(a.size);
  f.set_page_size(a.page_size);
  f.set_mode(a.mode);
  f.set_uid(a.uid);
  f.set_gid(a.gid);
  f.set_mtime_us(a.mtime_us);
  f.set_link_target(a.link_target);
  std::lock_guard lock(mutex_);
  for (const Segment& s : file.segments) {
    format::SegmentRef* out = f.add_segments();
    std::vector<uint32_t> numbers;
    for (const PackId& id : s.packs) numbers.push_back(number(id));
    out->mutable_packs()->Assign(numbers.begin(), numbers.end());
    if (s.slot) {
      out->mutable_slot()->set_pack(number(s.slot->pack));
      out->mutable_slot()->set_ordinal(s.slot->ordinal);
    } else {
      std::vector<uint32_t> of_map;
      for (const PackId& id : s.map->packs) of_map.push_back(number(id));
      to_message(*s.map, of_map, out->mutable_inline_map());
    }
  }
  const std::string encoded = f.SerializeAsString();
  entries_.push_back(
      {arena_.size(), static_cast<uint32_t>(a.path.size()), static_cast<uint32_t>(encoded.size())});
  arena_ += a.path;
  arena_ += encoded;
  return {};
}

Result<std::vector<FileTableRef>> FileTableWriter::finish(PackStream& stream, FileTableReader* parent,
                                                          const PackSet& without) {
  const std::string_view arena = arena_;
  const auto path = [&](const Entry& e) { return arena.substr(e.offset, e.path_size); };
  std::sort(entries_.begin(), entries_.end(),
            [&](const Entry& a, const Entry& b) { return path(a) < path(b); });

  std::vector<FileTableRef> refs;
  format::FileTable table;
  std::unordered_map<uint32_t, uint32_t> local;  // number of ours → of the part
  size_t bytes = 0;
  const auto renumber = [&](uint32_t n) -> uint32_t {
    auto [at, added] = local.try_emplace(n, static_cast<uint32_t>(local.size()) + 1);
    if (added) table.add_packs(pack_ids_[n - 1].bytes.data(), pack_ids_[n - 1].bytes.size());
    return at->second;
  };
  const auto flush = [&]() -> Result<> {
    FileTableRef ref{{},
                     table.files(0).path(),
                     table.files(table.files_size() - 1).path(),
                     static_cast<uint64_t>(table.files_size())};
    const std::string encoded = table.SerializeAsString();
    bool reused = false;
    if (parent) {
      TRY_ASSIGN(auto before, parent->part(ref.first_path, ref.last_path));
      if (before && !without.contains(before->first.pack) && as_text(before->second) == encoded) {
        ref.place = before->first;
        reused = true;
      }
    }
    if (!reused) {
      TRY_ASSIGN(ref.place, stream.append({FrameKind::kFileTable,
                                           to_buffer(as_bytes(encoded)),
                                           {static_cast<uint32_t>(encoded.size())},
                                           {}}));
    }
    number(ref.place.pack);
    refs.push_back(std::move(ref));
    table.Clear();
    local.clear();
    bytes = 0;
    return {};
  };

  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& e = entries_[i];
    if (i > 0 && path(entries_[i - 1]) == path(e))
      return fail(Code::kConflict, "two files of the backup have one path: " + printable(path(e)));
    format::File* f = table.add_files();
    if (!f->ParseFromArray(arena_.data() + e.offset + e.path_size, static_cast<int>(e.size)))
      return fail(Code::kInternal, "a file's entry does not decode");
    f->set_path(std::string(path(e)));
    for (format::SegmentRef& s : *f->mutable_segments()) {
      for (uint32_t& n : *s.mutable_packs()) n = renumber(n);
      if (s.has_slot()) s.mutable_slot()->set_pack(renumber(s.slot().pack()));
      if (s.has_inline_map()) {
        for (uint32_t& n : *s.mutable_inline_map()->mutable_run_pack()) n = n == 0 ? 0 : renumber(n);
      }
    }
    bytes += e.path_size + e.size;
    if (ends_part(path(e)) || static_cast<size_t>(table.files_size()) >= kPartFiles || bytes >= kPartBytes)
      TRY_OK(flush());
  }
  if (table.files_size() > 0) TRY_OK(flush());
  return refs;
}

}  // namespace varve::repo
