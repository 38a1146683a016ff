#include "store/azure/azure_store.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"
#include "crypto/crypto.h"
#include "crypto/signing.h"
#include "store/azure/answers.h"
#include "store/azure/dates.h"
#include "store/azure/listing.h"
#include "store/azure/reading.h"
#include "store/cloud/answer.h"

namespace varve::store {

using azure::Request;

AzureStore::AzureStore(std::unique_ptr<azure::Client> client, std::string prefix, azure::Writing writing)
    : client_(std::move(client)), prefix_(std::move(prefix)), writing_(std::move(writing)) {}

std::string AzureStore::describe() const {
  return azure::address_of(*client_, prefix_);
}

std::string AzureStore::doing(const char* what, const Key& key, const char* preposition) const {
  return fmt::format("{} {} {} {}", what, key, preposition, describe());
}

Capabilities AzureStore::capabilities() const {
  constexpr uint64_t kMostBlocks = 50'000, kLargestBlock = uint64_t{4000} << 20;
  return {.create_only = true,
          .retention = !writing_.immutability.empty(),
          .max_object = kMostBlocks * kLargestBlock};
}

Result<uint64_t> AzureStore::get(const Context& ctx, const Key& key, Range range, const Sink& sink) {
  TRY_OK(check_key(key));
  TRY_OK(ctx.check());
  return azure::read(*client_, ctx, {name_of(key)}, range, sink, doing("reading", key, "from"));
}

Result<ObjectInfo> AzureStore::head(const Context& ctx, const Key& key) {
  TRY_OK(check_key(key));
  TRY_OK(ctx.check());
  TRY_ASSIGN(const azure::BlobInfo info,
             azure::look(*client_, ctx, {name_of(key)}, doing("asking for", key, "in")));
  return ObjectInfo{
      .key = key, .size = info.size, .modified = info.modified, .retain_until = info.retain_until};
}

Result<ListPage> AzureStore::list(const Context& ctx, const std::string& prefix, const std::string& token,
                                  size_t most) {
  TRY_OK(ctx.check());
  azure::Pages pages(*client_, prefix_, prefix, /*versions=*/false);
  ListPage out{.objects = {}, .next = token};
  do {
    TRY_ASSIGN(auto page, pages.next(ctx, out.next, most));
    for (azure::Blob& blob : page.blobs)
      out.objects.push_back(
          {.key = std::move(blob.name), .size = blob.size, .modified = blob.modified, .retain_until = {}});
    out.next = std::move(page.next);
  } while (out.objects.empty() && !out.next.empty());
  return out;
}

std::vector<net::Header> AzureStore::headers_of_new(const PutOptions& options) const {
  std::vector<net::Header> out;
  if (options.mode == PutMode::kCreateOnly) out.push_back({"If-None-Match", "*"});
  if (!writing_.tier.empty()) out.push_back({"x-ms-access-tier", writing_.tier});
  if (options.retain_until) {
    out.push_back(
        {"x-ms-immutability-policy-until-date", azure::to_http_date(azure::round_up(*options.retain_until))});
    out.push_back({"x-ms-immutability-policy-mode", writing_.immutability});
  }
  return out;
}

Result<> AzureStore::put(const Context& ctx, const Key& key, Body body, const PutOptions& options) {
  TRY_OK(check_key(key));
  TRY_OK(ctx.check());
  if (options.retain_until && writing_.immutability.empty())
    return fail(Code::kUnsupported, fmt::format("{} is not set up for retention", describe()),
                "enable version-level immutability for the container and set immutability = \"unlocked\"");
  if (options.retain_until && *options.retain_until <= client_->now())
    return fail(Code::kUsage, fmt::format("{} cannot be kept until {}, which has passed", key,
                                          to_rfc3339(*options.retain_until)));
  const uint64_t size = body_size(body);
  return size <= writing_.block_size ? put_whole(ctx, key, body, options)
                                     : put_blocks(ctx, key, body, size, options);
}

Result<> AzureStore::put_whole(const Context& ctx, const Key& key, Body body, const PutOptions& options) {
  const std::string what = doing("writing", key, "to");
  Request request{.method = "PUT", .blob = name_of(key), .headers = headers_of_new(options), .body = body};
  request.headers.push_back({"x-ms-blob-type", "BlockBlob"});
  request.headers.push_back({"Content-Type", "application/octet-stream"});
  request.headers.push_back({"Content-MD5", crypto::to_base64(crypto::md5(body))});
  TRY_ASSIGN(const auto answer, client_->send(ctx, request, what));
  return put_answered(answer, key, options, what);
}

Result<> AzureStore::put_answered(const net::HttpResponse& answer, const Key& key, const PutOptions& options,
                                  const std::string& what) {
  if (answer.status == 201) {
    if (!azure::is_from_service(answer))
      return fail(cloud::nonsense(answer, what, "it has no x-ms-request-id"));
    versions_ = answer.header("x-ms-version-id") ? Versions::kKept : Versions::kNone;
    return {};
  }
  if (answer.status / 100 == 2) return fail(cloud::nonsense(answer, what, "nothing was created"));
  const std::string code = azure::words_of(answer).code;
  const bool taken = answer.status == 412 || code == "BlobAlreadyExists" ||
                     code == "UnauthorizedBlobOverwrite" || code.starts_with("BlobImmutable");
  if (options.mode == PutMode::kCreateOnly && azure::is_from_service(answer) && taken)
    return fail(Code::kExists, fmt::format("{} exists already in {}", key, describe()));
  return fail(client_->failure(answer, what));
}

Result<> AzureStore::extend_retention(const Context& ctx, const Key& key, Timestamp until) {
  TRY_OK(check_key(key));
  TRY_OK(ctx.check());
  if (writing_.immutability.empty())
    return fail(Code::kUnsupported, fmt::format("{} is not set up for retention", describe()),
                "enable version-level immutability for the container and set immutability = \"unlocked\"");
  const std::string what = doing("extending the retention of", key, "in");
  const Timestamp wanted = azure::round_up(until);
  TRY_ASSIGN(const azure::BlobInfo before, azure::look(*client_, ctx, {name_of(key)}, what));
  if (before.retain_until && *before.retain_until >= wanted) return {};
  // A locked policy stays locked.
  const Request request{
      .method = "PUT",
      .blob = name_of(key),
      .query = {{"comp", "immutabilityPolicies"}},
      .headers = {{"x-ms-immutability-policy-until-date", azure::to_http_date(wanted)},
                  {"x-ms-immutability-policy-mode", before.is_locked ? "locked" : writing_.immutability}}};
  TRY_ASSIGN(const auto answer, client_->send(ctx, request, what));
  if (answer.status == 200 && azure::is_from_service(answer)) return {};
  if (answer.status / 100 == 2) return fail(cloud::nonsense(answer, what, "nothing was set"));
  Error refused = client_->failure(answer, what);
  if (refused.retry != Retry::kNever) return fail(std::move(refused));
  // Another may have extended it further meanwhile, and ours would have shortened it.
  TRY_ASSIGN(const azure::BlobInfo after, azure::look(*client_, ctx, {name_of(key)}, what));
  if (after.retain_until && *after.retain_until >= wanted) return {};
  return fail(std::move(refused));
}

}  // namespace varve::store
