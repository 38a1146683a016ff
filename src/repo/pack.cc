#include "repo/pack.h"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>

#include "repo/format.pb.h"

namespace varve::repo {
namespace {

constexpr std::string_view kHeaderMagic = "VARVPAK1";
constexpr std::string_view kFooterMagic = "VARVEND1";
constexpr uint32_t kMaxIndexPlain = 64u << 20;

tl::unexpected<Error> damaged(std::string what) {
  return fail(Code::kDamaged, "pack index: " + std::move(what));
}

}  // namespace

// --- index ---

Result<PackIndex> PackIndex::decode(ByteView plain, std::string_view key, uint64_t index_offset) {
  format::PackIndex p;
  if (!p.ParseFromArray(plain.data(), static_cast<int>(plain.size()))) return damaged("not readable");
  if (p.key() != key) return damaged(fmt::format("it belongs to {}, not to {}", p.key(), key));
  const int n = p.stored_size_size();
  if (p.plain_size_size() != n || p.kind_size() != n || p.codec_size() != n || p.slots_size() != n ||
      p.slot_size_size() != n)
    return damaged("columns of different lengths");
  PackIndex out;
  out.frames_.reserve(static_cast<size_t>(n));
  uint64_t offset = kPackHeaderSize;
  int next_size = 0, next_id = 0;
  for (int i = 0; i < n; ++i) {
    FrameInfo f{offset,
                p.stored_size(i),
                p.plain_size(i),
                static_cast<FrameKind>(p.kind(i)),
                static_cast<codec::Kind>(p.codec(i)),
                static_cast<uint32_t>(out.slot_offsets_.size()),
                p.slots(i)};
    if (p.kind(i) > 255 || p.codec(i) > 255 || f.plain > kMaxFramePlain || f.slots == 0)
      return damaged("a frame's numbers are impossible");
    if (f.slots > kMaxPackSlots - out.slot_offsets_.size()) return damaged("it has too many slots");
    if (f.stored < Sealer::kOverhead || offset + f.stored > index_offset)
      return damaged("frames leave the pack");
    uint64_t at = 0;
    for (uint32_t s = 0; s < f.slots; ++s) {
      uint32_t size = p.slot_size(i);
      if (size == 0) {
        if (next_size >= p.slot_sizes_size()) return damaged("slot sizes are missing");
        size = p.slot_sizes(next_size++);
      }
      if (at + size > f.plain) return damaged("slots leave their frame");
      out.slot_offsets_.push_back(static_cast<uint32_t>(at));
      at += size;
      if (f.kind == FrameKind::kPages) {
        if (next_id >= p.page_ids_size()) return damaged("page identities are missing");
        out.ids_.push_back(p.page_ids(next_id++));
      } else {
        out.ids_.push_back(0);
      }
    }
    if (at != f.plain) return damaged("slots do not fill their frame");
    offset += f.stored;
    out.frames_.push_back(f);
  }
  if (offset != index_offset) return damaged("frames do not fill the pack");
  if (next_size != p.slot_sizes_size() || next_id != p.page_ids_size()) return damaged("columns too long");
  return out;
}

Result<uint32_t> PackIndex::frame_of(uint32_t ordinal) const {
  if (ordinal >= slots()) return fail(Code::kDamaged, fmt::format("the pack has no slot {}", ordinal));
  auto after = std::upper_bound(frames_.begin(), frames_.end(), ordinal,
                                [](uint32_t o, const FrameInfo& f) { return o < f.first_slot; });
  return static_cast<uint32_t>(after - frames_.begin() - 1);
}

uint32_t PackIndex::slot_size(uint32_t ordinal) const {
  const FrameInfo& f = frames_[*frame_of(ordinal)];
  const bool last = ordinal + 1 == f.first_slot + f.slots;
  return (last ? f.plain : slot_offsets_[ordinal + 1]) - slot_offsets_[ordinal];
}

ByteView PackIndex::slot(ByteView frame_plain, uint32_t ordinal) const {
  return frame_plain.subspan(slot_offsets_[ordinal], slot_size(ordinal));
}

// --- sealing ---

PackSealer::PackSealer(const Repository& repo, const PackId& id)
    : repo_(repo.id()), id_(id), sealer_(repo.config().encryption, [&] {
        Buffer info = to_buffer(repo.id().view());
        append(info, id.view());
        return repo.derive("varve pack 1", info);
      }()) {}

Buffer PackSealer::aad(uint64_t nonce, FrameKind kind) const {
  Buffer out = to_buffer(as_bytes(std::string_view("varve frame 1\0", 14)));
  append(out, repo_.view());
  append(out, id_.view());
  std::byte tail[9];
  store_le<uint64_t>(tail, nonce);
  tail[8] = static_cast<std::byte>(kind);
  append(out, tail);
  return out;
}

Result<> PackSealer::seal(uint64_t nonce, FrameKind kind, ByteView plain, MutableBytes out) {
  return sealer_.seal(nonce, aad(nonce, kind), plain, out);
}

Result<> PackSealer::open(uint64_t nonce, FrameKind kind, ByteView sealed, MutableBytes out) {
  return sealer_.open(nonce, aad(nonce, kind), sealed, out);
}

Result<EncodedFrame> encode_frame(PackSealer& sealer, codec::Compressor& compressor,
                                  codec::Decompressor& decompressor, uint64_t nonce, FrameKind kind,
                                  ByteView plain) {
  EncodedFrame out;
  Buffer compressed;
  TRY_ASSIGN(out.codec, compressor.compress(plain, compressed));
  out.stored.resize(compressed.size() + Sealer::kOverhead);
  TRY_OK(sealer.seal(nonce, kind, compressed, out.stored));
  Buffer back(plain.size());
  const FrameInfo info{
      0, static_cast<uint32_t>(out.stored.size()), static_cast<uint32_t>(plain.size()), kind, out.codec, 0,
      0};
  auto decoded = decode_frame(sealer, decompressor, info, nonce, out.stored, back);
  if (!decoded || !same_bytes(back, plain))
    return fail(Code::kInternal, "a frame does not decode to what was encoded",
                "this points to failing memory or a broken compression library; nothing wrong was stored");
  return out;
}

Result<> decode_frame(PackSealer& sealer, codec::Decompressor& decompressor, const FrameInfo& info,
                      uint64_t nonce, ByteView stored, MutableBytes out) {
  if (stored.size() < Sealer::kOverhead || out.size() != info.plain)
    return fail(Code::kDamaged, "a frame has the wrong size");
  Buffer compressed(stored.size() - Sealer::kOverhead);
  TRY_OK(sealer.open(nonce, info.kind, stored, compressed));
  return decompressor.decompress(info.codec, compressed, out);
}

// --- assembling ---

void PackAssembler::add(const FrameInput& input, EncodedFrame frame) {
  add(input.kind, static_cast<uint32_t>(input.bytes.size()), input.slot_sizes, input.ids, std::move(frame));
}

void PackAssembler::add(FrameKind kind, uint32_t plain, const std::vector<uint32_t>& slot_sizes,
                        const std::vector<uint64_t>& ids, EncodedFrame frame) {
  columns_.stored.push_back(static_cast<uint32_t>(frame.stored.size()));
  columns_.plain.push_back(plain);
  columns_.kind.push_back(static_cast<uint32_t>(kind));
  columns_.codec.push_back(static_cast<uint32_t>(frame.codec));
  columns_.slots.push_back(static_cast<uint32_t>(slot_sizes.size()));
  const bool uniform = slot_sizes[0] != 0 && std::all_of(slot_sizes.begin(), slot_sizes.end(),
                                                         [&](uint32_t s) { return s == slot_sizes[0]; });
  columns_.slot_size.push_back(uniform ? slot_sizes[0] : 0);
  if (!uniform) columns_.slot_sizes.insert(columns_.slot_sizes.end(), slot_sizes.begin(), slot_sizes.end());
  columns_.ids.insert(columns_.ids.end(), ids.begin(), ids.end());
  frames_.push_back(std::move(frame.stored));
}

Result<PackInfo> PackAssembler::finish(const Repository& repo, const PackId& id, const store::Key& key) {
  format::PackIndex p;
  p.set_key(key);
  const auto fill = [](auto* field, const auto& values) { field->Assign(values.begin(), values.end()); };
  fill(p.mutable_stored_size(), columns_.stored);
  fill(p.mutable_plain_size(), columns_.plain);
  fill(p.mutable_kind(), columns_.kind);
  fill(p.mutable_codec(), columns_.codec);
  fill(p.mutable_slots(), columns_.slots);
  fill(p.mutable_slot_size(), columns_.slot_size);
  fill(p.mutable_slot_sizes(), columns_.slot_sizes);
  fill(p.mutable_page_ids(), columns_.ids);
  const std::string plain = p.SerializeAsString();
  if (plain.size() > kMaxIndexPlain) return fail(Code::kInternal, "a pack's index has outgrown its bound");

  const uint64_t slots = std::accumulate(columns_.slots.begin(), columns_.slots.end(), uint64_t{0});
  if (slots > kMaxPackSlots) return fail(Code::kInternal, "a pack has more slots than a reader takes");

  PackSealer sealer(repo, id);
  codec::Compressor compressor({});
  codec::Decompressor decompressor;
  TRY_ASSIGN(EncodedFrame encoded, encode_frame(sealer, compressor, decompressor, PackSealer::kIndexNonce,
                                                FrameKind::kIndex, as_bytes(plain)));
  index_ = std::move(encoded.stored);

  uint64_t offset = kPackHeaderSize;
  parts_.push_back(as_bytes(kHeaderMagic));
  for (const Buffer& f : frames_) {
    parts_.push_back(f);
    offset += f.size();
  }
  parts_.push_back(index_);
  footer_.resize(kPackFooterSize);
  std::byte* at = footer_.data();
  store_le<uint64_t>(at, offset);
  store_le<uint32_t>(at + 8, static_cast<uint32_t>(index_.size()));
  store_le<uint32_t>(at + 12, static_cast<uint32_t>(plain.size()));
  store_le<uint32_t>(at + 16, frames());
  at[20] = static_cast<std::byte>(encoded.codec);
  at[21] = static_cast<std::byte>(repo.config().encryption);
  at[22] = at[23] = std::byte{0};
  std::copy(id.bytes.begin(), id.bytes.end(), at + 24);
  codec::Checksummer sum;
  for (ByteView part : parts_) sum.update(part);
  sum.update(ByteView(footer_).first(40));
  PackInfo info{id, offset + index_.size() + kPackFooterSize, sum.finish()};
  std::copy(info.checksum.begin(), info.checksum.end(), at + 40);
  std::memcpy(at + 56, kFooterMagic.data(), kFooterMagic.size());
  parts_.push_back(footer_);
  return info;
}

Result<PackFooter> parse_footer(ByteView b, uint64_t object_size) {
  if (b.size() != kPackFooterSize || as_text(b.subspan(56)) != kFooterMagic)
    return fail(Code::kDamaged, "the end of the pack is missing or damaged");
  PackFooter f;
  f.index_offset = load_le<uint64_t>(b.data());
  f.index_stored = load_le<uint32_t>(b.data() + 8);
  f.index_plain = load_le<uint32_t>(b.data() + 12);
  f.frames = load_le<uint32_t>(b.data() + 16);
  f.index_codec = static_cast<codec::Kind>(b[20]);
  f.encryption = static_cast<Encryption>(b[21]);
  std::copy_n(b.begin() + 24, 16, f.id.bytes.begin());
  std::copy_n(b.begin() + 40, 16, f.checksum.begin());
  if (f.index_offset < kPackHeaderSize || f.index_plain > kMaxIndexPlain ||
      f.index_stored < Sealer::kOverhead || f.index_offset > object_size ||
      f.index_offset + f.index_stored + kPackFooterSize != object_size)
    return fail(Code::kDamaged, "the pack's footer does not fit its size");
  return f;
}

}  // namespace varve::repo
