#include "store/s3/versions.h"

#include "store/cloud/answer.h"

namespace varve::store::s3 {

Result<bool> Versioning::ask(Client& client, const Context& ctx) {
  if (!client.options().quirks.versions) return false;
  {
    std::lock_guard lock(mutex_);
    if (known_) return *known_;
  }
  const Call call{.query = {{"versioning", ""}},
                  .doing = "asking whether " + client.describe() + " keeps versions"};
  TRY_ASSIGN(const auto answer, client.send(ctx, call));
  bool kept = false;
  if (answer.status / 100 == 2) {
    const auto said = parse_versioning(answer.body);
    if (!said) return fail(cloud::nonsense(answer, call.doing, said.error().message));
    kept = *said;
  } else {
    Error refusal = client.refusal(answer, call.doing);
    // A service that does not know the question keeps none.
    if (refusal.code != Code::kUnsupported) return fail(std::move(refusal));
  }
  std::lock_guard lock(mutex_);
  known_ = kept;
  return kept;
}

Result<VersionsAnswer> list_versions(Client& client, const Context& ctx, const std::string& prefix,
                                     const std::string& key_marker, const std::string& version_marker,
                                     size_t most) {
  Call call{.query = {{"versions", ""},
                      {"encoding-type", "url"},
                      {"prefix", prefix},
                      {"max-keys", std::to_string(most)}},
            .doing = client.doing("listing the versions of", prefix, "in")};
  if (!key_marker.empty()) call.query.emplace_back("key-marker", key_marker);
  if (!version_marker.empty()) call.query.emplace_back("version-id-marker", version_marker);
  TRY_ASSIGN(const auto answer, client.demand(ctx, call));
  auto page = parse_versions(answer.body);
  if (!page) return fail(cloud::nonsense(answer, call.doing, page.error().message));
  for (const ListedVersion& v : page->versions) {
    if (!v.key.starts_with(prefix))
      return fail(cloud::nonsense(answer, call.doing, "it lists what was not asked for"));
  }
  if (page->more && page->next_key == key_marker && page->next_version == version_marker)
    return fail(cloud::nonsense(answer, call.doing, "it does not go on"));
  return page;
}

Result<std::vector<ListedVersion>> versions_of(Client& client, const Context& ctx, const std::string& key) {
  std::vector<ListedVersion> out;
  std::string key_marker, version_marker;
  // The key itself comes before the longer ones that begin with it.
  for (size_t most = 10;; most = 1000) {
    TRY_ASSIGN(auto page, list_versions(client, ctx, key, key_marker, version_marker, most));
    for (ListedVersion& v : page.versions) {
      if (v.key != key) return out;
      out.push_back(std::move(v));
    }
    if (!page.more) return out;
    key_marker = std::move(page.next_key);
    version_marker = std::move(page.next_version);
  }
}

}  // namespace varve::store::s3
