// Reads slots back out of packs and log pieces: few large requests, frames decoded side by side, bounded
// memory.
#pragma once

#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/context.h"
#include "base/progress.h"
#include "repo/pack.h"

namespace varve::repo {

// One pack object, its index read and checked against its name, its size and what the manifest says of it.
class PackFile {
 public:
  // expected: from the manifest; without it (log pieces), only the size is known.
  static Result<std::shared_ptr<const PackFile>> open(const Repository& repo, const Context& ctx,
                                                      const store::Key& key, uint64_t size,
                                                      const std::optional<PackInfo>& expected);
  const PackIndex& index() const { return index_; }
  const PackFooter& footer() const { return footer_; }
  const store::Key& key() const { return key_; }
  uint64_t size() const { return size_; }
  size_t memory() const { return index_.memory() + whole_.size(); }
  // These bytes of the object: from memory where opening a small one fetched all of it.
  Result<Buffer> read(const Repository& repo, const Context& ctx, store::Range range) const;

 private:
  static Result<std::shared_ptr<const PackFile>> open_in(const Repository& repo, store::Store& from,
                                                         const Context& ctx, const store::Key& key,
                                                         uint64_t size,
                                                         const std::optional<PackInfo>& expected);
  store::Key key_;
  uint64_t size_ = 0;
  Buffer whole_;  // of a small one
  PackFooter footer_;
  PackIndex index_;
};

struct SlotReaderOptions {
  unsigned workers = 2;            // that decode; as many requests at least are under way at once
  size_t max_request = 8u << 20;   // bytes asked for at once
  size_t in_flight = 64u << 20;    // bytes asked for by all requests that are under way
  size_t join_gap = 128u << 10;    // unneeded bytes read rather than asked around
  size_t index_cache = 48u << 20;  // bytes of decoded indexes kept
  size_t frame_cache = 8u << 20;   // decoded frames kept for read_one
};

// Thread-safe.
class SlotReader {
 public:
  SlotReader(RepositoryPtr repo, Context ctx, SlotReaderOptions options, Progress* progress);

  // Packs that may be asked for; a reference to another is kDamaged.
  void know(const std::vector<PackInfo>& packs);
  // The content of one metadata slot, of the given kind.
  Result<Buffer> read_meta(const SlotPlace& place, FrameKind kind);
  // One page; neighbours stay in a cache.
  Result<> read_page(const SlotPlace& place, MutableBytes out);

  struct Request {
    SlotPlace place;
    uint64_t tag = 0;  // the caller's: which page this is
  };
  // Receives pages, grouped by pack and frame, from several threads, in no order. Its error ends the reading.
  using Deliver = std::function<Result<>(uint64_t tag, ByteView page)>;
  // The same of `count` pages of one size at once, whose tags and bytes follow one another.
  using DeliverRow = std::function<Result<>(uint64_t tag, ByteView pages, uint32_t count)>;
  static DeliverRow one_by_one(Deliver deliver);
  // Each request's page. Of more than memory should hold at once: PageReader (page_reader.h).
  Result<> read_pages(std::vector<Request> requests, const Deliver& deliver);

  Result<std::shared_ptr<const PackFile>> pack(const PackId& id);
  uint64_t fetched_bytes() const { return fetched_; }

 private:
  friend class PageReader;
  struct Frame;
  Result<std::shared_ptr<const Buffer>> frame(const PackFile& pack, uint32_t number);
  // Neighbouring frames of one pack, in one request.
  struct Run {
    std::shared_ptr<const PackFile> file;
    uint64_t base = 0;  // of the first frame in the pack
    Buffer bytes;
    std::span<const Request> requests;  // those that it answers
  };
  // What the first of `requests` needs, and as many of the following as one request serves: all are of one
  // pack, ascending.
  Result<Run> fetch_run(const Context& ctx, std::span<const Request> requests);
  Result<> decode_run(const Run& run, codec::Decompressor& decompressor, const DeliverRow& deliver) const;

  const RepositoryPtr repo_;
  const Context ctx_;
  const SlotReaderOptions options_;
  Progress* const progress_;

  std::mutex mutex_;
  std::condition_variable opened_;
  std::unordered_set<PackId, PackIdHash> opening_;  // by some thread: the others wait for it
  std::unordered_map<PackId, PackInfo, PackIdHash> known_;
  struct CachedPack {
    std::shared_ptr<const PackFile> file;
    std::list<PackId>::iterator used;
  };
  std::unordered_map<PackId, CachedPack, PackIdHash> packs_;
  std::list<PackId> packs_used_;  // most recent first
  size_t packs_bytes_ = 0;
  struct CachedFrame {
    PackId pack;
    uint32_t number;
    std::shared_ptr<const Buffer> bytes;
  };
  std::list<CachedFrame> frames_;  // most recent first
  size_t frames_bytes_ = 0;
  std::atomic<uint64_t> fetched_{0};
};

// Frames [first, last] of one pack, fetched in one request and decoded; used for log pieces and verification.
Result<> read_frames(const Repository& repo, const Context& ctx, const PackFile& pack, uint32_t first,
                     uint32_t last, const std::function<Result<>(uint32_t frame, ByteView plain)>& deliver);

}  // namespace varve::repo
