#include "repo/log_piece.h"

#include <fmt/format.h>

#include "repo/format.pb.h"

namespace varve::repo {
namespace {

constexpr size_t kFrameBytes =
    256u << 10;  // larger than a backup's: versions of one page compress against each other
constexpr uint64_t kReadBytes = 8u << 20;

std::string source_of(std::string_view log_key) {
  // sources/<source>/log/<epoch>/<name>
  const size_t from = log_key.find('/') + 1;
  return std::string(log_key.substr(from, log_key.find('/', from) - from));
}

std::string epoch_of(std::string_view log_key) {
  const size_t end = log_key.rfind('/');
  const size_t from = log_key.rfind('/', end - 1) + 1;
  return std::string(log_key.substr(from, end - from));
}

int64_t micros(Timestamp t) {
  return t.time_since_epoch().count();
}
Timestamp moment(int64_t us) {
  return Timestamp(std::chrono::microseconds(us));
}

}  // namespace

Result<uint64_t> LogWriter::write(const Context& ctx, const LogPieceHead& head,
                                  const std::vector<ByteView>& slots) {
  format::LogPiece m;
  m.set_source(head.source);
  m.set_epoch(head.epoch);
  m.set_first(head.first);
  m.set_last(head.last);
  m.set_first_time_us(micros(head.first_time));
  m.set_last_time_us(micros(head.last_time));
  m.set_merged(head.merged);
  m.set_engine_data(head.engine_data.data(), head.engine_data.size());
  const std::string encoded = m.SerializeAsString();

  const PackId id = pack_id(writer_, next_++);
  PackSealer sealer(*repo_, id);
  codec::Compressor compressor({});
  codec::Decompressor decompressor;
  PackAssembler assembler;
  const auto add = [&](FrameKind kind, ByteView plain, const std::vector<uint32_t>& sizes) -> Result<> {
    TRY_ASSIGN(EncodedFrame frame,
               encode_frame(sealer, compressor, decompressor, assembler.frames(), kind, plain));
    assembler.add(kind, static_cast<uint32_t>(plain.size()), sizes, {}, std::move(frame));
    return {};
  };
  TRY_OK(add(FrameKind::kLogHead, as_bytes(encoded), {static_cast<uint32_t>(encoded.size())}));
  Buffer plain;
  std::vector<uint32_t> sizes;
  for (size_t i = 0; i < slots.size(); ++i) {
    sizes.push_back(static_cast<uint32_t>(slots[i].size()));
    if (plain.empty() && slots[i].size() >= kFrameBytes) {
      TRY_OK(add(FrameKind::kLogPages, slots[i], sizes));
      sizes.clear();
      continue;
    }
    append(plain, slots[i]);
    if (plain.size() >= kFrameBytes || i + 1 == slots.size()) {
      TRY_OK(add(FrameKind::kLogPages, plain, sizes));
      plain.clear();
      sizes.clear();
    }
  }
  const store::Key key = log_piece_key(head.source, head.epoch, head.first, head.last);
  TRY_ASSIGN(PackInfo info, assembler.finish(*repo_, id, key));
  TRY_OK(repo_->store().put(ctx, key, assembler.parts(), repo_->lasting()));
  return info.size;
}

Result<LogPiece> LogPiece::open(RepositoryPtr repo, const Context& ctx, const store::Key& key,
                                uint64_t size) {
  LogPiece out;
  TRY_ASSIGN(out.file_, PackFile::open(*repo, ctx, key, size, {}));
  out.repo_ = repo;
  const auto& frames = out.file_->index().frames();
  const auto damaged = [&](const char* what) { return fail(Code::kDamaged, key + ": " + what); };
  if (frames.empty() || frames[0].kind != FrameKind::kLogHead || frames[0].slots != 1)
    return damaged("is no piece of a log");
  for (size_t i = 1; i < frames.size(); ++i) {
    if (frames[i].kind != FrameKind::kLogPages) return damaged("holds something that is no log");
  }
  format::LogPiece m;
  bool parsed = false;
  TRY_OK(read_frames(*repo, ctx, *out.file_, 0, 0, [&](uint32_t, ByteView plain) -> Result<> {
    parsed = m.ParseFromArray(plain.data(), static_cast<int>(plain.size()));
    return {};
  }));
  if (!parsed) return damaged("its head is not readable");
  TRY_ASSIGN(LogName name, parse_log_name(last_segment(key)));
  if (m.source() != source_of(key) || m.epoch() != epoch_of(key) || m.first() != name.first ||
      m.last() != name.last)
    return damaged("its head does not fit its name");
  out.head_ = {m.source(),
               m.epoch(),
               m.first(),
               m.last(),
               moment(m.first_time_us()),
               moment(m.last_time_us()),
               m.merged(),
               to_buffer(as_bytes(m.engine_data()))};
  return out;
}

LogPiece::Slots LogPiece::stored_with(uint32_t slot) const {
  const auto& frames = file_->index().frames();
  const auto after = std::upper_bound(frames.begin(), frames.end(), slot + 1,
                                      [](uint32_t s, const auto& frame) { return s < frame.first_slot; });
  const auto& frame = *(after - 1);  // the first begins with slot 0, the head
  return {frame.first_slot - 1, frame.first_slot + frame.slots - 1};
}

Result<> LogPiece::read(const Context& ctx, const std::function<bool(uint32_t)>& wanted,
                        const std::function<Result<>(uint32_t, ByteView)>& deliver) const {
  const PackIndex& index = file_->index();
  const auto& frames = index.frames();
  const auto needed = [&](uint32_t f) {
    if (!wanted) return true;
    for (uint32_t s = 0; s < frames[f].slots; ++s) {
      if (wanted(frames[f].first_slot + s - 1)) return true;
    }
    return false;
  };
  for (uint32_t f = 1; f < frames.size();) {
    if (!needed(f)) {
      ++f;
      continue;
    }
    uint32_t last = f;
    while (last + 1 < frames.size() && needed(last + 1) &&
           frames[last + 1].offset + frames[last + 1].stored - frames[f].offset <= kReadBytes)
      ++last;
    TRY_OK(ctx.check());
    TRY_OK(read_frames(*repo_, ctx, *file_, f, last, [&](uint32_t frame, ByteView plain) -> Result<> {
      for (uint32_t s = 0; s < frames[frame].slots; ++s) {
        const uint32_t ordinal = frames[frame].first_slot + s;
        if (!wanted || wanted(ordinal - 1)) TRY_OK(deliver(ordinal - 1, index.slot(plain, ordinal)));
      }
      return {};
    }));
    f = last + 1;
  }
  return {};
}

Result<> put_log_mark(const Repository& repo, const Context& ctx, const std::string& source,
                      const LogMark& mark) {
  format::LogMark m;
  m.set_source(source);
  m.set_epoch(mark.epoch);
  m.set_last(mark.last);
  m.set_covered_until_us(micros(mark.covered_until));
  m.set_ended(mark.ended);
  for (const LogMark::Unseen& unseen : mark.unseen) {
    auto* to = m.add_unseen();
    to->set_from_us(micros(unseen.from));
    to->set_to_us(micros(unseen.to));
  }
  return repo.put_object(ctx, "log-mark", log_mark_key(source, mark.epoch, mark.covered_until),
                         as_bytes(m.SerializeAsString()));
}

Result<LogMark> load_log_mark(const Repository& repo, const Context& ctx, const store::Key& key) {
  TRY_ASSIGN(Buffer plain, repo.get_object(ctx, "log-mark", key));
  format::LogMark m;
  if (!m.ParseFromArray(plain.data(), static_cast<int>(plain.size())) || m.source() != source_of(key) ||
      m.epoch() != epoch_of(key))
    return fail(Code::kDamaged, key + ": is no mark of this log");
  LogMark out{m.epoch(), m.last(), moment(m.covered_until_us()), m.ended()};
  for (const auto& unseen : m.unseen())
    out.unseen.push_back({moment(unseen.from_us()), moment(unseen.to_us())});
  return out;
}

}  // namespace varve::repo
