#include "store/s3/multipart.h"

#include <algorithm>
#include <atomic>
#include <fmt/format.h>

#include "base/log.h"
#include "base/task_group.h"
#include "store/cloud/answer.h"
#include "store/s3/integrity.h"
#include "store/s3/xml.h"

namespace varve::store::s3 {
namespace {

constexpr uint64_t kMostParts = 10'000;
constexpr size_t kAtOnce = 4;
constexpr uint64_t kUnit = uint64_t{1} << 20;
constexpr std::chrono::seconds kAbortWithin{20};

// The pieces of a body that make one part.
std::vector<ByteView> slice(Body body, uint64_t offset, uint64_t length) {
  std::vector<ByteView> out;
  for (const ByteView& piece : body) {
    if (length == 0) break;
    if (offset >= piece.size()) {
      offset -= piece.size();
      continue;
    }
    const size_t n = static_cast<size_t>(std::min<uint64_t>(piece.size() - offset, length));
    out.push_back(piece.subspan(static_cast<size_t>(offset), n));
    offset = 0;
    length -= n;
  }
  return out;
}

Result<> abort_upload(Client& client, const Context& ctx, const std::string& key, const std::string& id) {
  const Call call{.method = "DELETE",
                  .key = key,
                  .query = {{"uploadId", id}},
                  .doing = client.doing("aborting an upload of", key, "to")};
  TRY_ASSIGN(const auto answer, client.send(ctx, call));
  if (answer.status / 100 == 2 || answer.status == 404) return {};
  return fail(client.refusal(answer, call.doing));
}

class PartsUpload {
 public:
  PartsUpload(Client& client, const Context& ctx, const Upload& upload)
      : client_(client),
        ctx_(ctx),
        upload_(upload),
        key_(client.options().prefix + upload.key),
        size_(body_size(upload.body)),
        part_size_(part_size_for(size_, client.options().part_size)) {}
  PartsUpload(const PartsUpload&) = delete;
  PartsUpload& operator=(const PartsUpload&) = delete;

  // Also when the caller was stopped: an abort has some time of its own.
  ~PartsUpload() {
    if (id_.empty()) return;
    auto aborted = abort_upload(client_, Context{}.with_deadline(kAbortWithin), key_, id_);
    if (!aborted)
      log::warn("parts of {} are left in {} and cost money until they are removed: {}", upload_.key,
                client_.describe(), aborted.error().describe());
  }

  Result<> run() {
    TRY_OK(begin());
    TRY_OK(send_parts());
    return complete();
  }

 private:
  struct Part {
    std::string etag, checksum;
  };

  std::string doing() const { return client_.doing("putting", upload_.key, "into"); }

  Result<> begin() {
    Call call{.method = "POST",
              .key = key_,
              .query = {{"uploads", ""}},
              .headers = upload_.headers,
              .doing = doing()};
    if (client_.options().quirks.checksums) call.headers.push_back({"x-amz-checksum-algorithm", "CRC32C"});
    TRY_ASSIGN(const auto answer, client_.demand(ctx_, call));
    auto id = parse_upload_id(answer.body);
    if (!id) return fail(cloud::nonsense(answer, call.doing, id.error().message));
    id_ = std::move(*id);
    return {};
  }

  Result<> send_parts() {
    parts_.resize(static_cast<size_t>((size_ + part_size_ - 1) / part_size_));
    std::atomic<size_t> next = 0;
    TaskGroup group(ctx_.stop);
    for (size_t w = 0; w < std::min(kAtOnce, parts_.size()); ++w) {
      group.spawn([&](std::stop_token stop) -> Result<> {
        Context ctx = ctx_;
        ctx.stop = stop;  // the first failure ends the others
        for (size_t n; (n = next++) < parts_.size();) TRY_OK(send_part(ctx, n));
        return {};
      });
    }
    return group.wait();
  }

  Result<> send_part(const Context& ctx, size_t n) {
    const uint64_t offset = n * part_size_;
    const auto pieces = slice(upload_.body, offset, std::min(part_size_, size_ - offset));
    Call call{.method = "PUT",
              .key = key_,
              .query = {{"partNumber", std::to_string(n + 1)}, {"uploadId", id_}},
              .body = pieces,
              .doing = doing()};
    add_integrity(client_.options().quirks, pieces, &call.headers);
    TRY_ASSIGN(const auto answer, client_.demand(ctx, call));
    const auto etag = answer.header("etag");
    if (!etag) return fail(cloud::nonsense(answer, call.doing, "it has no ETag"));
    parts_[n].etag = *etag;
    for (const net::Header& h : call.headers)
      if (h.name == "x-amz-checksum-crc32c") parts_[n].checksum = h.value;
    return {};
  }

  Result<> complete() {
    std::string xml = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
    for (size_t n = 0; n < parts_.size(); ++n) {
      xml +=
          fmt::format("<Part><PartNumber>{}</PartNumber><ETag>{}</ETag>", n + 1, xml_escaped(parts_[n].etag));
      if (!parts_[n].checksum.empty())
        xml += fmt::format("<ChecksumCRC32C>{}</ChecksumCRC32C>", parts_[n].checksum);
      xml += "</Part>";
    }
    xml += "</CompleteMultipartUpload>";
    const ByteView body = as_bytes(xml);
    Call call{.method = "POST",
              .key = key_,
              .query = {{"uploadId", id_}},
              .headers = {{"Content-Type", "application/xml"}},
              .body = Body(&body, 1),
              .doing = doing()};
    if (upload_.create_only) call.headers.push_back({"If-None-Match", "*"});
    TRY_ASSIGN(const auto answer, client_.demand(ctx_, call));
    // The status goes out before the work is done: a failure then comes in the body.
    if (const auto error = parse_error(answer.body))
      return fail(client_.refusal(error->code, error->message, call.doing));
    const auto etag = parse_complete(answer.body);
    if (!etag) return fail(cloud::nonsense(answer, call.doing, etag.error().message));
    id_.clear();
    return {};
  }

  Client& client_;
  const Context& ctx_;
  const Upload& upload_;
  const std::string key_;
  const uint64_t size_, part_size_;
  std::string id_;  // empty: nothing to abort
  std::vector<Part> parts_;
};

}  // namespace

uint64_t part_size_for(uint64_t body, uint64_t asked) {
  const uint64_t least = (body + kMostParts - 1) / kMostParts;
  return std::max(asked, (least + kUnit - 1) / kUnit * kUnit);
}

Result<> upload_in_parts(Client& client, const Context& ctx, const Upload& upload) {
  return PartsUpload(client, ctx, upload).run();
}

Result<uint64_t> abort_uploads(Client& client, const Context& ctx, Seconds age) {
  const Timestamp before = client.time() - age;
  uint64_t aborted = 0;
  std::string key_marker, id_marker;
  for (;;) {
    Call call{.query = {{"uploads", ""}, {"encoding-type", "url"}, {"prefix", client.options().prefix}},
              .doing = "listing the unfinished uploads in " + client.describe()};
    if (!key_marker.empty()) call.query.emplace_back("key-marker", key_marker);
    if (!id_marker.empty()) call.query.emplace_back("upload-id-marker", id_marker);
    TRY_ASSIGN(const auto answer, client.demand(ctx, call));
    const auto page = parse_uploads(answer.body);
    if (!page) return fail(cloud::nonsense(answer, call.doing, page.error().message));
    for (const PendingUpload& u : page->uploads) {
      if (!u.key.starts_with(client.options().prefix) || u.started >= before) continue;
      TRY_OK(abort_upload(client, ctx, u.key, u.id));
      ++aborted;
    }
    if (!page->more) return aborted;
    if (page->next_key == key_marker && page->next_id == id_marker)
      return fail(cloud::nonsense(answer, call.doing, "it does not go on"));
    key_marker = page->next_key;
    id_marker = page->next_id;
  }
}

}  // namespace varve::store::s3
