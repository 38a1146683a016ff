#include "store/s3/read.h"

#include <charconv>
#include <fmt/format.h>

#include "base/text.h"
#include "codec/crc32c.h"
#include "store/cloud/answer.h"
#include "store/s3/integrity.h"
#include "store/s3/times.h"

namespace varve::store::s3 {
namespace {

// No object is as large; numbers beyond are not safe with every service's arithmetic.
constexpr uint64_t kBeyondAny = uint64_t{1} << 56;

std::optional<uint64_t> number(std::string_view text) {
  uint64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return out;
}

std::optional<uint64_t> content_length(const net::HttpResponse& answer) {
  return number(answer.header("content-length").value_or(""));
}

std::string range_header(Range range) {
  const uint64_t room = kBeyondAny - range.offset;
  if (range.length >= room) return fmt::format("bytes={}-", range.offset);
  return fmt::format("bytes={}-{}", range.offset, range.offset + range.length - 1);
}

// Holds an answer against what was asked, before anyone sees its body.
class Reading {
 public:
  Reading(Range range, const std::string& doing)
      : range_(range), ranged_(range.offset > 0 || range.length < kBeyondAny), doing_(doing) {}

  bool ranged() const { return ranged_; }
  uint64_t whole() const { return whole_; }

  Result<> accept(const net::HttpResponse& answer) {
    const auto wrong = [&](std::string_view why) { return fail(cloud::nonsense(answer, doing_, why)); };
    if (!answer.header("etag")) return wrong("it has no ETag");
    const auto length = content_length(answer);
    if (!length) return wrong("it does not say how long it is");
    if (!ranged_) {
      if (answer.status != 200) return wrong("a part came, and the whole was asked for");
      whole_ = *length;
      checksum_ = whole_checksum(answer);
      return {};
    }
    if (answer.status != 206) return wrong("the whole came, and a part was asked for");
    const auto part = parse_content_range(answer.header("content-range").value_or(""));
    if (!part) return wrong("it does not say which part it is");
    const uint64_t due = range_size(range_, part->whole);
    if (due == 0 || part->first != range_.offset || part->last - part->first + 1 != due || *length != due)
      return wrong("it is another part than was asked for");
    whole_ = part->whole;
    return {};
  }

  Result<> pass(ByteView piece, const Sink& sink) {
    if (checksum_) crc_ = codec::crc32c(piece, crc_);
    return sink(piece);
  }

  // Trying again from where the sink stands would not mend it.
  Result<> check() const {
    if (!checksum_ || *checksum_ == crc_) return {};
    return fail(Code::kDamaged, doing_ + ": the bytes do not have the checksum that they were stored with",
                "read it again; if that does not help, use another copy of the repository");
  }

 private:
  // Of the whole object; those of objects sent in parts are made of the parts' ("…-3").
  static std::optional<uint32_t> whole_checksum(const net::HttpResponse& answer) {
    return parse_crc32c(answer.header("x-amz-checksum-crc32c").value_or(""));
  }

  const Range range_;
  const bool ranged_;
  const std::string& doing_;
  uint64_t whole_ = 0;
  std::optional<uint32_t> checksum_;
  uint32_t crc_ = 0;
};

Query version_query(const std::string& version) {
  if (version.empty()) return {};
  return {{"versionId", version}};
}

}  // namespace

std::optional<ContentRange> parse_content_range(std::string_view text) {
  if (!text.starts_with("bytes ")) return std::nullopt;
  text.remove_prefix(6);
  const size_t dash = text.find('-'), slash = text.find('/');
  if (dash == text.npos || slash == text.npos || dash > slash) return std::nullopt;
  const auto first = number(text.substr(0, dash));
  const auto last = number(text.substr(dash + 1, slash - dash - 1));
  const auto whole = number(text.substr(slash + 1));
  if (!first || !last || !whole || *first > *last || *last >= *whole) return std::nullopt;
  return ContentRange{*first, *last, *whole};
}

Result<uint64_t> read_object(Client& client, const Context& ctx, const Key& key, const std::string& version,
                             Range range, const Sink& sink) {
  TRY_OK(ctx.check());
  TRY_OK(check_key(key));
  // Where nothing can come of it only the size is wanted, and ranges cannot say "nothing".
  if (range.length == 0 || range.offset >= kBeyondAny) {
    TRY_ASSIGN(const ObjectInfo info, head_object(client, ctx, key, version));
    return info.size;
  }
  Call call{.key = client.options().prefix + key,
            .query = version_query(version),
            .doing = client.doing("reading", key, "from")};
  Reading reading(range, call.doing);
  if (reading.ranged()) {
    call.headers.push_back({"Range", range_header(range)});
  } else if (client.options().quirks.checksums) {
    call.headers.push_back({"x-amz-checksum-mode", "ENABLED"});
  }
  TRY_ASSIGN(const auto answer, client.send(
                                    ctx, call, [&](ByteView piece) { return reading.pass(piece, sink); },
                                    [&](const net::HttpResponse& head) { return reading.accept(head); }));
  if (answer.status == 416 && reading.ranged()) {
    const std::string said = answer.header("content-range").value_or("");
    const auto whole = number(said.starts_with("bytes */") ? std::string_view(said).substr(8) : "");
    if (whole && *whole <= range.offset) return *whole;
    TRY_ASSIGN(const ObjectInfo info, head_object(client, ctx, key, version));
    if (info.size <= range.offset) return info.size;
    return fail(cloud::nonsense(answer, call.doing, "it refuses a part that is there"));
  }
  if (answer.status / 100 != 2) return fail(client.refusal(answer, call.doing));
  TRY_OK(reading.check());
  return reading.whole();
}

Result<ObjectInfo> head_object(Client& client, const Context& ctx, const Key& key,
                               const std::string& version) {
  TRY_OK(ctx.check());
  TRY_OK(check_key(key));
  const Call call{.method = "HEAD",
                  .key = client.options().prefix + key,
                  .query = version_query(version),
                  .doing = client.doing("looking at", key, "in")};
  TRY_ASSIGN(const auto answer, client.send(ctx, call));
  if (answer.status / 100 != 2) return fail(client.refusal(answer, call.doing));
  const auto length = content_length(answer);
  const auto modified = parse_http_date(answer.header("last-modified").value_or(""));
  if (!answer.header("etag") || !length || !modified)
    return fail(cloud::nonsense(answer, call.doing, "it has no ETag, length or date"));
  ObjectInfo out{.key = key, .size = *length, .modified = *modified, .retain_until = {}};
  if (const auto until = answer.header("x-amz-object-lock-retain-until-date")) {
    auto at = parse_rfc3339(*until);
    if (!at) return fail(cloud::nonsense(answer, call.doing, "its retention is no time"));
    out.retain_until = *at;
  }
  return out;
}

}  // namespace varve::store::s3
