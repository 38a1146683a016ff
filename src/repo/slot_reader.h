// Reads slots back out of packs and log pieces: few large requests, frames decoded side by side, bounded
// memory.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
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

 private:
  static Result<std::shared_ptr<const PackFile>> open_in(const Repository& repo, store::Store& from,
                                                         const Context& ctx, const store::Key& key,
                                                         uint64_t size,
                                                         const std::optional<PackInfo>& expected);
  store::Key key_;
  uint64_t size_ = 0;
  PackFooter footer_;
  PackIndex index_;
};

struct SlotReaderOptions {
  unsigned workers = 2;
  size_t max_request = 8u << 20;   // bytes asked for at once
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
  // Delivers each request's page, grouped by pack and frame, from several threads, in no order. An error of
  // the callback ends it. `requests` is sorted in place.
  using Deliver = std::function<Result<>(uint64_t tag, ByteView page)>;
  Result<> read_pages(std::vector<Request>& requests, const Deliver& deliver);

  Result<std::shared_ptr<const PackFile>> pack(const PackId& id);
  uint64_t fetched_bytes() const { return fetched_; }

 private:
  struct Frame;
  Result<std::shared_ptr<const Buffer>> frame(const PackFile& pack, uint32_t number);
  template <typename It>
  Result<> read_group(It begin, It end, const Deliver& deliver, codec::Decompressor& decompressor);

  const RepositoryPtr repo_;
  const Context ctx_;
  const SlotReaderOptions options_;
  Progress* const progress_;

  std::mutex mutex_;
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
