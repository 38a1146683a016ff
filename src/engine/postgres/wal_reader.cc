#include "engine/postgres/wal_reader.h"

#include <algorithm>
#include <fmt/format.h>

#include "codec/crc32c.h"

namespace varve::engine::postgres {

WalReader::WalReader(const WalStart& start)
    : start_(start), at_(start.lsn), version_(start.version), last_record_(start.last_record) {
  const Lsn in_page = start.lsn % kWalPage;
  if (start.skipping) {
    phase_ = Phase::kSkip;
  } else if (start.at_record) {
    phase_ = Phase::kBetween;
  } else if (in_page > 0 && in_page < header_size(start.lsn - in_page)) {
    stop_here(WalStop::Kind::kUnsupported, "a stretch of the log that begins amid a page header");
  }
}

void WalReader::stop_here(WalStop::Kind kind, std::string reason) {
  const Lsn complete = phase_ == Phase::kInside ? record_lsn_ : at_;
  stop_ = WalStop{.kind = kind, .lsn = complete, .reason = std::move(reason)};
  phase_ = Phase::kStopped;
}

void WalReader::stop_at_page(Lsn page, WalStop::Kind kind, std::string reason) {
  at_ = page;
  stop_here(kind, std::move(reason));
}

std::optional<Lsn> WalReader::next_record() const {
  switch (phase_) {
    case Phase::kBetween:
      return align_record(at_);
    case Phase::kInside:
      return record_lsn_;
    case Phase::kSkip:
      return (at_ + start_.segment_size - 1) & ~uint64_t{start_.segment_size - 1};
    case Phase::kStopped:
      return stop_->lsn;
    default:
      return std::nullopt;
  }
}

Result<> WalReader::feed(ByteView bytes, const Visit& visit) {
  while (!bytes.empty() && phase_ != Phase::kStopped) {
    if (header_have_ > 0 || at_ % kWalPage == 0) {
      bytes = bytes.subspan(gather_header(bytes));
      continue;
    }
    const ByteView part = bytes.first(std::min<size_t>(bytes.size(), kWalPage - at_ % kWalPage));
    bytes = bytes.subspan(part.size());
    TRY_OK(consume(part, visit));
  }
  at_ += bytes.size();
  return {};
}

void WalReader::begin_payload_page() {
  if (at_ % kWalPage != 0) return;
  if (phase_ == Phase::kSkip && segment_offset(at_) == 0) phase_ = Phase::kBetween;
  at_ += header_size(at_);
}

bool WalReader::skip_to(Lsn lsn) {
  const bool can = phase_ == Phase::kSkip && lsn >= at_ && lsn <= *next_record();
  if (can) at_ = lsn;
  return can;
}

Result<> WalReader::feed_payload(ByteView payload, const Visit& visit) {
  while (!payload.empty() && phase_ != Phase::kStopped) {
    begin_payload_page();
    const ByteView part = payload.first(std::min<size_t>(payload.size(), kWalPage - at_ % kWalPage));
    payload = payload.subspan(part.size());
    TRY_OK(consume(part, visit));
  }
  return {};
}

Result<> WalReader::feed_missing(uint64_t bytes, const Visit& visit) {
  if (bytes == 0 || phase_ == Phase::kStopped) return {};
  if (phase_ != Phase::kInside || record_.size() < kRecordHeader || bytes > total_ - have_) {
    stop_here(WalStop::Kind::kDamaged, "what is missing is no part of one record");
    return {};
  }
  missing_ = true;
  have_ += bytes;
  while (bytes > 0) {
    begin_payload_page();
    const uint64_t part = std::min<uint64_t>(bytes, kWalPage - at_ % kWalPage);
    at_ += part;
    bytes -= part;
  }
  if (have_ == total_) return finish(record_, checksum_, visit);
  return {};
}

void WalReader::drop_partial() {
  record_.clear();
  have_ = total_ = 0;
  phase_ = Phase::kBetween;
}

// Page headers may arrive in parts.
size_t WalReader::gather_header(ByteView bytes) {
  const Lsn page = at_ - header_have_;
  const size_t size = header_size(page), n = std::min(bytes.size(), size - header_have_);
  std::memcpy(header_.data() + header_have_, bytes.data(), n);
  header_have_ += n;
  at_ += n;
  if (header_have_ < size) return n;
  header_have_ = 0;
  take_header(page, header_);
  return n;
}

void WalReader::take_header(Lsn page, const PageHeader& header) {
  if (phase_ == Phase::kSkip) {
    if (segment_offset(page) != 0) return;
    phase_ = Phase::kBetween;
  }
  if (all_zero(ByteView(header).first(header_size(page)))) return take_zero_page(page);
  if (phase_ == Phase::kZeros) {
    if (segment_offset(page) != 0)
      return stop_at_page(page, WalStop::Kind::kDamaged, "pages of zeros amid a segment");
    phase_ = Phase::kBetween;
  }
  if (!check_header(page, header)) return;
  continue_page(page, load_le<uint16_t>(header.data() + 2), load_le<uint32_t>(header.data() + 16));
}

void WalReader::take_zero_page(Lsn page) {
  const bool amid = segment_offset(page) != 0;
  if (amid && (phase_ == Phase::kUnknown || phase_ == Phase::kZeros)) {
    began_with_zeros_ = true;
    phase_ = Phase::kZeros;
    return;
  }
  stop_at_page(page, WalStop::Kind::kZeros, "the log was not written further");
}

bool WalReader::check_header(Lsn page, const PageHeader& header) {
  using Kind = WalStop::Kind;
  const auto bad = [&](Kind kind, std::string reason) {
    stop_at_page(page, kind, std::move(reason));
    return false;
  };
  const auto magic = load_le<uint16_t>(header.data()), flags = load_le<uint16_t>(header.data() + 2);
  const auto timeline = load_le<uint32_t>(header.data() + 4);
  const auto address = load_le<uint64_t>(header.data() + 8);
  const auto version = version_of_magic(magic);
  if (!version) {
    // Every version so far has had 0xd1 here.
    if (magic >> 8 == 0xd1)
      return bad(Kind::kUnsupported,
                 fmt::format("the log of an unknown version of PostgreSQL (page magic {:04X})", magic));
    return bad(Kind::kDamaged, fmt::format("the page at {} has no page header", format_lsn(page)));
  }
  if (address < page && address % kWalPage == 0)
    return bad(Kind::kStale, "left over from an earlier use of the file");
  if (address != page)
    return bad(Kind::kDamaged,
               fmt::format("the page at {} says it is {}", format_lsn(page), format_lsn(address)));
  if (version_ != 0 && version_ != *version)
    return bad(Kind::kDamaged, fmt::format("the page at {} is of another version", format_lsn(page)));
  if ((flags & ~page_flag::kAll) != 0 || ((flags & page_flag::kLong) != 0) != (segment_offset(page) == 0))
    return bad(Kind::kDamaged, fmt::format("the page at {} has impossible flags", format_lsn(page)));
  if (timeline < page_timeline_ || (start_.timeline != 0 && timeline > start_.timeline))
    return bad(Kind::kDamaged, fmt::format("the page at {} is of timeline {}", format_lsn(page), timeline));
  if ((flags & page_flag::kLong) != 0 && !check_long_header(page, header)) return false;
  version_ = *version;
  page_timeline_ = timeline;
  return true;
}

bool WalReader::check_long_header(Lsn page, const PageHeader& header) {
  const auto system = load_le<uint64_t>(header.data() + 24);
  const auto segment_size = load_le<uint32_t>(header.data() + 32),
             page_size = load_le<uint32_t>(header.data() + 36);
  if (page_size != kWalPage) {
    stop_at_page(page, WalStop::Kind::kUnsupported, fmt::format("pages of {} bytes in the log", page_size));
  } else if (segment_size != start_.segment_size) {
    stop_at_page(page, WalStop::Kind::kDamaged,
                 fmt::format("segments of {} bytes, not of {}", segment_size, start_.segment_size));
  } else if (start_.system != 0 && system != start_.system) {
    stop_at_page(page, WalStop::Kind::kDamaged,
                 fmt::format("the log of another cluster ({}, not {})", system, start_.system));
  } else {
    return true;
  }
  return false;
}

// What the page before left unfinished must be what this one goes on with.
void WalReader::continue_page(Lsn page, uint16_t flags, uint32_t remaining) {
  const bool continues = (flags & page_flag::kContinues) != 0;
  const bool anew = !continues && (flags & page_flag::kOverwrite) != 0;
  bool fits = false;
  switch (phase_) {
    case Phase::kUnknown:
      fits = continues == (remaining > 0);
      head_dropped_ = anew;
      head_left_ = remaining;
      phase_ = continues ? Phase::kHead : Phase::kBetween;
      break;
    case Phase::kHead:
      fits = anew || (continues && remaining == head_left_);
      if (anew) {
        head_dropped_ = true;
        phase_ = Phase::kBetween;
      }
      break;
    case Phase::kInside:
      fits = anew || (continues && remaining == total_ - have_);
      if (fits && anew) drop_partial();
      break;
    default:
      fits = !continues && remaining == 0;
      break;
  }
  if (!fits) {
    stop_at_page(page, WalStop::Kind::kDamaged,
                 fmt::format("the page at {} does not continue the one before", format_lsn(page)));
  } else if (phase_ == Phase::kBetween && !first_record_) {
    first_record_ = at_;
  }
}

// `part` lies within one page, after its header.
Result<> WalReader::consume(ByteView part, const Visit& visit) {
  while (!part.empty()) {
    size_t used = part.size();
    switch (phase_) {
      case Phase::kBetween: {
        TRY_ASSIGN(used, between(part, visit));
        break;
      }
      case Phase::kInside: {
        TRY_ASSIGN(used, inside(part, visit));
        break;
      }
      case Phase::kHead: {
        used = std::min<uint64_t>(used, head_left_);
        keep_head(part.first(used));
        head_left_ -= used;
        at_ += used;
        if (head_left_ == 0) phase_ = Phase::kBetween;
        break;
      }
      case Phase::kUnknown:
        keep_head(part);
        at_ += used;
        break;
      default:
        at_ += used;
        break;
    }
    part = part.subspan(used);
  }
  return {};
}

void WalReader::keep_head(ByteView part) {
  append(head_, part.first(std::min(part.size(), kMaxHead - head_.size())));
  head_size_ += part.size();
}

Result<size_t> WalReader::between(ByteView part, const Visit& visit) {
  const size_t pad = std::min<size_t>(align_record(at_) - at_, part.size());
  if (pad > 0) {
    at_ += pad;
    return pad;
  }
  if (!first_record_) first_record_ = at_;
  record_lsn_ = at_;
  if (part.size() >= kRecordHeader) {
    const auto total = load_le<uint32_t>(part.data());
    if (total >= kRecordHeader && total <= part.size()) {
      at_ += total;
      const ByteView record = part.first(total);
      TRY_OK(finish(record, codec::crc32c(record.subspan(kRecordHeader)), visit));
      return total;
    }
  }
  phase_ = Phase::kInside;
  record_.clear();
  have_ = total_ = 0;
  checksum_ = 0;
  missing_ = false;
  return 0;
}

Result<size_t> WalReader::inside(ByteView part, const Visit& visit) {
  // The length first: what follows is not kept before it is known to be one.
  const uint64_t wanted = total_ == 0 ? sizeof(uint32_t) - have_ : total_ - have_;
  const size_t used = std::min<uint64_t>(wanted, part.size());
  part = part.first(used);
  const uint64_t before = have_;
  if (!missing_) append(record_, part.first(std::min(used, kMaxKept - record_.size())));
  have_ += used;
  at_ += used;
  if (have_ > kRecordHeader) {
    const size_t of_header = before < kRecordHeader ? kRecordHeader - before : 0;
    checksum_ = codec::crc32c(part.subspan(of_header), checksum_);
  }
  if (total_ == 0 && have_ == sizeof(uint32_t)) {
    total_ = load_le<uint32_t>(record_.data());
    if (total_ == 0) {
      stop_here(WalStop::Kind::kZeros, "the log was not written further");
    } else if (total_ < kRecordHeader || total_ > kMaxRecord) {
      stop_here(WalStop::Kind::kDamaged,
                fmt::format("the record at {} has an impossible length", format_lsn(record_lsn_)));
    }
  } else if (have_ == total_) {
    TRY_OK(finish(record_, checksum_, visit));
  }
  return used;
}

Result<> WalReader::finish(ByteView record, uint32_t checksum_of_rest, const Visit& visit) {
  const auto bad = [&](std::string_view what) {
    phase_ = Phase::kInside;  // so that the stop is at the record's begin
    stop_here(WalStop::Kind::kDamaged, fmt::format("the record at {} {}", format_lsn(record_lsn_), what));
    return Result<>();
  };
  const ByteView header = record.first(kRecordHeader);
  if (!missing_ && record_checksum(header, checksum_of_rest) != load_le<uint32_t>(header.data() + 20))
    return bad("does not have its checksum");
  if (last_record_ != 0 && load_le<uint64_t>(header.data() + 8) != last_record_)
    return bad(fmt::format("does not follow the one at {}", format_lsn(last_record_)));
  if (auto decoded = decode_record(version_, record, decoded_); !decoded)
    return bad(fmt::format("cannot be read: {}", decoded.error().message));
  const bool switches = decoded_.rmid == rmgr::kXlog && decoded_.operation() == xlog_info::kSwitch;
  phase_ = switches && segment_offset(align_record(at_)) != 0 ? Phase::kSkip : Phase::kBetween;
  missing_ = false;
  decoded_.lsn = record_lsn_;
  decoded_.end = *next_record();
  last_record_ = record_lsn_;
  return visit(decoded_);
}

}  // namespace varve::engine::postgres
