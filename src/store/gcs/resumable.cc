// An upload that survives broken connections: https://cloud.google.com/storage/docs/resumable-uploads
#include <algorithm>
#include <fmt/format.h>

#include "store/cloud/answer.h"
#include "store/gcs/upload.h"

namespace varve::store::gcs {
namespace {

constexpr int kMostIdle = 4;  // questions in a row that showed no progress
constexpr uint64_t kProgressPerResume = uint64_t{8}
                                        << 20;  // beyond the first ones each must have brought so much
constexpr int kFirstResumes = 8;
constexpr std::chrono::milliseconds kFirstPause{100}, kLongestPause{3000};
constexpr std::chrono::seconds kDropWithin{2};

class Session {
 public:
  Session(Api& api, const Upload& upload, std::string url)
      : api_(api), upload_(upload), url_(std::move(url)) {}

  Result<ObjectAnswer> run(const Context& ctx) {
    auto answer = send_rest(ctx);
    for (int resumes = 0, idle = 0;;) {
      const uint64_t before = arrived_;
      auto done = judge(answer);
      if (!done) return fail(std::move(done).error());
      if (*done) return std::move(**done);
      idle = arrived_ > before ? 0 : idle + 1;
      ++resumes;
      if (idle > kMostIdle || resumes > kFirstResumes + static_cast<int>(arrived_ / kProgressPerResume))
        return fail(std::move(*failure_).with_context(fmt::format("gone on {} times", resumes - 1)));
      TRY_OK(ctx.sleep(pause(idle)));
      // After a broken connection nobody knows what arrived.
      answer = known_ && arrived_ < upload_.size ? send_rest(ctx) : ask(ctx);
    }
  }

  // So that it need not lie there for a week. Whoever was told to stop waits for no network.
  void drop() const {
    net::HttpRequest request;
    request.method = "DELETE";
    request.url = url_;
    (void)api_.send_to_session(Context{}.with_deadline(kDropWithin), request);
  }

  bool gone() const { return gone_; }

 private:
  Result<net::HttpResponse> send_rest(const Context& ctx) {
    std::vector<ByteView> rest;
    uint64_t skip = arrived_;
    for (const ByteView piece : upload_.body) {
      const uint64_t n = std::min<uint64_t>(skip, piece.size());
      skip -= n;
      if (n < piece.size()) rest.push_back(piece.subspan(n));
    }
    known_ = false;
    return put(ctx, fmt::format("bytes {}-{}/{}", arrived_, upload_.size - 1, upload_.size), rest);
  }

  Result<net::HttpResponse> ask(const Context& ctx) {
    return put(ctx, fmt::format("bytes */{}", upload_.size), {});
  }

  Result<net::HttpResponse> put(const Context& ctx, std::string range, Body body) {
    net::HttpRequest request;
    request.method = "PUT";
    request.url = url_;
    request.headers = {{"Content-Range", std::move(range)}};
    request.body = body;
    return api_.send_to_session(ctx, request);
  }

  // The object when it is done; nothing when to go on, with why in failure_; else the error that ends it.
  Result<std::optional<ObjectAnswer>> judge(Result<net::HttpResponse>& answer) {
    if (!answer) return go_on_after(std::move(answer).error());
    const net::HttpResponse& response = *answer;
    if (response.status == 200 || response.status == 201) {
      gone_ = true;
      auto object = parse_object(as_text(response.body));
      if (!object) return fail(cloud::nonsense(response, upload_.doing, object.error().message));
      return std::optional(std::move(*object));
    }
    if (response.status == 308) return received(response);
    if (response.status == 404 || response.status == 410) {
      gone_ = true;
      // Another try begins another session.
      return fail(
          Error{Code::kUnreachable, fmt::format("{}: the store forgot the upload", upload_.doing)}.with_retry(
              Retry::kTransient));
    }
    if (response.status == 412) gone_ = true;
    return go_on_after(api_.error_of(response, upload_.doing));
  }

  Result<std::optional<ObjectAnswer>> go_on_after(Error error) {
    if (error.retry != Retry::kTransient) return fail(std::move(error));
    failure_ = std::move(error);
    return std::nullopt;
  }

  Result<std::optional<ObjectAnswer>> received(const net::HttpResponse& response) {
    const auto range = response.header("range");
    const auto bytes = range ? parse_received(*range) : std::optional<uint64_t>(0);
    // What was once said to have arrived is there: less would mean that we do not speak of the same upload.
    if (!bytes || *bytes > upload_.size || *bytes < arrived_)
      return fail(cloud::nonsense(response, upload_.doing, "it says that an impossible part arrived"));
    arrived_ = *bytes;
    known_ = true;
    if (!failure_)
      failure_ = Error{Code::kUnreachable, fmt::format("{}: the store took {} of {} bytes", upload_.doing,
                                                       arrived_, upload_.size)}
                     .with_retry(Retry::kTransient);
    return std::nullopt;
  }

  std::chrono::microseconds pause(int idle) const {
    if (idle == 0) return {};
    const auto own = std::min(kLongestPause, kFirstPause * (1 << idle));
    return std::max<std::chrono::microseconds>(
        own, std::min<std::chrono::seconds>(failure_->retry_after, std::chrono::seconds(30)));
  }

  Api& api_;
  const Upload& upload_;
  const std::string url_;
  uint64_t arrived_ = 0;  // as the store said last
  bool known_ = true;     // … after which nothing was sent
  bool gone_ = false;     // there is nothing left to drop
  std::optional<Error> failure_;
};

Result<std::string> begin(Api& api, const Context& ctx, const Upload& upload) {
  const ByteView piece = as_bytes(upload.metadata);
  net::HttpRequest request;
  request.method = "POST";
  request.url =
      api.upload_url(Query(upload.query).add("uploadType", "resumable").add("fields", kObjectFields));
  request.headers = {{"Content-Type", "application/json; charset=UTF-8"},
                     {"X-Upload-Content-Type", "application/octet-stream"},
                     {"X-Upload-Content-Length", fmt::format("{}", upload.size)}};
  request.body = std::span<const ByteView>(&piece, 1);
  TRY_ASSIGN(const auto answer, api.send(ctx, std::move(request)));
  if (answer.status != 200) return fail(api.error_of(answer, upload.doing));
  auto url = answer.header("location");
  if (!url || !api.session_is_ours(*url))
    return fail(cloud::nonsense(answer, upload.doing, "it names no upload session of this store"));
  return std::move(*url);
}

}  // namespace

Result<ObjectAnswer> upload_resumable(Api& api, const Context& ctx, const Upload& upload) {
  TRY_ASSIGN(std::string url, begin(api, ctx, upload));
  Session session(api, upload, std::move(url));
  auto object = session.run(ctx);
  if (!object && !session.gone()) session.drop();
  return object;
}

}  // namespace varve::store::gcs
