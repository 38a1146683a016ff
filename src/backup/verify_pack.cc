#include "backup/verify_pack.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"

namespace varve::backup {
namespace {

constexpr uint64_t kUnsummed = 24;  // checksum and magic, at the end of the footer

// Cuts a stream of a pack's bytes into frames and tries each.
class FrameChecker {
 public:
  FrameChecker(const repo::Repository& repo, const repo::PackFile& pack)
      : index_(pack.index()), sealer_(repo, pack.footer().id), hasher_(repo.page_hasher()) {}

  void feed(ByteView part) {
    while (!part.empty() && next_ < index_.frames().size()) {
      const repo::FrameInfo& frame = index_.frames()[next_];
      if (position_ < frame.offset) {  // the header
        const size_t skip = std::min<uint64_t>(part.size(), frame.offset - position_);
        advance(part, skip);
        continue;
      }
      const size_t take = std::min<size_t>(part.size(), frame.stored - pending_.size());
      if (pending_.empty() && take == frame.stored) {
        check(part.first(take));
      } else {
        append(pending_, part.first(take));
        if (pending_.size() == frame.stored) {
          check(pending_);
          pending_.clear();
        }
      }
      advance(part, take);
    }
  }

  // Numbers of frames that cannot be read.
  const std::vector<uint32_t>& bad() const { return bad_; }
  // Of frames that authenticate, but hold other pages than the index says.
  const std::vector<uint32_t>& false_pages() const { return false_pages_; }

 private:
  void advance(ByteView& part, size_t n) {
    part = part.subspan(n);
    position_ += n;
  }

  void check(ByteView stored) {
    const repo::FrameInfo& frame = index_.frames()[next_];
    plain_.resize(frame.plain);
    if (!repo::decode_frame(sealer_, decompressor_, frame, next_, stored, plain_)) {
      bad_.push_back(next_);
    } else if (frame.kind == repo::FrameKind::kPages) {
      for (uint32_t s = frame.first_slot; s < frame.first_slot + frame.slots; ++s) {
        if (hasher_(index_.slot(plain_, s)) == index_.page_id(s)) continue;
        false_pages_.push_back(next_);
        break;
      }
    }
    ++next_;
  }

  const repo::PackIndex& index_;
  repo::PackSealer sealer_;
  codec::PageHasher hasher_;
  codec::Decompressor decompressor_;
  Buffer pending_, plain_;
  uint64_t position_ = 0;
  uint32_t next_ = 0;
  std::vector<uint32_t> bad_, false_pages_;
};

struct Streamed {
  uint64_t size = 0;
  codec::Checksum sum{};  // of all but the last 24 bytes
  Buffer end;             // the last 64 bytes
};

Result<Streamed> stream(const repo::Repository& repo, const Context& ctx, const std::string& key,
                        uint64_t size, FrameChecker* frames, Progress& progress) {
  Streamed out;
  codec::Checksummer sum;
  const uint64_t summed = size - kUnsummed;
  uint64_t at = 0;
  TRY_ASSIGN(out.size, repo.store().get(ctx, key, {}, [&](ByteView part) -> Result<> {
    if (at < summed) sum.update(part.first(std::min<uint64_t>(part.size(), summed - at)));
    if (frames) frames->feed(part);
    at += part.size();
    append(out.end, part.last(std::min(part.size(), repo::kPackFooterSize)));
    if (out.end.size() > repo::kPackFooterSize)
      out.end.erase(out.end.begin(), out.end.end() - repo::kPackFooterSize);
    progress.done_bytes += part.size();
    progress.stored_bytes += part.size();
    return ctx.check();
  }));
  out.sum = sum.finish();
  if (at != out.size) out.size = at;  // a store that says one thing and sends another
  return out;
}

// The object is whole by itself, yet not what should be here: another one of ours, or nobody's we know.
Result<Damage> exchanged(const repo::Repository& repo, const Context& ctx, const repo::PackFooter& footer,
                         const std::string& key, uint64_t size) {
  const repo::FrameInfo info{footer.index_offset,
                             footer.index_stored,
                             footer.index_plain,
                             repo::FrameKind::kIndex,
                             footer.index_codec,
                             0,
                             1};
  auto sealed = store::get_bytes(repo.store(), ctx, key, size, {footer.index_offset, footer.index_stored});
  if (!sealed) return damage_of(repo, ctx, key, sealed.error());
  repo::PackSealer sealer(repo, footer.id);
  codec::Decompressor decompressor;
  Buffer plain(footer.index_plain);
  if (!repo::decode_frame(sealer, decompressor, info, repo::PackSealer::kIndexNonce, *sealed, plain))
    return Damage{"foreign",
                  "is whole, but was not made by this repository: it belongs to another, or is forged"};
  auto index = repo::PackIndex::decode(plain, key, footer.index_offset);
  if (!index) return Damage{"swapped", "holds another object: " + index.error().describe()};
  return Damage{"swapped", "is whole, but its backups wrote another object under this name"};
}

// Joins frames that follow each other into ranges, of slots and, for people, of bytes.
std::string mark_bad(const repo::PackIndex& index, const std::vector<uint32_t>& frames, PackState& state) {
  constexpr size_t kNamed = 3;
  const auto& all = index.frames();
  struct Range {
    uint64_t begin, end;
  };
  std::vector<Range> ranges;
  for (uint32_t f : frames) {
    const auto& frame = all[f];
    if (!ranges.empty() && ranges.back().end == frame.offset) {
      ranges.back().end += frame.stored;
    } else {
      ranges.push_back({frame.offset, frame.offset + frame.stored});
    }
    state.bad.push_back({frame.first_slot, frame.first_slot + frame.slots});
  }
  std::sort(state.bad.begin(), state.bad.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string out = fmt::format("{} of {} frames, in {} byte range{} (", frames.size(), all.size(),
                                ranges.size(), ranges.size() == 1 ? "" : "s");
  for (size_t i = 0; i < std::min(ranges.size(), kNamed); ++i)
    out += fmt::format("{}{} to {}", i ? ", " : "", ranges[i].begin, ranges[i].end - 1);
  return out + (ranges.size() > kNamed ? ", …)" : ")");
}

Damage wrong_size(uint64_t stored, uint64_t expected) {
  if (stored < expected)
    return {"truncated",
            fmt::format("only {} of its {} bytes are left", human_count(stored), human_count(expected))};
  return {"damaged",
          fmt::format("has {} bytes where {} were written", human_count(stored), human_count(expected))};
}

// Of a piece whose size nobody wrote down elsewhere: cut off, or changed at its end?
Damage bad_end(const Streamed& got) {
  const ByteView sum = ByteView(got.end).subspan(40, 16);
  if (std::equal(sum.begin(), sum.end(), got.sum.begin())) return {"damaged", "its last bytes were changed"};
  return {"truncated", "its end is missing or destroyed"};
}

}  // namespace

bool PackState::is_bad(uint32_t ordinal) const {
  if (lost) return true;
  auto after = std::upper_bound(bad.begin(), bad.end(), ordinal,
                                [](uint32_t o, const Slots& s) { return o < s.first; });
  return after != bad.begin() && ordinal < (after - 1)->end;
}

Result<PackState> check_pack(const repo::Repository& repo, const Context& ctx, const std::string& key,
                             uint64_t stored_size, const std::optional<repo::PackInfo>& expected, bool decode,
                             Progress& progress) {
  PackState state;
  const auto lost = [&](Damage d) {
    state.damage = std::move(d);
    state.lost = true;
    return state;
  };
  if (expected && stored_size != expected->size) return lost(wrong_size(stored_size, expected->size));
  if (stored_size < repo::kPackHeaderSize + repo::kPackFooterSize)
    return lost({"truncated", fmt::format("only {} bytes of it are left", stored_size)});

  std::shared_ptr<const repo::PackFile> pack;
  std::optional<FrameChecker> frames;
  if (decode) {
    auto opened = repo::PackFile::open(repo, ctx, key, stored_size, expected);
    if (!opened && opened.error().code != Code::kDamaged) {
      TRY_ASSIGN(Damage d, damage_of(repo, ctx, key, opened.error()));
      return lost(std::move(d));
    }
    if (opened) {
      pack = *opened;
      frames.emplace(repo, *pack);
    }
  }
  auto streamed = stream(repo, ctx, key, stored_size, frames ? &*frames : nullptr, progress);
  if (!streamed) {
    TRY_ASSIGN(Damage d, damage_of(repo, ctx, key, streamed.error()));
    return lost(std::move(d));
  }
  if (streamed->size != stored_size) return lost(wrong_size(streamed->size, stored_size));

  auto footer = repo::parse_footer(streamed->end, stored_size);
  if (!footer)
    return lost(expected ? Damage{"damaged", "its last bytes, which tell where everything is, were changed"}
                         : bad_end(*streamed));
  const bool intact = streamed->sum == footer->checksum;
  const bool as_expected =
      !expected || (footer->checksum == expected->checksum && footer->id == expected->id);
  if (decode ? !pack : !as_expected) {
    if (intact) {
      TRY_ASSIGN(Damage d, exchanged(repo, ctx, *footer, key, stored_size));
      return lost(std::move(d));
    }
    return lost({"damaged",
                 "its index, without which nothing in it can be found, does not authenticate: damaged or "
                 "forged"});
  }
  if (intact && (!frames || (frames->bad().empty() && frames->false_pages().empty()))) return state;
  if (!frames) return lost({"damaged", "its checksum does not match its bytes"});
  if (!frames->bad().empty()) {
    const std::string where = mark_bad(pack->index(), frames->bad(), state);
    state.damage = Damage{"damaged", fmt::format("{} do not authenticate: damaged or forged", where)};
  } else if (!frames->false_pages().empty()) {
    const std::string where = mark_bad(pack->index(), frames->false_pages(), state);
    state.damage = Damage{"damaged", fmt::format("{} hold other pages than its index says", where)};
  } else {
    state.damage = Damage{"damaged",
                          "bytes that no restore reads were changed: everything in it can be restored, but "
                          "its medium is not to be trusted"};
  }
  return state;
}

}  // namespace varve::backup
