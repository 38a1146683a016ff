#include "backup/point.h"

#include <charconv>
#include <fmt/format.h>

#include "base/text.h"

namespace varve::backup {
namespace {

constexpr auto kPointHint =
    "latest, end, a time with a zone (2026-11-23T14:32:05Z), \"5 minutes ago\"; of SQLite also txn:42 and "
    "before:42, of "
    "PostgreSQL lsn:0/3000028, xid:731402, before:731402 and name:RESTORE-POINT";

Result<uint64_t> parse_number(std::string_view digits, const std::string& whole, int base = 10) {
  uint64_t n = 0;
  const auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), n, base);
  if (failed != std::errc() || end != digits.data() + digits.size() || digits.empty())
    return fail(Code::kUsage, fmt::format("{}: has no number where one must be", whole), kPointHint);
  return n;
}

Result<uint64_t> parse_lsn(std::string_view text, const std::string& whole) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos || slash > 8 || text.size() - slash - 1 > 8)
    return fail(Code::kUsage, fmt::format("{}: is no position of the WAL", whole),
                "written as in lsn:0/3000028");
  TRY_ASSIGN(const uint64_t high, parse_number(text.substr(0, slash), whole, 16));
  TRY_ASSIGN(const uint64_t low, parse_number(text.substr(slash + 1), whole, 16));
  return high << 32 | low;
}

}  // namespace

Result<Point> parse_point(const std::string& text, Timestamp reference) {
  Point p;
  p.text = text;
  if (text.empty() || text == "latest") return p;
  if (text == "end") {
    p.kind = Point::Kind::kEnd;
    return p;
  }
  const size_t colon = text.find(':');
  const std::string kind = text.substr(0, colon),
                    rest = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (kind == "txn" || kind == "before" || kind == "xid") {
    p.kind = kind == "txn" ? Point::Kind::kTxn : kind == "xid" ? Point::Kind::kXid : Point::Kind::kBefore;
    TRY_ASSIGN(p.number, parse_number(rest, text));
    return p;
  }
  if (kind == "lsn") {
    p.kind = Point::Kind::kLsn;
    TRY_ASSIGN(p.number, parse_lsn(rest, text));
    return p;
  }
  if (kind == "name") {
    if (rest.empty() || rest.size() > 63)
      return fail(Code::kUsage, fmt::format("{}: a restore point has a name of 1 to 63 bytes", text),
                  kPointHint);
    p.kind = Point::Kind::kName;
    p.text = rest;
    return p;
  }
  if (kind == "gtid")
    return fail(Code::kUsage, fmt::format("{}: no engine of this version has such a point", text),
                kPointHint);
  auto t = parse_moment(text, reference);
  if (!t) return fail(Code::kUsage, fmt::format("{}: is no moment that can be asked for", text), kPointHint);
  p.kind = Point::Kind::kTime;
  p.time = *t;
  return p;
}

}  // namespace varve::backup
