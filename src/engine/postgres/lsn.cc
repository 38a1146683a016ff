#include "engine/postgres/lsn.h"

#include <charconv>
#include <fmt/format.h>

#include "base/text.h"

namespace varve::engine::postgres {
namespace {

constexpr size_t kSegmentDigits = 24;

std::optional<uint32_t> hex(std::string_view text) {
  uint32_t value = 0;
  if (text.empty() || text.size() > 8) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Eight digits, as PostgreSQL writes them.
std::optional<uint32_t> hex8(std::string_view text) {
  if (text.size() != 8 || text.find_first_not_of("0123456789ABCDEF") != std::string_view::npos)
    return std::nullopt;
  return hex(text);
}

std::optional<WalFileName> parse_segment(std::string_view digits, uint32_t segment_size) {
  if (digits.size() != kSegmentDigits || !valid_segment_size(segment_size)) return std::nullopt;
  const auto timeline = hex8(digits.substr(0, 8)), high = hex8(digits.substr(8, 8)),
             low = hex8(digits.substr(16));
  const uint64_t per_high = (uint64_t{1} << 32) / segment_size;
  if (!timeline || !high || !low || *timeline == 0 || *low >= per_high) return std::nullopt;
  return WalFileName{.timeline = *timeline, .start = uint64_t{*high} << 32 | uint64_t{*low} * segment_size};
}

bool take_suffix(std::string_view& text, std::string_view suffix) {
  if (!text.ends_with(suffix)) return false;
  text.remove_suffix(suffix.size());
  return true;
}

// A number in decimal at the front of `text`, which is moved past it.
std::optional<uint32_t> take_number(std::string_view& text) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

std::optional<HistoryEntry> parse_history_line(std::string_view line) {
  HistoryEntry out;
  const auto timeline = take_number(line);
  if (!timeline || line.empty() || (line[0] != '\t' && line[0] != ' ')) return std::nullopt;
  line = trim(line);
  const size_t space = line.find_first_of("\t ");
  auto end = parse_lsn(line.substr(0, space));
  if (!end) return std::nullopt;
  out.timeline = *timeline;
  out.end = *end;
  if (space != std::string_view::npos) out.reason = std::string(trim(line.substr(space)));
  return out;
}

}  // namespace

std::string format_lsn(Lsn lsn) {
  return fmt::format("{:X}/{:X}", lsn >> 32, lsn & 0xffffffff);
}

Result<Lsn> parse_lsn(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash != std::string_view::npos) {
    const auto high = hex(text.substr(0, slash)), low = hex(text.substr(slash + 1));
    if (high && low) return uint64_t{*high} << 32 | *low;
  }
  return fail(Code::kUsage, fmt::format("'{}' is no place in a write-ahead log", printable(text)),
              "write it as PostgreSQL does, for example 16/B374D848");
}

bool valid_segment_size(uint64_t size) {
  return size >= 1u << 20 && size <= 1u << 30 && (size & (size - 1)) == 0;
}

std::string segment_name(Timeline timeline, Lsn lsn, uint32_t segment_size) {
  return fmt::format("{:08X}{:08X}{:08X}", timeline, lsn >> 32, (lsn & 0xffffffff) / segment_size);
}

std::string history_name(Timeline timeline) {
  return fmt::format("{:08X}.history", timeline);
}

std::optional<WalFileName> parse_wal_file_name(std::string_view name, uint32_t segment_size) {
  using Kind = WalFileName::Kind;
  if (take_suffix(name, ".history")) {
    const auto timeline = hex8(name);
    if (!timeline || *timeline == 0) return std::nullopt;
    return WalFileName{.kind = Kind::kHistory, .timeline = *timeline};
  }
  if (take_suffix(name, ".backup")) {
    if (name.size() != kSegmentDigits + 9 || name[kSegmentDigits] != '.') return std::nullopt;
    auto out = parse_segment(name.substr(0, kSegmentDigits), segment_size);
    const auto offset = hex8(name.substr(kSegmentDigits + 1));
    if (!out || !offset || *offset >= segment_size) return std::nullopt;
    out->kind = Kind::kBackupHistory;
    out->offset = *offset;
    return out;
  }
  const bool partial = take_suffix(name, ".partial");
  auto out = parse_segment(name, segment_size);
  if (out && partial) out->kind = Kind::kPartial;
  return out;
}

Result<std::vector<HistoryEntry>> parse_history(Timeline timeline, std::string_view text) {
  std::vector<HistoryEntry> out;
  const auto damaged = [&](std::string_view why, std::string_view line) {
    return fail(Code::kDamaged,
                fmt::format("{}: {}: '{}'", history_name(timeline), why, printable(line.substr(0, 80))));
  };
  for (std::string_view line : split(text, '\n')) {
    line = trim(line);
    if (line.empty() || line[0] == '#') continue;
    auto entry = parse_history_line(line);
    if (!entry) return damaged("a line that cannot be read", line);
    if (entry->timeline == 0 || entry->timeline >= timeline ||
        (!out.empty() && (entry->timeline <= out.back().timeline || entry->end < out.back().end)))
      return damaged("timelines are not in order", line);
    out.push_back(std::move(*entry));
  }
  return out;
}

}  // namespace varve::engine::postgres
