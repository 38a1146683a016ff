#include "repo/key_ring.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/log.h"
#include "repo/config.h"
#include "repo/replicas.h"
#include "repo/sealed_json.h"

namespace varve::repo {
namespace {

Result<KeyObject> load_key_object(const Context& ctx, store::Store& store, const store::Key& name) {
  return read_any(store, [&](store::Store& from) -> Result<KeyObject> {
    TRY_ASSIGN(const Buffer bytes, store::get_bytes(from, ctx, name, kMaxJsonObject));
    return parse_key_object(std::string_view(name).substr(kKeyPrefix.size()), as_text(bytes));
  });
}

bool says_what_the_object_is(Code code) {
  return code == Code::kDamaged || code == Code::kUnsupported || code == Code::kDenied;
}

tl::unexpected<Error> none_fits(const KeyRing& ring, const Secret& secret, size_t tried) {
  const std::string_view kind = secret.kind();
  const std::string_view named = kind == "key-file" ? "key file" : kind;
  if (tried > 0) {
    std::string message = fmt::format("wrong {}: it opens none of the {} key object{} of this repository",
                                      named, tried, tried == 1 ? "" : "s");
    if (!ring.unreadable.empty()) message += fmt::format(" ({} more cannot be read)", ring.unreadable.size());
    return fail(Code::kUsage, std::move(message));
  }
  // What may not be read is not damaged.
  for (const Error& e : ring.unreadable)
    if (e.code == Code::kDenied) return fail(Error(e));
  if (!ring.unreadable.empty()) {
    Error error{Code::kDamaged, "no key object of this repository can be read"};
    error.hint = "put them back from the recovery kit: varve key restore";
    error.context.push_back(ring.unreadable.front().describe());
    return fail(std::move(error));
  }
  if (!ring.keys.empty())
    return fail(Code::kUsage, fmt::format("this repository is not opened by a {}", named),
                fmt::format("give its {}", ring.keys.front().kind == "key-file" ? "key file" : "passphrase"));
  if (ring.foreign > 0)
    return fail(Code::kDamaged,
                fmt::format("the objects under {} are of another repository than {}", kKeyPrefix, kConfigKey),
                "put the true ones back from the recovery kit: varve key restore");
  return fail(Code::kDamaged, "the repository's key objects are gone",
              "put them back from the recovery kit: varve key restore");
}

}  // namespace

Result<KeyRing> load_key_ring(const Context& ctx, store::Store& store, const RepoId& repository) {
  KeyRing ring;
  std::vector<store::Key> names;
  TRY_OK(store::for_each(store, ctx, std::string(kKeyPrefix), [&](const store::ObjectInfo& info) -> Result<> {
    names.push_back(info.key);
    return {};
  }));
  for (const store::Key& name : names) {
    auto object = load_key_object(ctx, store, name);
    if (object && object->repository == repository) {
      ring.keys.push_back(std::move(*object));
    } else if (object) {
      ++ring.foreign;
    } else if (says_what_the_object_is(object.error().code)) {
      ring.unreadable.push_back(std::move(object).error());
    } else if (object.error().code != Code::kNotFound) {  // removed meanwhile
      return fail(std::move(object).error());
    }
  }
  return ring;
}

Result<OpenedKey> open_with(const KeyRing& ring, const Secret& secret, const crypto::Digest& config_digest) {
  for (const Error& e : ring.unreadable) log::warn("a key object cannot be read: {}", e.describe());
  size_t tried = 0;
  std::optional<Error> altered;
  for (const KeyObject& object : ring.keys) {
    if (object.kind != secret.kind()) continue;
    auto root = secret.unwrap(object, config_digest);
    if (root) return OpenedKey{*root, object.id};
    if (root.error().code == Code::kUsage) {
      ++tried;
    } else if (root.error().code == Code::kDamaged) {
      altered = std::move(root).error();
    } else {
      return fail(std::move(root).error());
    }
  }
  if (altered) return fail(std::move(*altered));
  return none_fits(ring, secret, tried);
}

namespace {
Repository::KeyInfo info_of(const KeyObject& object, const std::string& current) {
  return {object.id, object.kind, object.label, object.created, object.id == current};
}
}  // namespace

Result<std::vector<Repository::KeyInfo>> Repository::list_keys(const Context& ctx) const {
  TRY_ASSIGN(const KeyRing ring, load_key_ring(ctx, *store_, id()));
  for (const Error& e : ring.unreadable) log::warn("a key object cannot be read: {}", e.describe());
  std::vector<KeyInfo> out;
  for (const KeyObject& object : ring.keys) out.push_back(info_of(object, key_id_));
  return out;
}

Result<Repository::KeyInfo> Repository::add_key(const Context& ctx, const KeySource& key,
                                                const std::string& label) const {
  if (!encrypted()) return fail(Code::kUsage, "this repository is not encrypted: it has no keys");
  TRY_OK(check_may_write());
  TRY_ASSIGN(const Secret secret, Secret::from(key));
  const crypto::Digest digest = config_digest(config_text_);
  TRY_ASSIGN(const KeyObject object, secret.wrap(config_, digest, root_, label));
  TRY_ASSIGN(const crypto::SecretKey back, secret.unwrap(object, digest));
  if (!crypto::equal(back.bytes(), root_.bytes()))
    return fail(Code::kInternal, "the new key does not open the repository; nothing was stored");
  TRY_OK(store::put_bytes(*store_, ctx, key_key(object.id), as_bytes(object.text), lasting()));
  return info_of(object, key_id_);
}

Result<> Repository::remove_key(const Context& ctx, const std::string& key_id, bool even_current) const {
  TRY_OK(check_may_collect());
  TRY_OK(check_name(key_id));
  const store::Key name = key_key(key_id);
  TRY_ASSIGN(const bool there, store::exists(*store_, ctx, name));
  if (!there) return fail(Code::kNotFound, fmt::format("there is no key {}", key_id), "varve key list");
  TRY_ASSIGN(const KeyRing ring, load_key_ring(ctx, *store_, id()));
  const auto ours = [&](const KeyObject& o) { return o.id == key_id; };
  const auto it = std::find_if(ring.keys.begin(), ring.keys.end(), ours);
  if (it != ring.keys.end() && ring.keys.size() == 1)
    return fail(Code::kConflict, fmt::format("{} is the last key that opens this repository", key_id),
                "add another first: varve key add");
  if (key_id == key_id_ && !even_current)
    return fail(Code::kConflict, fmt::format("{} is the key this command was given", key_id),
                "open the repository with another key, to be sure that you have one");
  TRY_OK(store::remove_one(*store_, ctx, name));
  if (it == ring.keys.end()) return {};
  // Two people may remove the last two keys at once, each seeing the other's.
  TRY_ASSIGN(const KeyRing left, load_key_ring(ctx, *store_, id()));
  if (!left.keys.empty()) return {};
  TRY_OK(store::put_bytes(*store_, ctx, name, as_bytes(it->text)));
  return fail(Code::kConflict, fmt::format("every other key went meanwhile: {} was put back", key_id));
}

}  // namespace varve::repo
