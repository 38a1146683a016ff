// Packs: immutable objects that hold frames. A frame is some slots (pages, or one piece of metadata)
// compressed and sealed together; its index at the end of the pack says where each is. Format:
// docs/format/pack.md.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "codec/codec.h"
#include "repo/manifest.h"
#include "repo/repository.h"
#include "repo/sealer.h"

namespace varve::repo {

enum class FrameKind : uint8_t {
  kIndex = 0,
  kPages = 1,
  kMapSegment = 2,
  kFileTable = 3,
  kLogHead = 4,
  kLogPages = 5
};

inline constexpr size_t kPackHeaderSize = 8;
inline constexpr size_t kPackFooterSize = 64;
inline constexpr uint32_t kMaxPackSlots = 1u << 20;
inline constexpr uint32_t kMaxFramePlain = 64u << 20;  // a reader refuses more before allocating

// What goes into one frame. slot_sizes sum up to bytes.size(); ids: one per slot for kPages, else empty.
struct FrameInput {
  FrameKind kind = FrameKind::kPages;
  Buffer bytes;
  std::vector<uint32_t> slot_sizes;
  std::vector<uint64_t> ids;
};

struct FrameInfo {
  uint64_t offset = 0;  // in the pack
  uint32_t stored = 0, plain = 0;
  FrameKind kind{};
  codec::Kind codec{};
  uint32_t first_slot = 0, slots = 0;
};

// The index of a pack, decoded and checked: frames tile the pack, slots tile their frames.
class PackIndex {
 public:
  static Result<PackIndex> decode(ByteView plain, std::string_view key, uint64_t index_offset);

  const std::vector<FrameInfo>& frames() const { return frames_; }
  uint32_t slots() const { return static_cast<uint32_t>(slot_offsets_.size()); }
  // kDamaged when there is no such slot.
  Result<uint32_t> frame_of(uint32_t ordinal) const;
  // The bytes of a slot within its frame's plain bytes.
  ByteView slot(ByteView frame_plain, uint32_t ordinal) const;
  uint32_t slot_size(uint32_t ordinal) const;
  uint64_t page_id(uint32_t ordinal) const { return ids_[ordinal]; }  // 0 for slots of other kinds
  size_t memory() const { return frames_.size() * sizeof(FrameInfo) + slot_offsets_.size() * 12; }

 private:
  std::vector<FrameInfo> frames_;
  std::vector<uint32_t> slot_offsets_;  // within the frame
  std::vector<uint64_t> ids_;
};

// Seals and opens the frames of one pack. One thread at a time.
class PackSealer {
 public:
  PackSealer(const Repository& repo, const PackId& id);
  static constexpr uint64_t kIndexNonce = uint64_t{1} << 32;
  Result<> seal(uint64_t nonce, FrameKind kind, ByteView plain, MutableBytes out);
  Result<> open(uint64_t nonce, FrameKind kind, ByteView sealed, MutableBytes out);

 private:
  Buffer aad(uint64_t nonce, FrameKind kind) const;
  RepoId repo_;
  PackId id_;
  Sealer sealer_;
};

struct EncodedFrame {
  Buffer stored;
  codec::Kind codec{};
};
// nonce: the frame's number (kIndexNonce for the index). Compresses, seals, then opens and decompresses again
// and compares: what is stored is known to come back.
Result<EncodedFrame> encode_frame(PackSealer& sealer, codec::Compressor& compressor,
                                  codec::Decompressor& decompressor, uint64_t nonce, FrameKind kind,
                                  ByteView plain);
// out.size() == info.plain.
Result<> decode_frame(PackSealer& sealer, codec::Decompressor& decompressor, const FrameInfo& info,
                      uint64_t nonce, ByteView stored, MutableBytes out);

// Header, frames, index, footer as the parts of one put.
class PackAssembler {
 public:
  void add(const FrameInput& input, EncodedFrame frame);  // input.bytes may be gone already; plain = its size
  void add(FrameKind kind, uint32_t plain, const std::vector<uint32_t>& slot_sizes,
           const std::vector<uint64_t>& ids, EncodedFrame frame);
  // Seals the index; the object is then parts(), valid as long as this.
  Result<PackInfo> finish(const Repository& repo, const PackId& id, const store::Key& key);
  const std::vector<ByteView>& parts() const { return parts_; }
  uint32_t frames() const { return static_cast<uint32_t>(frames_.size()); }

 private:
  struct Columns {
    std::vector<uint32_t> stored, plain, kind, codec, slots, slot_size, slot_sizes;
    std::vector<uint64_t> ids;
  } columns_;
  std::vector<Buffer> frames_;
  Buffer index_, footer_;
  std::vector<ByteView> parts_;
};

struct PackFooter {
  uint64_t index_offset = 0;
  uint32_t index_stored = 0, index_plain = 0, frames = 0;
  codec::Kind index_codec{};
  Encryption encryption{};
  PackId id;
  codec::Checksum checksum{};
};
Result<PackFooter> parse_footer(ByteView last_64_bytes, uint64_t object_size);

}  // namespace varve::repo
