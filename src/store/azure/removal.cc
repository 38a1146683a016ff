// Removing blobs, several at a time. Each by a request of its own: Blob Batch would need a permission to
// write the container itself, which whoever only deletes need not have.
#include <algorithm>
#include <fmt/format.h>

#include "base/log.h"
#include "base/task_group.h"
#include "store/azure/answers.h"
#include "store/azure/azure_store.h"
#include "store/azure/reading.h"
#include "store/cloud/answer.h"

namespace varve::store {
namespace {

constexpr size_t kAtOnce = 8;
constexpr size_t kMostLeft = 10'000;

bool is_absent(const net::HttpResponse& answer) {
  const std::string code = azure::words_of(answer).code;
  return answer.status == 404 && azure::is_from_service(answer) && !code.starts_with("Container");
}

}  // namespace

Result<std::vector<RemoveResult>> AzureStore::remove(const Context& ctx, std::span<const Key> keys) {
  TRY_OK(ctx.check());
  std::vector<RemoveResult> results;
  for (const Key& key : keys) results.push_back({key, {}});
  std::atomic<size_t> next = 0;
  TaskGroup group(ctx.stop);
  for (size_t i = 0; i < std::min(kAtOnce, keys.size()); ++i) {
    group.spawn([&](const std::stop_token& stop) -> Result<> {
      Context own = ctx;
      own.stop = stop;
      for (size_t at = next++; at < keys.size(); at = next++) results[at].result = remove_key(own, keys[at]);
      return {};
    });
  }
  TRY_OK(group.wait());
  TRY_OK(ctx.check());
  return results;
}

// In an account that keeps versions a removed blob becomes a version, even one under retention. So the
// retention is looked at first, by the service's own clock: what must be kept stays in view. Then the version
// goes too.
Result<> AzureStore::remove_key(const Context& ctx, const Key& key) {
  TRY_OK(check_key(key));
  TRY_OK(ctx.check());
  const std::string what = doing("removing", key, "from");
  std::string version;
  if (versions_ != Versions::kNone) {
    auto info = azure::look(*client_, ctx, {name_of(key)}, what);
    if (info) {
      TRY_OK(held(*info, what));
      version = std::move(info->version);
    } else if (info.error().code != Code::kNotFound) {
      return fail(std::move(info).error());
    }
    std::lock_guard lock(mutex_);
    if (const auto it = left_.find(key); !info && it != left_.end()) version = it->second;
    if (!info && version.empty()) return {};
  }
  TRY_OK(remove_current(ctx, key, what));
  return version.empty() ? Result<>() : remove_version(ctx, key, version, what);
}

Result<> AzureStore::held(const azure::BlobInfo& info, const std::string& what) const {
  if (info.legal_hold)
    return fail(Code::kConflict, what + ": a legal hold is on it",
                "it can be removed once the hold is lifted");
  if (info.retain_until && *info.retain_until > info.asked)
    return fail(Code::kConflict,
                fmt::format("{}: it is under retention until {}", what, to_rfc3339(*info.retain_until)));
  return {};
}

Result<> AzureStore::remove_current(const Context& ctx, const Key& key, const std::string& what) {
  const azure::Request request{
      .method = "DELETE", .blob = name_of(key), .headers = {{"x-ms-delete-snapshots", "include"}}};
  TRY_ASSIGN(const auto answer, client_->send(ctx, request, what));
  if (answer.status == 202 && azure::is_from_service(answer)) return {};
  if (is_absent(answer)) return {};
  if (answer.status / 100 == 2) return fail(cloud::nonsense(answer, what, "it has no x-ms-request-id"));
  Error error = client_->failure(answer, what);
  if (answer.status == 412) error.code = Code::kConflict;
  return fail(std::move(error));
}

Result<> AzureStore::remove_version(const Context& ctx, const Key& key, const std::string& version,
                                    const std::string& what) {
  const azure::Request request{.method = "DELETE", .blob = name_of(key), .query = {{"versionid", version}}};
  auto answer = client_->send(ctx, request, what);
  const bool gone =
      answer && ((answer->status == 202 && azure::is_from_service(*answer)) || is_absent(*answer));
  // Whoever may not remove versions leaves that to a lifecycle rule, on purpose: the blob itself is removed.
  const bool denied = answer && answer->status == 403 && azure::is_from_service(*answer);
  std::lock_guard lock(mutex_);
  if (gone || denied) {
    left_.erase(key);
    if (denied && !warned_.exchange(true))
      log::warn(
          "{}: removed, but its version remains, for it must not be deleted by {}; a lifecycle rule "
          "frees the space",
          what, client_->credentials().origin());
    return {};
  }
  // The blob is not there any more when this is tried again: its version must be known then.
  if (left_.size() < kMostLeft) left_[key] = version;
  if (!answer) return fail(std::move(answer).error());
  return fail(client_->failure(*answer, what));
}

}  // namespace varve::store
