#include "repo/pack_stream.h"

#include <algorithm>
#include <fmt/format.h>

namespace varve::repo {

struct PackStream::Pack {
  PackId id;
  struct Frame {
    FrameKind kind{};
    uint32_t plain = 0;
    std::vector<uint32_t> slot_sizes;
    std::vector<uint64_t> ids;
    EncodedFrame encoded;
  };
  std::vector<Frame> frames;
  uint32_t slots = 0;
  size_t stored = 0;       // of encoded frames
  size_t raw_pending = 0;  // of frames not encoded yet: at most what they will take
  unsigned pending = 0;
  bool closed = false;
};

struct PackStream::Job {
  std::shared_ptr<Pack> pack;
  uint32_t frame = 0;
  FrameInput input;
};

namespace {
constexpr size_t kRawInFlight = 8u << 20;
// Appending goes on when so much is free again: waking for every frame costs more than the frame.
constexpr size_t kRawResume = 6u << 20;
}  // namespace

PackStream::PackStream(RepositoryPtr repo, Context ctx, const WriterId& writer, PackStreamOptions options,
                       Progress* progress)
    : repo_(std::move(repo)), ctx_(std::move(ctx)), writer_(writer), options_(options), progress_(progress) {
  for (unsigned i = 0; i < std::max(1u, options_.workers); ++i)
    threads_.emplace_back([this] { encode_jobs(); });
  for (unsigned i = 0; i < std::max(1u, options_.uploads); ++i)
    threads_.emplace_back([this] { upload_packs(); });
}

PackStream::~PackStream() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_all();
  threads_.clear();
}

Result<SlotPlace> PackStream::append(FrameInput input) {
  if (input.slot_sizes.empty() || input.bytes.size() > kMaxFramePlain)
    return fail(Code::kInternal, "a frame is empty or too large");
  std::unique_lock lock(mutex_);
  const auto slots = static_cast<uint32_t>(input.slot_sizes.size());
  const bool small = input.kind == FrameKind::kPages && input.bytes.size() < options_.frame_size / 2;
  TRY_OK(wait_for_room(lock, input.bytes.size(), slots));
  if (shared_ && (!small || shared_->bytes.size() + input.bytes.size() > options_.frame_size))
    dispatch_shared();
  if (!current_) {
    current_ = std::make_shared<Pack>();
    current_->id = pack_id(writer_, next_pack_++);
    ++packs_alive_;
  }
  Pack& pack = *current_;
  const SlotPlace place{pack.id, pack.slots};
  pack.slots += slots;
  if (!small) {
    pack.frames.emplace_back();
    push_job(current_, static_cast<uint32_t>(pack.frames.size() - 1), std::move(input));
  } else if (!shared_) {
    pack.frames.emplace_back();
    shared_ = std::move(input);
  } else {
    varve::append(shared_->bytes, input.bytes);
    shared_->slot_sizes.insert(shared_->slot_sizes.end(), input.slot_sizes.begin(), input.slot_sizes.end());
    shared_->ids.insert(shared_->ids.end(), input.ids.begin(), input.ids.end());
  }
  return place;
}

// Room for the frame in the open pack (closing it when it is full), or for another pack beside those
// uploading.
Result<> PackStream::wait_for_room(std::unique_lock<std::mutex>& lock, size_t bytes, uint32_t slots) {
  const auto full = [&] {
    const size_t expected = current_->stored + current_->raw_pending + (shared_ ? shared_->bytes.size() : 0);
    return expected + bytes > options_.pack_size || current_->slots + slots > options_.pack_slots;
  };
  const bool go = room_.wait(lock, ctx_.stop, [&] {
    if (current_ && current_->slots > 0 && full()) close_current();
    return error_ || (raw_in_flight_ < kRawInFlight && (current_ || packs_alive_ <= options_.uploads));
  });
  if (error_) return fail(*error_);
  if (!go) return fail(Code::kInterrupted, "interrupted");
  return {};
}

void PackStream::dispatch_shared() {
  if (!shared_) return;
  push_job(current_, static_cast<uint32_t>(current_->frames.size() - 1), std::move(*shared_));
  shared_.reset();
}

void PackStream::close_current() {
  dispatch_shared();
  current_->closed = true;
  if (current_->pending == 0) push_ready(current_);
  current_.reset();
}

void PackStream::push_ready(std::shared_ptr<Pack> pack) {
  ready_.push_back(std::move(pack));
  whole_.notify_one();
}

void PackStream::push_job(std::shared_ptr<Pack> pack, uint32_t frame, FrameInput input) {
  raw_in_flight_ += input.bytes.size();
  pack->raw_pending += input.bytes.size() + Sealer::kOverhead;
  ++pack->pending;
  jobs_.push_back({std::move(pack), frame, std::move(input)});
  work_.notify_one();
}

void PackStream::encode_jobs() {
  codec::Compressor compressor({codec::Kind::kZstd, options_.level});
  codec::Decompressor decompressor;
  std::optional<PackSealer> sealer;
  PackId sealer_for;
  for (;;) {
    std::unique_lock lock(mutex_);
    work_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
    if (stopping_) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();

    if (!sealer || !(sealer_for == job.pack->id)) {
      sealer.emplace(*repo_, job.pack->id);
      sealer_for = job.pack->id;
    }
    auto encoded =
        encode_frame(*sealer, compressor, decompressor, job.frame, job.input.kind, job.input.bytes);

    lock.lock();
    if (!encoded) {
      lock.unlock();
      fail_with(encoded.error());
      return;
    }
    Pack& pack = *job.pack;
    const bool was_full = raw_in_flight_ >= kRawResume;
    raw_in_flight_ -= job.input.bytes.size();
    pack.raw_pending -= job.input.bytes.size() + Sealer::kOverhead;
    pack.stored += encoded->stored.size();
    pack.frames[job.frame] = {job.input.kind, static_cast<uint32_t>(job.input.bytes.size()),
                              std::move(job.input.slot_sizes), std::move(job.input.ids), std::move(*encoded)};
    if (--pack.pending == 0 && pack.closed) push_ready(job.pack);
    if (was_full && raw_in_flight_ < kRawResume) room_.notify_all();
  }
}

void PackStream::upload_packs() {
  for (;;) {
    std::unique_lock lock(mutex_);
    whole_.wait(lock, [&] { return stopping_ || !ready_.empty(); });
    if (stopping_) return;
    auto pack = std::move(ready_.front());
    ready_.pop_front();
    lock.unlock();
    if (auto r = upload(*pack); !r) {
      fail_with(r.error());
      return;
    }
    pack.reset();  // its memory goes before another pack may be opened
    lock.lock();
    --packs_alive_;
    room_.notify_all();
  }
}

Result<> PackStream::upload(Pack& pack) {
  PackAssembler assembler;
  for (auto& f : pack.frames) assembler.add(f.kind, f.plain, f.slot_sizes, f.ids, std::move(f.encoded));
  pack.frames.clear();
  const store::Key key = pack_key(pack.id);
  TRY_ASSIGN(PackInfo info, assembler.finish(*repo_, pack.id, key));
  TRY_OK(repo_->store().put(ctx_, key, assembler.parts(), repo_->lasting()));
  stored_bytes_ += info.size;
  if (progress_) progress_->stored_bytes += info.size;
  std::lock_guard lock(mutex_);
  done_.push_back(info);
  return {};
}

void PackStream::fail_with(Error error) {
  {
    std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    stopping_ = true;
  }
  wake_all();
}

void PackStream::wake_all() {
  room_.notify_all();
  work_.notify_all();
  whole_.notify_all();
}

Result<std::vector<PackInfo>> PackStream::finish() {
  {
    std::unique_lock lock(mutex_);
    if (!error_ && current_) close_current();
    const bool go = room_.wait(lock, ctx_.stop, [&] { return error_ || packs_alive_ == 0; });
    if (error_) return fail(*error_);
    if (!go) return fail(Code::kInterrupted, "interrupted");
  }
  return std::move(done_);
}

}  // namespace varve::repo
