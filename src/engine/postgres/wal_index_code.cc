#include "engine/postgres/wal_index_code.h"

#include <fmt/format.h>
#include <limits>

#include "engine/postgres/wal_index.pb.h"

namespace varve::engine::postgres {
namespace {

namespace pb = varve::format::postgres;

constexpr uint64_t kMaxPiece = uint64_t{1} << 40;

tl::unexpected<Error> damaged(std::string_view what) {
  return fail(Code::kDamaged, fmt::format("index of a piece of the log: {}", what));
}

void to_message(const Fragment& fragment, pb::Fragment& out) {
  out.set_bytes(fragment.bytes.data(), fragment.bytes.size());
  out.set_size(fragment.size);
}

Result<Fragment> from_message(const pb::Fragment& in, uint64_t piece) {
  if (in.size() > piece || in.bytes().size() > in.size() || in.bytes().size() > Fragment::kMaxKept ||
      (in.bytes().size() < in.size() && in.bytes().size() < Fragment::kMaxKept))
    return damaged("a fragment of an impossible size");
  return Fragment{.bytes = to_buffer(as_bytes(in.bytes())), .size = in.size()};
}

Result<WalStop> from_message(const pb::Stop& in) {
  if (in.kind() > static_cast<uint32_t>(WalStop::Kind::kUnsupported)) return damaged("an unknown end");
  return WalStop{.kind = static_cast<WalStop::Kind>(in.kind()), .lsn = in.lsn(), .reason = in.reason()};
}

Result<> decode_identity(const pb::WalIndex& in, WalIndex& out) {
  out.identity = {.system = in.system(),
                  .timeline = in.timeline(),
                  .start = in.start(),
                  .segment_size = in.segment_size(),
                  .block_size = in.block_size()};
  out.end = in.end();
  if (!valid_segment_size(in.segment_size())) return damaged("an impossible size of segments");
  const uint32_t block = in.block_size();
  if (block < 1024 || block > 32768 || (block & (block - 1)) != 0)
    return damaged("an impossible size of blocks");
  if (in.end() < in.start() || in.end() - in.start() > kMaxPiece || in.end() > UINT64_MAX / 2)
    return damaged("an impossible stretch");
  if (in.version() != 0 && (in.version() < 13 || in.version() > 18)) return damaged("an unknown version");
  out.identity.version = static_cast<int>(in.version());
  if (in.digest().size() != out.digest.size()) return damaged("no digest");
  std::memcpy(out.digest.data(), in.digest().data(), out.digest.size());
  return {};
}

Result<> decode_edges(const pb::WalIndex& in, WalIndex& out) {
  const uint64_t piece = out.end - out.identity.start;
  TRY_ASSIGN(out.head, from_message(in.head(), piece));
  TRY_ASSIGN(out.tail, from_message(in.tail(), piece));
  out.head_dropped = in.head_dropped();
  out.began_with_zeros = in.began_with_zeros();
  if (in.has_stop()) {
    TRY_ASSIGN(out.stop, from_message(in.stop()));
  }
  if (!in.has_first_record()) {
    if (out.tail.size > 0) return damaged("a last record without a first");
    return {};
  }
  out.first_record = in.first_record();
  out.first_previous = in.first_previous();
  out.last_record = in.last_record();
  out.next_record = in.next_record();
  // After a switch the next record begins where the next segment does, perhaps beyond the piece.
  const Lsn limit = align_record(out.end) + out.identity.segment_size;
  if (in.first_record() < in.start() || in.first_record() > limit || in.next_record() > limit ||
      in.next_record() < in.start() || in.last_record() > in.next_record() ||
      (out.tail.size > 0 && in.next_record() > in.end()))
    return damaged("records outside of it");
  return {};
}

}  // namespace

Buffer encode(const WalIndex& index) {
  pb::WalIndex out;
  out.set_system(index.identity.system);
  out.set_timeline(index.identity.timeline);
  out.set_start(index.identity.start);
  out.set_end(index.end);
  out.set_segment_size(index.identity.segment_size);
  out.set_block_size(index.identity.block_size);
  out.set_version(static_cast<uint32_t>(index.identity.version));
  out.set_digest(index.digest.data(), index.digest.size());
  if (index.head.size > 0) to_message(index.head, *out.mutable_head());
  out.set_head_dropped(index.head_dropped);
  out.set_began_with_zeros(index.began_with_zeros);
  if (index.first_record) {
    out.set_first_record(*index.first_record);
    out.set_first_previous(index.first_previous);
    out.set_last_record(index.last_record);
    out.set_next_record(index.next_record);
  }
  if (index.tail.size > 0) to_message(index.tail, *out.mutable_tail());
  if (index.stop) {
    out.mutable_stop()->set_kind(static_cast<uint32_t>(index.stop->kind));
    out.mutable_stop()->set_lsn(index.stop->lsn);
    out.mutable_stop()->set_reason(index.stop->reason);
  }
  encode_part(index.part, out);
  Buffer bytes(out.ByteSizeLong());
  out.SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(bytes.data()));
  return bytes;
}

Result<WalIndex> decode_index(ByteView bytes) {
  pb::WalIndex in;
  if (bytes.size() > static_cast<size_t>(std::numeric_limits<int>::max()) ||
      !in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return damaged("not readable");
  WalIndex out;
  TRY_OK(decode_identity(in, out));
  TRY_OK(decode_edges(in, out));
  out.part = WalPart(out.identity.block_size);
  // A reference takes eight bytes of a record at least, and may stand for a block of the visibility map too.
  TRY_OK(decode_part(in, (out.end - out.identity.start) / 4 + 2, out.part));
  return out;
}

}  // namespace varve::engine::postgres
