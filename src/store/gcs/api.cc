#include "store/gcs/api.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/text.h"
#include "store/cloud/answer.h"

namespace varve::store::gcs {
namespace {

// The metadata server itself gives out tokens that have as little as five minutes left: to ask for another
// before that would bring the same one.
constexpr Seconds kRenewBefore{225};

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// "https://host:port" of a URL.
std::string_view origin_of(std::string_view url) {
  const size_t mark = url.find("://");
  if (mark == url.npos) return {};
  return url.substr(0, url.find_first_of("/?#\\@", mark + 3));
}

std::string hint_for(int status, std::string_view reason) {
  if (reason == "userProjectMissing" || (status == 400 && reason == "required"))
    return "the bucket is paid for by whoever asks: set user_project to a project to be billed";
  if (status == 401)
    return "Google refused the access token: see whether the key was deleted or this machine's clock is "
           "wrong";
  if (status == 403) return "docs/stores/gcs.md lists what must be granted";
  if (status == 404) return "buckets are not made by varve: see whether it is there, and its name right";
  return {};
}

}  // namespace

Query& Query::add(std::string_view name, std::string_view value) {
  if (!text_.empty()) text_ += '&';
  text_ += net::percent_encode(name);
  text_ += '=';
  text_ += net::percent_encode(value);
  return *this;
}

Api::Api(Options options, std::unique_ptr<TokenSource> source)
    : options_(std::move(options)),
      source_(std::move(source)),
      http_({.ca_file = options_.ca_file}),
      token_([from = source_](const Context& ctx) { return from->fetch(ctx, kStorageScope); }, kRenewBefore) {
}

std::string Api::describe() const {
  std::string out = fmt::format("gs://{}/{}", options_.bucket, printable(options_.prefix));
  while (out.ends_with('/')) out.pop_back();
  return out;
}

std::string Api::with_project(std::string url, Query query) const {
  if (!options_.user_project.empty()) query.add("userProject", options_.user_project);
  if (query.text().empty()) return url;
  return url + "?" + query.text();
}

std::string Api::bucket_url(Query query) const {
  return with_project(fmt::format("{}/storage/v1/b/{}", options_.endpoint, options_.bucket),
                      std::move(query));
}
std::string Api::objects_url(Query query) const {
  return with_project(fmt::format("{}/storage/v1/b/{}/o", options_.endpoint, options_.bucket),
                      std::move(query));
}
std::string Api::object_url(std::string_view name, Query query) const {
  return with_project(
      fmt::format("{}/storage/v1/b/{}/o/{}", options_.endpoint, options_.bucket, net::percent_encode(name)),
      std::move(query));
}
std::string Api::upload_url(Query query) const {
  return with_project(fmt::format("{}/upload/storage/v1/b/{}/o", options_.endpoint, options_.bucket),
                      std::move(query));
}

Result<net::HttpResponse> Api::send(const Context& ctx, net::HttpRequest request, const net::HttpSink& sink) {
  request.headers.push_back({"Authorization", ""});
  for (bool again = false;; again = true) {
    TRY_ASSIGN(const std::string token, token_.get(ctx));
    request.headers.back().value = "Bearer " + token;
    TRY_ASSIGN(auto answer, http_.send(ctx, request, sink));
    if (answer.status != 401 || again) return answer;
    token_.drop(token);
  }
}

Result<net::HttpResponse> Api::send_to_session(const Context& ctx, const net::HttpRequest& request) {
  return http_.send(ctx, request);
}

bool Api::session_is_ours(std::string_view url) const {
  const std::string_view origin = origin_of(url);
  if (url.size() > 8192 || origin.empty()) return false;
  if (to_lower(origin) == to_lower(origin_of(options_.endpoint + "/"))) return true;
  return origin.starts_with("https://") && to_lower(origin).ends_with(".googleapis.com");
}

Error Api::error_of(const net::HttpResponse& answer, const std::string& doing) const {
  const auto said = parse_error(as_text(answer.body));
  const std::string reason = said ? said->reason : "";
  Error out = cloud::error_of(answer, doing, reason, said ? said->message : "");
  if (is_one_of(reason, {"rateLimitExceeded", "userRateLimitExceeded"})) {
    out.code = Code::kUnreachable;
    out.retry = Retry::kThrottled;
    out.retry_after = answer.retry_after();
  } else if (is_one_of(reason, {"retentionPolicyNotMet", "objectUnderActiveHold"})) {
    out.code = Code::kConflict;
    out.hint = "it can be removed when its retention ends or its hold is released";
    return out;
  } else if (answer.status == 400 && said && said->message.find("CRC32C") != std::string::npos) {
    out.retry = Retry::kTransient;  // what arrived is not what was sent
  } else if (answer.status == 404 && !said) {
    // Absence is something to act upon: only the API itself may tell it.
    return cloud::nonsense(answer, doing, "it says \"not found\" in no words of the API");
  }
  if (out.retry == Retry::kNever) out.hint = hint_for(answer.status, reason);
  return out;
}

std::optional<BucketAnswer> Api::known_bucket() const {
  std::lock_guard lock(mutex_);
  return bucket_;
}

Result<std::optional<BucketAnswer>> Api::bucket(const Context& ctx) {
  {
    std::lock_guard lock(mutex_);
    if (bucket_asked_) return bucket_;
  }
  net::HttpRequest request;
  request.url = bucket_url(Query().add("fields", "name,versioning,objectRetention"));
  const std::string doing = "asking what the bucket of " + describe() + " can do";
  TRY_ASSIGN(const auto answer, send(ctx, std::move(request)));
  std::optional<BucketAnswer> known;
  if (answer.status == 200) {
    auto parsed = parse_bucket(as_text(answer.body));
    if (!parsed) return fail(cloud::nonsense(answer, doing, parsed.error().message));
    known = *parsed;
  } else {
    Error error = error_of(answer, doing);
    if (answer.status != 403 || error.retry != Retry::kNever) return fail(std::move(error));
  }
  std::lock_guard lock(mutex_);
  bucket_asked_ = true;
  bucket_ = known;
  return known;
}

}  // namespace varve::store::gcs
