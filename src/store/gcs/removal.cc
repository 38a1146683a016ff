// Removing, and keeping from removal.
#include <algorithm>
#include <atomic>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/task_group.h"
#include "base/text.h"
#include "store/cloud/answer.h"
#include "store/gcs/gcs_store.h"

namespace varve::store {

using namespace gcs;

namespace {

constexpr size_t kRemoversAtOnce = 8;

}  // namespace

// One request for each key, some at a time: the service has no other way that tells for each, but for
// requests packed into one, which it carries out one by one all the same.
Result<std::vector<RemoveResult>> GcsStore::remove(const Context& ctx, std::span<const Key> keys) {
  TRY_OK(ctx.check());
  std::vector<RemoveResult> results;
  for (const Key& key : keys) results.push_back({key, {}});
  std::atomic<size_t> next = 0;
  const auto work = [&](std::stop_token) -> Result<> {
    for (size_t i = next++; i < results.size(); i = next++)
      results[i].result = remove_key(ctx, results[i].key);
    return {};
  };
  const size_t workers = std::min(keys.size(), kRemoversAtOnce);
  if (workers <= 1) {
    TRY_OK(work({}));
  } else {
    TaskGroup group(ctx.stop);
    for (size_t n = 0; n < workers; ++n) group.spawn(work);
    TRY_OK(group.wait());
  }
  return results;
}

Result<> GcsStore::remove_key(const Context& ctx, const Key& key) {
  TRY_OK(ctx.check());
  TRY_OK(check_key(key));
  TRY_OK(check_writable("remove", key));
  bool all_versions = !api_.options().keep_versions;
  if (all_versions) {
    TRY_ASSIGN(const auto bucket, api_.bucket(ctx));
    all_versions = !bucket || bucket->versioning;  // where we may not know, look
  }
  if (!all_versions) return remove_generation(ctx, key, std::nullopt);

  const std::string name = api_.name(key);
  std::vector<uint64_t> generations;
  std::string token;
  do {
    TRY_OK(ctx.check());
    TRY_ASSIGN(auto page, list_page(ctx, name, token, 1000, true, doing("removing", key, "from")));
    for (const ObjectAnswer& object : page.objects)
      if (object.name == name) generations.push_back(object.generation);
    const bool past = !page.objects.empty() && page.objects.back().name != name;
    token = past ? "" : std::move(page.next);
  } while (!token.empty());
  // The live one first, which is the newest: when it is retained, nothing has changed.
  std::sort(generations.begin(), generations.end(), std::greater<>());
  for (const uint64_t generation : generations) TRY_OK(remove_generation(ctx, key, generation));
  return {};
}

Result<> GcsStore::remove_generation(const Context& ctx, const Key& key, std::optional<uint64_t> generation) {
  Query query;
  if (generation) query.add("generation", fmt::format("{}", *generation));
  net::HttpRequest request;
  request.method = "DELETE";
  request.url = api_.object_url(api_.name(key), std::move(query));
  TRY_ASSIGN(const auto answer, api_.send(ctx, std::move(request)));
  if (answer.status == 204 || answer.status == 200) return {};
  Error error = api_.error_of(answer, doing("removing", key, "from"));
  if (error.code == Code::kNotFound) return {};
  if (error.code == Code::kDenied && answer.status == 403) {
    // The words for "is retained" have changed over time; what the object itself says has not.
    const auto object = look(ctx, key);
    if (object && object->retained_by && *object->retained_by > now()) error.code = Code::kConflict;
  }
  return fail(std::move(error));
}

Result<> GcsStore::extend_retention(const Context& ctx, const Key& key, Timestamp until) {
  TRY_OK(ctx.check());
  TRY_OK(check_key(key));
  TRY_OK(check_writable("extend the retention of", key));
  TRY_ASSIGN(const bool can, can_retain(ctx));
  if (!can)
    return fail(Code::kUnsupported, fmt::format("the bucket of {} has no object retention", describe()),
                "docs/stores/gcs.md tells how to enable it; where varve may not see that, set retention");
  TRY_ASSIGN(const ObjectAnswer object, look(ctx, key));
  const bool lock = api_.options().lock_retention.value_or(false);
  const bool held_locked = object.retention && object.retention->locked;
  const bool later = !object.retention || object.retention->until < until;
  // An object from the time before `retention = "locked"` is locked as well now.
  const bool to_lock = lock && object.retention && !held_locked;
  if (!later && !to_lock) return {};
  if (until <= now() && !to_lock) return {};  // it would be over already

  const nlohmann::json body = {{"retention",
                                {{"mode", lock || held_locked ? "Locked" : "Unlocked"},
                                 {"retainUntilTime", to_rfc3339(later ? until : object.retention->until)}}}};
  const std::string text = body.dump();
  const ByteView piece = as_bytes(text);
  Query query;
  // Of exactly what was looked at: another's longer retention must not be shortened.
  query.add("generation", fmt::format("{}", object.generation))
      .add("ifMetagenerationMatch", fmt::format("{}", object.metageneration))
      .add("fields", kObjectFields);
  if (to_lock) query.add("overrideUnlockedRetention", "true");
  net::HttpRequest request;
  request.method = "PATCH";
  request.url = api_.object_url(object.name, std::move(query));
  request.headers = {{"Content-Type", "application/json; charset=UTF-8"}};
  request.body = std::span<const ByteView>(&piece, 1);
  const std::string what = doing("extending the retention of", key);
  TRY_ASSIGN(const auto answer, api_.send(ctx, std::move(request)));
  if (answer.status == 412)
    return fail(Error{Code::kConflict, fmt::format("{}: someone else changed it meanwhile", what)}.with_retry(
        Retry::kTransient));
  if (answer.status != 200) return fail(api_.error_of(answer, what));
  auto now_held = parse_object(as_text(answer.body));
  if (!now_held) return fail(cloud::nonsense(answer, what, now_held.error().message));
  if (!now_held->retention || now_held->retention->until < until)
    return fail(cloud::nonsense(answer, what, "the retention is not what was asked for"));
  return {};
}

}  // namespace varve::store
