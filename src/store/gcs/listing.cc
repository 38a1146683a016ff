// Names and versions: what is listed, and what was there at a moment.
#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"
#include "store/cloud/answer.h"
#include "store/gcs/gcs_store.h"

namespace varve::store {

using namespace gcs;

namespace {

constexpr size_t kMostAtOnce = 1000;
constexpr size_t kMostRemembered = 10'000;

bool was_there(const ObjectAnswer& version, Timestamp at) {
  return version.created <= at && (!version.deleted || *version.deleted > at);
}

}  // namespace

Result<ListAnswer> GcsStore::list_page(const Context& ctx, const std::string& prefix,
                                       const std::string& token, size_t most, bool versions,
                                       const std::string& what) const {
  Query query;
  query.add("prefix", prefix);
  query.add("maxResults", fmt::format("{}", std::clamp<size_t>(most, 1, kMostAtOnce)));
  query.add("fields", versions
                          ? "kind,nextPageToken,items(name,size,generation,crc32c,timeCreated,timeDeleted)"
                          : "kind,nextPageToken,items(name,size,timeCreated)");
  if (versions) query.add("versions", "true");
  if (!token.empty()) query.add("pageToken", token);
  net::HttpRequest request;
  request.url = api_.objects_url(std::move(query));
  TRY_ASSIGN(const auto answer, api_.send(ctx, std::move(request)));
  if (answer.status != 200) return fail(api_.error_of(answer, what));
  auto page = parse_list(as_text(answer.body));
  if (!page) return fail(cloud::nonsense(answer, what, page.error().message));
  if (auto checked = check_listing(*page, prefix, versions); !checked)
    return fail(cloud::nonsense(answer, what, checked.error().message));
  if (!token.empty() && page->next == token)
    return fail(cloud::nonsense(answer, what, "it leads back to the same page"));
  return page;
}

Result<ListPage> GcsStore::list(const Context& ctx, const std::string& prefix, const std::string& token,
                                size_t most) {
  TRY_OK(ctx.check());
  const std::string what =
      fmt::format("listing {} in {}", prefix.empty() ? "everything" : printable(prefix), describe());
  const auto as_of = api_.options().as_of;
  ListPage out;
  out.next = token;
  // The service may give a page of nothing, with more behind it.
  do {
    TRY_OK(ctx.check());
    TRY_ASSIGN(auto page, list_page(ctx, api_.name(prefix), out.next, most, as_of.has_value(), what));
    for (ObjectAnswer& object : page.objects) {
      Key key = object.name.substr(api_.options().prefix.size());
      // Others may keep things in the bucket whose names no key can be.
      if (!check_key(key) || (as_of && !was_there(object, *as_of))) continue;
      out.objects.push_back({std::move(key), object.size, object.created, std::nullopt});
    }
    out.next = std::move(page.next);
  } while (out.objects.empty() && !out.next.empty());
  return out;
}

// The version that was live at that moment.
Result<ObjectAnswer> GcsStore::version_of(const Context& ctx, const Key& key) {
  {
    std::lock_guard lock(mutex_);
    if (const auto it = versions_.find(key); it != versions_.end()) return it->second;
  }
  const std::string name = api_.name(key), what = doing("looking for", key);
  std::string token;
  do {
    TRY_OK(ctx.check());
    TRY_ASSIGN(auto page, list_page(ctx, name, token, kMostAtOnce, true, what));
    for (const ObjectAnswer& object : page.objects) {
      if (object.name != name) break;
      if (!was_there(object, *api_.options().as_of)) continue;
      std::lock_guard lock(mutex_);
      if (versions_.size() >= kMostRemembered) versions_.clear();
      return versions_[key] = object;
    }
    // Names that only begin so come after it.
    const bool past = !page.objects.empty() && page.objects.back().name != name;
    token = past ? "" : std::move(page.next);
  } while (!token.empty());
  return fail(Code::kNotFound,
              fmt::format("{}: there is none as of {}", what, to_rfc3339(*api_.options().as_of)),
              "versions that were removed for good cannot be seen by as_of");
}

}  // namespace varve::store
