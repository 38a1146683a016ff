#include "repo/slot_reader.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/task_group.h"
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
                    ByteView stored, PackSealer& sealer, codec::Decompressor& decompressor, Buffer& plain) {
  const FrameInfo& frame = pack.index().frames()[number];
  plain.resize(frame.plain);
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
  file->footer_ = *footer;
  file->index_ = std::move(*index);
  return file;
}

Result<> read_frames(const Repository& repo, const Context& ctx, const PackFile& pack, uint32_t first,
                     uint32_t last, const std::function<Result<>(uint32_t, ByteView)>& deliver) {
  const auto& frames = pack.index().frames();
  const uint64_t begin = frames[first].offset, end = frames[last].offset + frames[last].stored;
  TRY_ASSIGN(Buffer bytes, fetch(repo, ctx, pack.key(), pack.size(), {begin, end - begin}));
  PackSealer sealer(repo, pack.footer().id);
  codec::Decompressor decompressor;
  Buffer plain;
  for (uint32_t f = first; f <= last; ++f) {
    const ByteView stored = ByteView(bytes).subspan(frames[f].offset - begin, frames[f].stored);
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
  PackInfo info;
  {
    std::lock_guard lock(mutex_);
    if (auto at = packs_.find(id); at != packs_.end()) {
      packs_used_.splice(packs_used_.begin(), packs_used_, at->second.used);
      return at->second.file;
    }
    auto known = known_.find(id);
    if (known == known_.end())
      return fail(Code::kDamaged,
                  fmt::format("a page map refers to {}, which its backup does not list", pack_key(id)));
    info = known->second;
  }
  TRY_ASSIGN(auto file, PackFile::open(*repo_, ctx_, pack_key(id), info.size, info));
  fetched_ += std::min<uint64_t>(info.size, kTailGuess);
  std::lock_guard lock(mutex_);
  if (!packs_.contains(id)) {
    packs_used_.push_front(id);
    packs_[id] = {file, packs_used_.begin()};
    packs_bytes_ += file->index().memory();
    while (packs_bytes_ > options_.index_cache && packs_used_.size() > 1) {
      auto oldest = packs_.find(packs_used_.back());
      packs_bytes_ -= oldest->second.file->index().memory();
      packs_.erase(oldest);
      packs_used_.pop_back();
    }
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

// All of one pack: joins neighbouring frames into requests and delivers what was asked of each.
template <typename It>
Result<> SlotReader::read_group(It begin, It end, const Deliver& deliver, codec::Decompressor& decompressor) {
  TRY_ASSIGN(auto file, pack(begin->place.pack));
  const PackIndex& index = file->index();
  const auto& frames = index.frames();
  PackSealer sealer(*repo_, begin->place.pack);
  Buffer plain;
  while (begin != end) {
    TRY_OK(ctx_.check());
    TRY_ASSIGN(uint32_t first, index.frame_of(begin->place.ordinal));
    // How far one request reaches.
    uint32_t last = first;
    It stop = begin;
    for (; stop != end; ++stop) {
      TRY_ASSIGN(uint32_t f, index.frame_of(stop->place.ordinal));
      const uint64_t reach = frames[f].offset + frames[f].stored - frames[first].offset;
      const uint64_t gap = f > last + 1 ? frames[f].offset - (frames[last].offset + frames[last].stored) : 0;
      if (f != first && (reach > options_.max_request || gap > options_.join_gap)) break;
      last = f;
    }
    const uint64_t base = frames[first].offset, length = frames[last].offset + frames[last].stored - base;
    TRY_ASSIGN(Buffer bytes, fetch(*repo_, ctx_, file->key(), file->size(), {base, length}));
    fetched_ += length;
    if (progress_) progress_->stored_bytes += length;
    while (begin != stop) {
      TRY_ASSIGN(uint32_t f, index.frame_of(begin->place.ordinal));
      if (frames[f].kind != FrameKind::kPages)
        return fail(Code::kDamaged, fmt::format("{}: slot {} is no page", file->key(), begin->place.ordinal));
      const ByteView stored = ByteView(bytes).subspan(frames[f].offset - base, frames[f].stored);
      TRY_OK(open_frame(*repo_, ctx_, *file, f, stored, sealer, decompressor, plain));
      for (; begin != stop && begin->place.ordinal < frames[f].first_slot + frames[f].slots; ++begin)
        TRY_OK(deliver(begin->tag, index.slot(plain, begin->place.ordinal)));
    }
  }
  return {};
}

Result<> SlotReader::read_pages(std::vector<Request>& requests, const Deliver& deliver) {
  std::sort(requests.begin(), requests.end(), [](const Request& a, const Request& b) {
    if (auto c = a.place.pack <=> b.place.pack; c != 0) return c < 0;
    return a.place.ordinal < b.place.ordinal;
  });
  // Parts of about equal work, cut where the pack changes or a part is full; workers take them in order.
  constexpr size_t kPart = 2048;
  std::atomic<size_t> next{0};
  std::vector<size_t> cuts{0};
  for (size_t i = 1; i < requests.size(); ++i) {
    if (!(requests[i].place.pack == requests[i - 1].place.pack) || i - cuts.back() >= kPart)
      cuts.push_back(i);
  }
  cuts.push_back(requests.size());
  const auto work = [&](const std::stop_token& stop) -> Result<> {
    codec::Decompressor decompressor;
    for (size_t i; (i = next++) + 1 < cuts.size();) {
      if (stop.stop_requested()) return {};
      if (cuts[i] == cuts[i + 1]) continue;
      TRY_OK(read_group(requests.begin() + static_cast<ptrdiff_t>(cuts[i]),
                        requests.begin() + static_cast<ptrdiff_t>(cuts[i + 1]), deliver, decompressor));
    }
    return {};
  };
  if (options_.workers <= 1 || cuts.size() <= 2) return work({});
  TaskGroup group(ctx_.stop);
  for (unsigned i = 0; i < options_.workers; ++i) group.spawn(work);
  return group.wait();
}

}  // namespace varve::repo
