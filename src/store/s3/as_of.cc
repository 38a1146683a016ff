#include "store/s3/as_of.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"
#include "store/s3/policy.h"
#include "store/s3/read.h"

namespace varve::store::s3 {
namespace {

constexpr size_t kMostRemembered = 1 << 16;

// key-marker and version-id-marker in one text. Keys hold no zero byte.
std::string to_token(const std::string& key, const std::string& version) {
  return key + std::string(1, '\0') + version;
}
std::pair<std::string, std::string> from_token(const std::string& token) {
  const size_t cut = token.find('\0');
  if (cut == token.npos) return {token, ""};
  return {token.substr(0, cut), token.substr(cut + 1)};
}

}  // namespace

AsOfStore::AsOfStore(Options options, Client::CredentialSource::Fetch fetch)
    : client_(options, std::move(fetch)), at_(*options.as_of) {}

std::string AsOfStore::describe() const {
  return fmt::format("{} as of {}", client_.describe(), to_rfc3339(at_));
}

std::string AsOfStore::policy() const {
  return policy_of(client_.options());
}

Error AsOfStore::refuse(std::string_view verb, std::string_view what) const {
  return {Code::kDenied,
          fmt::format("cannot {} {}: {} is a view of the past", verb, printable(what), describe()),
          "open the store without as_of to change it"};
}

Result<> AsOfStore::put(const Context&, const Key& key, Body, const PutOptions&) {
  return fail(refuse("write", key));
}

Result<std::vector<RemoveResult>> AsOfStore::remove(const Context&, std::span<const Key> keys) {
  return fail(refuse("remove", keys.empty() ? "objects" : std::string_view(keys[0])));
}

Result<> AsOfStore::extend_retention(const Context&, const Key& key, Timestamp) {
  return fail(refuse("extend the retention of", key));
}

void AsOfStore::remember(const Key& key, const std::string& version) {
  std::lock_guard lock(mutex_);
  if (versions_.size() >= kMostRemembered) versions_.clear();
  versions_[key] = version;
}

Result<std::string> AsOfStore::version_at(const Context& ctx, const Key& key) {
  TRY_OK(ctx.check());
  TRY_OK(check_key(key));
  {
    std::lock_guard lock(mutex_);
    if (const auto known = versions_.find(key); known != versions_.end()) return known->second;
  }
  TRY_ASSIGN(const auto all, versions_of(client_, ctx, client_.options().prefix + key));
  const auto then =
      std::find_if(all.begin(), all.end(), [&](const ListedVersion& v) { return v.modified <= at_; });
  if (then == all.end() || then->delete_marker)
    return fail(Code::kNotFound, fmt::format("there was no {} in {}", key, describe()));
  remember(key, then->version);
  return then->version;
}

Result<uint64_t> AsOfStore::get(const Context& ctx, const Key& key, Range range, const Sink& sink) {
  TRY_ASSIGN(const std::string version, version_at(ctx, key));
  return read_object(client_, ctx, key, version, range, sink);
}

Result<ObjectInfo> AsOfStore::head(const Context& ctx, const Key& key) {
  TRY_ASSIGN(const std::string version, version_at(ctx, key));
  return head_object(client_, ctx, key, version);
}

// The versions of a key come from the newest to the oldest, so the first that is old enough was the current
// one. The token names the key to go on behind, or a version of a key whose newer ones were all too new.
Result<ListPage> AsOfStore::list(const Context& ctx, const std::string& prefix, const std::string& token,
                                 size_t most) {
  const std::string& root = client_.options().prefix;
  auto [key_marker, version_marker] = from_token(token);
  ListPage out;
  std::string decided = version_marker.empty() ? key_marker : "";
  for (;;) {
    TRY_OK(ctx.check());
    TRY_ASSIGN(const auto page, list_versions(client_, ctx, root + prefix, key_marker, version_marker));
    for (const ListedVersion& v : page.versions) {
      if (v.key == decided || v.modified > at_) continue;
      decided = v.key;
      Key key = v.key.substr(root.size());
      if (v.delete_marker || !check_key(key)) continue;
      if (out.objects.size() == most) {
        out.next = to_token(root + out.objects.back().key, "");
        return out;
      }
      remember(key, v.version);
      out.objects.push_back(
          {.key = std::move(key), .size = v.size, .modified = v.modified, .retain_until = {}});
    }
    if (!page.more) return out;
    key_marker = page.next_key;
    version_marker = key_marker == decided ? "" : page.next_version;
    if (!out.objects.empty()) {
      out.next = to_token(key_marker, version_marker);
      return out;
    }
  }
}

}  // namespace varve::store::s3
