#include "store/azure/reading.h"

#include <fmt/format.h>

#include "crypto/signing.h"
#include "store/azure/answers.h"
#include "store/azure/dates.h"
#include "store/cloud/answer.h"

namespace varve::store::azure {
namespace {

// No blob is as large; beyond it numbers get close to what servers can read.
constexpr uint64_t kMostOffset = uint64_t{1} << 60;

std::vector<std::pair<std::string, std::string>> query_of(const BlobName& blob) {
  if (blob.version.empty()) return {};
  return {{"versionid", blob.version}};
}

Result<BlobInfo> info_of(const net::HttpResponse& answer, const std::string& doing) {
  const auto size = parse_number(answer.header("content-length").value_or(""));
  const auto modified = parse_http_date(answer.header("last-modified").value_or(""));
  if (!size || !modified) return fail(cloud::nonsense(answer, doing, "it has no size or no date"));
  BlobInfo out{.size = *size, .modified = *modified};
  out.version = answer.header("x-ms-version-id").value_or("");
  if (const auto until = answer.header("x-ms-immutability-policy-until-date")) {
    out.retain_until = parse_http_date(*until);
    if (!out.retain_until) return fail(cloud::nonsense(answer, doing, "its retention has no readable date"));
  }
  out.is_locked = answer.header("x-ms-immutability-policy-mode").value_or("") == "locked" ||
                  answer.header("x-ms-immutability-policy-mode").value_or("") == "Locked";
  out.legal_hold = answer.header("x-ms-legal-hold").value_or("") == "true";
  out.asked = parse_http_date(answer.header("date").value_or("")).value_or(now());
  return out;
}

// What a get found out so far.
class Reading {
 public:
  Reading(Range range, const Sink& sink, const std::string& doing)
      : range_(range), sink_(sink), doing_(doing), whole_(range.offset == 0 && range.length == UINT64_MAX) {}

  std::vector<net::Header> headers() const {
    if (whole_) return {};
    const bool open = range_.length > kMostOffset;
    return {
        {"x-ms-range", open ? fmt::format("bytes={}-", range_.offset)
                            : fmt::format("bytes={}-{}", range_.offset, range_.offset + range_.length - 1)}};
  }

  // Ahead of the body.
  Result<> take_head(const net::HttpResponse& answer) {
    if (answer.status / 100 != 2) return {};
    if (!is_from_service(answer) || !answer.header("x-ms-version"))
      return nonsense(answer, "it has no x-ms-request-id");
    if (answer.status != (whole_ ? 200 : 206))
      return nonsense(
          answer, whole_ ? "a part, where the whole was asked for" : "the whole, where a part was asked for");
    if (!whole_) return take_range(answer);
    const auto size = parse_number(answer.header("content-length").value_or(""));
    if (!size) return nonsense(answer, "it does not say how large the blob is");
    size_ = due_ = *size;
    return {};
  }

  Result<> take(ByteView bytes) {
    if (bytes.size() > due_ - taken_) return fail(Code::kUnreachable, doing_ + ": more came than is there");
    taken_ += bytes.size();
    if (whole_) md5_.update(bytes);
    return sink_(bytes);
  }

  Result<uint64_t> finish(const net::HttpResponse& answer) {
    if (taken_ != due_) {
      return fail(
          Error{Code::kUnreachable, fmt::format("{}: {} of {} bytes came", doing_, taken_, due_)}.with_retry(
              Retry::kTransient));
    }
    const auto md5 = answer.header("content-md5");
    if (whole_ && md5 && *md5 != crypto::to_base64(md5_.finish()))
      return fail(Code::kDamaged, doing_ + ": the bytes do not have the MD5 that the service has for them");
    return size_;
  }

 private:
  tl::unexpected<Error> nonsense(const net::HttpResponse& answer, std::string_view why) const {
    return fail(cloud::nonsense(answer, doing_, why));
  }

  Result<> take_range(const net::HttpResponse& answer) {
    const auto range = parse_content_range(answer.header("content-range").value_or(""));
    if (!range || !range->first) return nonsense(answer, "it does not say which part it has");
    const uint64_t due = range_size(range_, range->size);
    if (*range->first != range_.offset || *range->last + 1 - *range->first != due)
      return nonsense(answer, "another part than was asked for");
    size_ = range->size;
    due_ = due;
    return {};
  }

  const Range range_;
  const Sink& sink_;
  const std::string& doing_;
  const bool whole_;
  uint64_t size_ = 0, due_ = 0, taken_ = 0;
  crypto::Md5Hasher md5_;
};

}  // namespace

Result<BlobInfo> look(Client& client, const Context& ctx, const BlobName& blob, const std::string& doing) {
  const Request request{.method = "HEAD", .blob = blob.name, .query = query_of(blob)};
  TRY_ASSIGN(const auto answer, client.send(ctx, request, doing));
  if (answer.status != 200) return fail(client.failure(answer, doing));
  if (!is_from_service(answer)) return fail(cloud::nonsense(answer, doing, "it has no x-ms-request-id"));
  return info_of(answer, doing);
}

Result<uint64_t> read(Client& client, const Context& ctx, const BlobName& blob, Range range, const Sink& sink,
                      const std::string& doing) {
  const auto size_only = [&]() -> Result<uint64_t> {
    TRY_ASSIGN(const BlobInfo info, look(client, ctx, blob, doing));
    return info.size;
  };
  if (range.length == 0 || range.offset > kMostOffset) return size_only();
  Reading reading(range, sink, doing);
  const Request request{.blob = blob.name,
                        .query = query_of(blob),
                        .headers = reading.headers(),
                        .on_head = [&](const net::HttpResponse& head) { return reading.take_head(head); }};
  TRY_ASSIGN(const auto answer,
             client.send(ctx, request, doing, [&](ByteView bytes) { return reading.take(bytes); }));
  if (answer.status == 416 && is_from_service(answer)) {
    // Wholly beyond the end, or an empty blob.
    const auto there = parse_content_range(answer.header("content-range").value_or(""));
    return there && there->size <= range.offset ? Result<uint64_t>(there->size) : size_only();
  }
  if (answer.status / 100 != 2) return fail(client.failure(answer, doing));
  return reading.finish(answer);
}

}  // namespace varve::store::azure
