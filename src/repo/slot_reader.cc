#include "repo/slot_reader.h"

#include <algorithm>
#include <fmt/format.h>

#include "repo/page_reader.h"
#include "repo/replicas.h"

namespace varve::repo {
namespace {

// Most indexes fit: one request fetches footer and index together.
constexpr uint64_t kTailGuess = 128u << 10;

Error in_object(Error e, const store::Key& key) {
  if (e.code == Code::kDamaged && e.message.find(key) == std::string::npos)
    e.message = key + ": " + e.message;
  if (e.code == Code::kDamaged && e.hint.empty())
    e.hint = "run `varve verify` to see what is affected and what can still be restored";
  return e;
}

Result<Buffer> fetch_from(store::Store& store, const Context& ctx, const store::Key& key, uint64_t size,
                          store::Range range) {
  Buffer out;
  out.reserve(range.length);
  auto got = store.get(ctx, key, range, [&](ByteView part) -> Result<> {
    if (out.size() + part.size() > range.length)
      return fail(Code::kDamaged, key + ": the store sent too much");
    append(out, part);
    return {};
  });
  if (!got && got.error().code == Code::kNotFound)
    return fail(in_object(Error{Code::kDamaged, key + ": is missing from the repository"}, key));
  if (!got) return fail(got.error());
  if (*got != size)
    return fail(in_object(
        Error{Code::kDamaged, fmt::format("{}: has {} bytes in place of {}", key, *got, size)}, key));
  if (out.size() != range.length)
    return fail(in_object(Error{Code::kDamaged, key + ": the store sent too little"}, key));
  return out;
}

Result<Buffer> fetch(const Repository& repo, const Context& ctx, const store::Key& key, uint64_t size,
                     store::Range range) {
  return read_any(repo.store(), [&](store::Store& from) { return fetch_from(from, ctx, key, size, range); });
}

// One frame, of which `stored` was fetched. What does not authenticate is fetched anew where else it may be
// had.
Result<> open_frame(const Repository& repo, const Context& ctx, const PackFile& pack, uint32_t number,
                    ByteView stored, PackSealer& sealer, codec::Decompressor& decompressor,
                    MutableBytes plain) {
  const FrameInfo& frame = pack.index().frames()[number];
  auto opened = decode_frame(sealer, decompressor, frame, number, stored, plain);
  if (opened) return {};
  for (const store::StorePtr& other : repo.store().alternatives()) {
    const auto again = fetch_from(*other, ctx, pack.key(), pack.size(), {frame.offset, frame.stored});
    if (again && decode_frame(sealer, decompressor, frame, number, *again, plain)) return {};
  }
  return fail(in_object(opened.error(), pack.key()));
}

}  // namespace

Result<std::shared_ptr<const PackFile>> PackFile::open(const Repository& repo, const Context& ctx,
                                                       const store::Key& key, uint64_t size,
                                                       const std::optional<PackInfo>& expected) {
  return read_any(repo.store(), [&](store::Store& from) -> Result<std::shared_ptr<const PackFile>> {
    // A size that was only listed is that of the object there, which may be cut short.
    if (&from == &repo.store() || expected) return open_in(repo, from, ctx, key, size, expected);
    TRY_ASSIGN(const store::ObjectInfo info, from.head(ctx, key));
    return open_in(repo, from, ctx, key, info.size, expected);
  });
}

Result<std::shared_ptr<const PackFile>> PackFile::open_in(const Repository& repo, store::Store& from,
                                                          const Context& ctx, const store::Key& key,
                                                          uint64_t size,
                                                          const std::optional<PackInfo>& expected) {
  if (size < kPackHeaderSize + kPackFooterSize)
    return fail(in_object(Error{Code::kDamaged, fmt::format("{}: is too short to be a pack", key)}, key));
  const uint64_t tail = std::min(size, kTailGuess);
  TRY_ASSIGN(Buffer end, fetch_from(from, ctx, key, size, {size - tail, tail}));
  auto footer = parse_footer(ByteView(end).last(kPackFooterSize), size);
  if (!footer) return fail(in_object(footer.error(), key));
  if (footer->encryption != repo.config().encryption)
    return fail(
        in_object(Error{Code::kDamaged, key + ": is not sealed as this repository's objects are"}, key));
  if (expected && (!(footer->id == expected->id) || footer->checksum != expected->checksum))
    return fail(
        in_object(Error{Code::kDamaged, key + ": is another object than the one its backup wrote"}, key));

  ByteView sealed;
  Buffer long_index;
  if (footer->index_stored + kPackFooterSize <= tail) {
    sealed = ByteView(end).subspan(tail - kPackFooterSize - footer->index_stored, footer->index_stored);
  } else {
    TRY_ASSIGN(long_index, fetch_from(from, ctx, key, size, {footer->index_offset, footer->index_stored}));
    sealed = long_index;
  }
  PackSealer sealer(repo, footer->id);
  codec::Decompressor decompressor;
  Buffer plain(footer->index_plain);
  const FrameInfo info{footer->index_offset,
                       footer->index_stored,
                       footer->index_plain,
                       FrameKind::kIndex,
                       footer->index_codec,
                       0,
                       1};
  if (auto r = decode_frame(sealer, decompressor, info, PackSealer::kIndexNonce, sealed, plain); !r)
    return fail(in_object(r.error(), key));
  auto index = PackIndex::decode(plain, key, footer->index_offset);
  if (!index) return fail(in_object(index.error(), key));

  auto file = std::make_shared<PackFile>();
  file->key_ = key;
  file->size_ = size;
  if (tail == size) file->whole_ = std::move(end);
  file->footer_ = *footer;
  file->index_ = std::move(*index);
  return file;
}

Result<Buffer> PackFile::read(const Repository& repo, const Context& ctx, store::Range range) const {
  if (!whole_.empty()) return to_buffer(ByteView(whole_).subspan(range.offset, range.length));
  return fetch(repo, ctx, key_, size_, range);
}

Result<> read_frames(const Repository& repo, const Context& ctx, const PackFile& pack, uint32_t first,
                     uint32_t last, const std::function<Result<>(uint32_t, ByteView)>& deliver) {
  const auto& frames = pack.index().frames();
  const uint64_t begin = frames[first].offset, end = frames[last].offset + frames[last].stored;
  TRY_ASSIGN(Buffer bytes, pack.read(repo, ctx, {begin, end - begin}));
  PackSealer sealer(repo, pack.footer().id);
  codec::Decompressor decompressor;
  Buffer plain;
  for (uint32_t f = first; f <= last; ++f) {
    const ByteView stored = ByteView(bytes).subspan(frames[f].offset - begin, frames[f].stored);
    plain.resize(frames[f].plain);
    TRY_OK(open_frame(repo, ctx, pack, f, stored, sealer, decompressor, plain));
    TRY_OK(deliver(f, plain));
  }
  return {};
}

SlotReader::SlotReader(RepositoryPtr repo, Context ctx, SlotReaderOptions options, Progress* progress)
    : repo_(std::move(repo)), ctx_(std::move(ctx)), options_(options), progress_(progress) {}

void SlotReader::know(const std::vector<PackInfo>& packs) {
  std::lock_guard lock(mutex_);
  for (const PackInfo& p : packs) known_[p.id] = p;
}

Result<std::shared_ptr<const PackFile>> SlotReader::pack(const PackId& id) {
  std::unique_lock lock(mutex_);
  for (;; opened_.wait(lock)) {
    if (auto at = packs_.find(id); at != packs_.end()) {
      packs_used_.splice(packs_used_.begin(), packs_used_, at->second.used);
      return at->second.file;
    }
    if (!opening_.contains(id)) break;
  }
  const auto known = known_.find(id);
  if (known == known_.end())
    return fail(Code::kDamaged,
                fmt::format("a page map refers to {}, which its backup does not list", pack_key(id)));
  const PackInfo info = known->second;
  opening_.insert(id);
  lock.unlock();
  auto file = PackFile::open(*repo_, ctx_, pack_key(id), info.size, info);
  lock.lock();
  opening_.erase(id);
  opened_.notify_all();
  if (!file) return file;
  fetched_ += std::min<uint64_t>(info.size, kTailGuess);
  packs_used_.push_front(id);
  packs_[id] = {*file, packs_used_.begin()};
  packs_bytes_ += (*file)->memory();
  while (packs_bytes_ > options_.index_cache && packs_used_.size() > 1) {
    auto oldest = packs_.find(packs_used_.back());
    packs_bytes_ -= oldest->second.file->memory();
    packs_.erase(oldest);
    packs_used_.pop_back();
  }
  return file;
}

Result<std::shared_ptr<const Buffer>> SlotReader::frame(const PackFile& pack, uint32_t number) {
  const PackId id = pack.footer().id;
  {
    std::lock_guard lock(mutex_);
    for (auto at = frames_.begin(); at != frames_.end(); ++at) {
      if (at->number == number && at->pack == id) {
        frames_.splice(frames_.begin(), frames_, at);
        return at->bytes;
      }
    }
  }
  auto bytes = std::make_shared<Buffer>();
  TRY_OK(read_frames(*repo_, ctx_, pack, number, number, [&](uint32_t, ByteView plain) -> Result<> {
    bytes->assign(plain.begin(), plain.end());
    return {};
  }));
  fetched_ += pack.index().frames()[number].stored;
  std::lock_guard lock(mutex_);
  frames_.push_front({id, number, bytes});
  frames_bytes_ += bytes->size();
  while (frames_bytes_ > options_.frame_cache && frames_.size() > 1) {
    frames_bytes_ -= frames_.back().bytes->size();
    frames_.pop_back();
  }
  return std::shared_ptr<const Buffer>(bytes);
}

Result<Buffer> SlotReader::read_meta(const SlotPlace& place, FrameKind kind) {
  TRY_ASSIGN(auto file, pack(place.pack));
  TRY_ASSIGN(uint32_t number, file->index().frame_of(place.ordinal));
  if (file->index().frames()[number].kind != kind)
    return fail(Code::kDamaged,
                fmt::format("{}: slot {} holds something else than was asked", file->key(), place.ordinal));
  TRY_ASSIGN(auto bytes, frame(*file, number));
  return to_buffer(file->index().slot(*bytes, place.ordinal));
}

Result<> SlotReader::read_page(const SlotPlace& place, MutableBytes out) {
  TRY_ASSIGN(auto file, pack(place.pack));
  TRY_ASSIGN(uint32_t number, file->index().frame_of(place.ordinal));
  TRY_ASSIGN(auto bytes, frame(*file, number));
  ByteView page = file->index().slot(*bytes, place.ordinal);
  if (file->index().frames()[number].kind != FrameKind::kPages || page.size() != out.size())
    return fail(Code::kDamaged,
                fmt::format("{}: slot {} is not the page it should be", file->key(), place.ordinal));
  std::memcpy(out.data(), page.data(), page.size());
  return {};
}

Result<SlotReader::Run> SlotReader::fetch_run(const Context& ctx, std::span<const Request> requests) {
  Run run;
  TRY_ASSIGN(run.file, pack(requests.front().place.pack));
  const PackIndex& index = run.file->index();
  const auto& frames = index.frames();
  TRY_ASSIGN(const uint32_t first, index.frame_of(requests.front().place.ordinal));
  uint32_t last = first;
  size_t served = 0;
  for (; served < requests.size(); ++served) {
    TRY_ASSIGN(const uint32_t f, index.frame_of(requests[served].place.ordinal));
    const uint64_t reach = frames[f].offset + frames[f].stored - frames[first].offset;
    const uint64_t gap = f > last + 1 ? frames[f].offset - (frames[last].offset + frames[last].stored) : 0;
    if (f != first && (reach > options_.max_request || gap > options_.join_gap)) break;
    last = f;
  }
  run.requests = requests.first(served);
  run.base = frames[first].offset;
  const uint64_t length = frames[last].offset + frames[last].stored - run.base;
  TRY_ASSIGN(run.bytes, run.file->read(*repo_, ctx, {run.base, length}));
  fetched_ += length;
  if (progress_) progress_->stored_bytes += length;
  return run;
}

SlotReader::DeliverRow SlotReader::one_by_one(Deliver deliver) {
  return [deliver = std::move(deliver)](uint64_t tag, ByteView pages, uint32_t count) -> Result<> {
    const size_t size = pages.size() / count;
    for (uint32_t i = 0; i < count; ++i) TRY_OK(deliver(tag + i, pages.subspan(i * size, size)));
    return {};
  };
}

namespace {

// Frames decoded behind one another, so that what belongs together can be delivered together.
struct DecodedFrame {
  uint32_t number = 0;
  size_t at = 0;  // where its plain bytes begin
};
constexpr size_t kDecoded = 1u << 20;  // plain bytes, or one frame

// Those that the first of `requests` need, as many as fit.
Result<std::vector<DecodedFrame>> frames_of(const PackFile& pack,
                                            std::span<const SlotReader::Request> requests) {
  std::vector<DecodedFrame> out;
  const auto& frames = pack.index().frames();
  size_t size = 0;
  for (const SlotReader::Request& r : requests) {
    if (!out.empty() &&
        r.place.ordinal < frames[out.back().number].first_slot + frames[out.back().number].slots)
      continue;
    TRY_ASSIGN(const uint32_t f, pack.index().frame_of(r.place.ordinal));
    if (frames[f].kind != FrameKind::kPages)
      return fail(Code::kDamaged, fmt::format("{}: slot {} is no page", pack.key(), r.place.ordinal));
    if (!out.empty() && size + frames[f].plain > kDecoded) break;
    out.push_back({f, size});
    size += frames[f].plain;
  }
  return out;
}

}  // namespace

Result<> SlotReader::decode_run(const Run& run, codec::Decompressor& decompressor,
                                const DeliverRow& deliver) const {
  const PackIndex& index = run.file->index();
  const auto& frames = index.frames();
  PackSealer sealer(*repo_, run.file->footer().id);
  Buffer decoded;
  std::vector<ByteView> pages;  // of the requests in those frames
  for (auto rest = run.requests; !rest.empty(); rest = rest.subspan(pages.size())) {
    TRY_ASSIGN(const auto needed, frames_of(*run.file, rest));
    decoded.resize(needed.back().at + frames[needed.back().number].plain);
    pages.clear();
    for (const auto& [f, at] : needed) {
      const ByteView stored = ByteView(run.bytes).subspan(frames[f].offset - run.base, frames[f].stored);
      const MutableBytes plain = MutableBytes(decoded).subspan(at, frames[f].plain);
      TRY_OK(open_frame(*repo_, ctx_, *run.file, f, stored, sealer, decompressor, plain));
      const uint32_t end = frames[f].first_slot + frames[f].slots;
      while (pages.size() < rest.size() && rest[pages.size()].place.ordinal < end)
        pages.push_back(index.slot(plain, rest[pages.size()].place.ordinal));
    }
    for (size_t begin = 0, i = 1; i <= pages.size(); ++i) {
      if (i < pages.size() && rest[i].tag == rest[i - 1].tag + 1 && pages[i].size() == pages[i - 1].size() &&
          pages[i].data() == pages[i - 1].data() + pages[i - 1].size())
        continue;
      TRY_OK(deliver(rest[begin].tag, {pages[begin].data(), pages[i - 1].data() + pages[i - 1].size()},
                     static_cast<uint32_t>(i - begin)));
      begin = i;
    }
  }
  return {};
}

Result<> SlotReader::read_pages(std::vector<Request> requests, const Deliver& deliver) {
  PageReader reader(*this, one_by_one(deliver));
  TRY_OK(reader.add(std::move(requests)));
  return reader.finish();
}

}  // namespace varve::repo
