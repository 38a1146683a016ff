#include "store/s3/s3_store.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"
#include "store/cloud/answer.h"
#include "store/s3/as_of.h"
#include "store/s3/credentials.h"
#include "store/s3/integrity.h"
#include "store/s3/multipart.h"
#include "store/s3/policy.h"
#include "store/s3/read.h"
#include "store/s3/remove.h"
#include "store/s3/retention.h"
#include "store/s3/times.h"
#include "store/s3/xml.h"

namespace varve::store::s3 {
namespace {

constexpr uint64_t kMostWhole = uint64_t{64} << 20;  // a pack goes in one request
constexpr size_t kMostListed = 1000;                 // S3 gives no more

}  // namespace

S3Store::S3Store(Options options, Client::CredentialSource::Fetch fetch)
    : client_(std::move(options), std::move(fetch)) {}

Result<StorePtr> S3Store::open(const Context& ctx, const Place& place) {
  return open(ctx, place, process_environment());
}

Result<StorePtr> S3Store::open(const Context& ctx, const Place& place, const Environment& env) {
  TRY_OK(ctx.check());
  TRY_ASSIGN(const Profiles profiles, Profiles::load(env));
  TRY_ASSIGN(const Options options, read_options(place, env, profiles));
  const auto fetch = credential_chain(
      {.env = env, .profile = options.profile, .region = options.region, .ca_file = options.ca_file});
  if (!options.endpoint.tls)
    log::info("the connection to {} is not encrypted: names and sizes can be seen, and answers forged",
              options.endpoint.host);
  if (options.as_of) return std::make_shared<AsOfStore>(options, fetch);
  auto store = std::make_shared<S3Store>(options, fetch);
  if (!options.lock_mode.empty() || options.legal_hold) TRY_OK(check_object_lock(store->client_, ctx));
  return store;
}

Capabilities S3Store::capabilities() const {
  return {.create_only = client_.options().quirks.create_only,
          .retention = !client_.options().lock_mode.empty(),
          .max_object = kMostObject};
}

std::string S3Store::policy() const {
  return policy_of(client_.options());
}

Result<> S3Store::check_put(const Context& ctx, const Key& key, const PutOptions& options) {
  TRY_OK(ctx.check());
  TRY_OK(check_key(key));
  if (options.retain_until) {
    if (!capabilities().retention) return fail(no_retention(client_));
    TRY_OK(check_future(client_, *options.retain_until));
  }
  if (options.mode == PutMode::kUnconditional || client_.options().quirks.create_only) return {};
  const auto there = head(ctx, key);
  if (there) return fail(Code::kExists, fmt::format("{} exists already in {}", key, describe()));
  if (there.error().code == Code::kNotFound) return {};
  return fail(Error(there.error()));
}

std::vector<net::Header> S3Store::object_headers(const PutOptions& options) const {
  const Options& o = client_.options();
  std::vector<net::Header> out = {{"Content-Type", "application/octet-stream"}};
  if (!o.storage_class.empty()) out.push_back({"x-amz-storage-class", o.storage_class});
  if (!o.sse.empty()) out.push_back({"x-amz-server-side-encryption", o.sse});
  if (!o.kms_key_id.empty()) out.push_back({"x-amz-server-side-encryption-aws-kms-key-id", o.kms_key_id});
  if (options.retain_until) {
    out.push_back({"x-amz-object-lock-mode", o.lock_mode});
    out.push_back({"x-amz-object-lock-retain-until-date", to_milliseconds(*options.retain_until)});
  }
  if (o.legal_hold) out.push_back({"x-amz-object-lock-legal-hold", "ON"});
  return out;
}

Result<> S3Store::put(const Context& ctx, const Key& key, Body body, const PutOptions& options) {
  TRY_OK(check_put(ctx, key, options));
  if (body_size(body) > kMostObject)
    return fail(Code::kUnsupported, fmt::format("{} is larger than an object in {} can be", key, describe()));
  return body_size(body) > kMostWhole ? put_in_parts(ctx, key, body, options)
                                      : put_whole(ctx, key, body, options);
}

Result<> S3Store::put_whole(const Context& ctx, const Key& key, Body body, const PutOptions& options) {
  Call call{.method = "PUT",
            .key = client_.options().prefix + key,
            .headers = object_headers(options),
            .body = body,
            .doing = client_.doing("putting", key, "into")};
  add_integrity(client_.options().quirks, body, &call.headers);
  if (options.mode == PutMode::kCreateOnly && client_.options().quirks.create_only)
    call.headers.push_back({"If-None-Match", "*"});
  TRY_ASSIGN(const auto answer, client_.demand(ctx, call));
  if (!answer.header("etag")) return fail(cloud::nonsense(answer, call.doing, "it has no ETag"));
  return {};
}

Result<> S3Store::put_in_parts(const Context& ctx, const Key& key, Body body, const PutOptions& options) {
  return upload_in_parts(
      client_, ctx,
      {.key = key,
       .body = body,
       .headers = object_headers(options),
       .create_only = options.mode == PutMode::kCreateOnly && client_.options().quirks.create_only});
}

Result<uint64_t> S3Store::remove_unfinished(const Context& ctx, Seconds age) {
  return abort_uploads(client_, ctx, age);
}

Result<uint64_t> S3Store::get(const Context& ctx, const Key& key, Range range, const Sink& sink) {
  return read_object(client_, ctx, key, {}, range, sink);
}

Result<ObjectInfo> S3Store::head(const Context& ctx, const Key& key) {
  return head_object(client_, ctx, key, {});
}

Result<ListPage> S3Store::list(const Context& ctx, const std::string& prefix, const std::string& token,
                               size_t most) {
  TRY_OK(ctx.check());
  const std::string& root = client_.options().prefix;
  ListPage out;
  // A page of names that are none of ours is no end.
  for (out.next = token;;) {
    Call call{.query = {{"list-type", "2"},
                        {"encoding-type", "url"},
                        {"prefix", root + prefix},
                        {"max-keys", std::to_string(std::min(std::max<size_t>(most, 1), kMostListed))}},
              .doing = client_.doing("listing", prefix.empty() ? "everything" : prefix + "…", "in")};
    if (!out.next.empty()) call.query.emplace_back("continuation-token", out.next);
    TRY_ASSIGN(const auto answer, client_.demand(ctx, call));
    auto page = parse_list(answer.body);
    if (!page) return fail(cloud::nonsense(answer, call.doing, page.error().message));
    for (ListedObject& o : page->objects) {
      if (!o.key.starts_with(root + prefix))
        return fail(cloud::nonsense(answer, call.doing, "it lists what was not asked for"));
      Key key = o.key.substr(root.size());
      if (!check_key(key)) continue;
      if (!out.objects.empty() && key <= out.objects.back().key)
        return fail(cloud::nonsense(answer, call.doing, "its names are not in order"));
      out.objects.push_back(
          {.key = std::move(key), .size = o.size, .modified = o.modified, .retain_until = {}});
    }
    if (!page->next.empty() && page->next == out.next)
      return fail(cloud::nonsense(answer, call.doing, "it does not go on"));
    out.next = std::move(page->next);
    if (!out.objects.empty() || out.next.empty()) return out;
  }
}

Result<std::vector<RemoveResult>> S3Store::remove(const Context& ctx, std::span<const Key> keys) {
  TRY_OK(ctx.check());
  return remove_objects(client_, versioning_, ctx, keys);
}

Result<> S3Store::extend_retention(const Context& ctx, const Key& key, Timestamp until) {
  TRY_OK(ctx.check());
  TRY_OK(check_key(key));
  if (!capabilities().retention) return fail(no_retention(client_));
  return extend(client_, ctx, key, until);
}

}  // namespace varve::store::s3
