#include "repo/repository.h"

#include <fmt/format.h>

#include "base/log.h"
#include "repo/config.h"
#include "repo/copy_pin.h"
#include "repo/key_ring.h"
#include "repo/probe.h"
#include "repo/replicas.h"
#include "repo/retention.h"
#include "repo/sealed_json.h"

namespace varve::repo {
namespace {

// Anyone can compute it: it ties the objects of an unencrypted repository to it, and keeps no secret.
crypto::SecretKey public_root(const RepoId& id) {
  return crypto::derive(crypto::SecretKey(), "varve unencrypted root 1", id.view());
}

tl::unexpected<Error> already_there(const store::Store& store) {
  return fail(Code::kExists, fmt::format("there is a repository at {} already", store.describe()));
}

tl::unexpected<Error> copy_not_ended(const store::Store& store) {
  return fail(Code::kIncomplete, fmt::format("the copy to {} has not ended yet", store.describe()),
              "run varve copy again: it goes on where it was");
}

// What an earlier init that did not end may have left is fine; anything else is somebody's.
Result<> check_empty(const Context& ctx, store::Store& store) {
  return store::for_each(store, ctx, "", [&](const store::ObjectInfo& info) -> Result<> {
    const std::string_view key = info.key;
    if (key == kConfigKey) return already_there(store);
    if (key.starts_with(kKeyPrefix) || key.starts_with(kProbePrefix)) return {};
    if (key.starts_with(kCopyPrefix)) return copy_not_ended(store);
    for (std::string_view ours : {"packs/", "sources/", "pins/", "leases/", "gc/", "events/"}) {
      if (key.starts_with(ours))
        return fail(Code::kConflict,
                    fmt::format("{} holds a repository that has lost its {}", store.describe(), kConfigKey),
                    "put it back from the recovery kit: varve key restore");
    }
    return fail(Code::kConflict,
                fmt::format("{} holds other things than Varve's, for example {}", store.describe(), key),
                "choose an empty place");
  });
}

Result<> check_kind_of_key(const Config& config, const KeySource& key) {
  if (config.encryption == Encryption::kNone && !key.empty())
    return fail(Code::kUsage, "a key is given, but this repository is not encrypted",
                "leave the key away, if an unencrypted repository is what you want");
  if (config.encryption != Encryption::kNone && key.empty())
    return fail(
        Code::kUsage, "this repository is encrypted, and no key is given",
        "give its passphrase or key file: $VARVE_PASSPHRASE, or passphrase_file in the configuration");
  return {};
}

store::PutOptions put_for(std::optional<Seconds> retain) {
  store::PutOptions out;
  if (retain) out.retain_until = now() + *retain + retention_slack(*retain);
  return out;
}

Result<> check_can_retain(const store::Store& store, std::optional<Seconds> retain) {
  if (!retain || store.capabilities().retention) return {};
  return fail(Code::kUnsupported,
              fmt::format("{} cannot keep objects from being removed, and retain = is set", store.describe()),
              "use a bucket with Object Lock (docs/stores/), or take out retain");
}

Result<KeyObject> store_first_key(const Context& ctx, store::Store& store, const Config& config,
                                  std::string_view config_text, const KeySource& key,
                                  const crypto::SecretKey& root, const store::PutOptions& how) {
  TRY_ASSIGN(const Secret secret, Secret::from(key));
  const crypto::Digest digest = config_digest(config_text);
  TRY_ASSIGN(KeyObject object, secret.wrap(config, digest, root, "made at init"));
  TRY_ASSIGN(const crypto::SecretKey back, secret.unwrap(object, digest));
  if (!crypto::equal(back.bytes(), root.bytes()))
    return fail(Code::kInternal, "the new key does not open the repository");
  TRY_OK(store::put_bytes(store, ctx, key_key(object.id), as_bytes(object.text), how));
  return object;
}

Result<std::string> load_config_text(const Context& ctx, store::Store& store) {
  auto bytes = store::get_bytes(store, ctx, std::string(kConfigKey), kMaxJsonObject);
  if (bytes) return std::string(as_text(*bytes));
  if (bytes.error().code != Code::kNotFound) return fail(std::move(bytes).error());
  TRY_ASSIGN(const store::ListPage copies, store.list(ctx, std::string(kCopyPrefix), "", 1));
  if (!copies.objects.empty()) return copy_not_ended(store);
  for (const char* prefix : {"packs/", "sources/"}) {
    TRY_ASSIGN(const store::ListPage page, store.list(ctx, prefix, "", 1));
    if (!page.objects.empty())
      return fail(Code::kDamaged,
                  fmt::format("the repository at {} has lost its {}", store.describe(), kConfigKey),
                  "put it back from the recovery kit: varve key restore");
  }
  return fail(Code::kNotFound, fmt::format("there is no repository at {}", store.describe()),
              "create one: varve init");
}

// Which repository it is, and its root key. Each object on its own may come from an alternative: one store
// may have lost varve.json, and another the key.
struct Way {
  std::string text;
  Config config;
  OpenedKey key;
};
Result<Way> find_way_in(const Context& ctx, store::Store& store, const KeySource& key) {
  TRY_ASSIGN(Way out, read_any(store, [&](store::Store& from) -> Result<Way> {
               Way named;
               TRY_ASSIGN(named.text, load_config_text(ctx, from));
               auto config = decode_config(named.text);
               if (!config && config.error().code == Code::kDamaged)
                 return fail(std::move(config).error().with_hint(
                     "put it back from the recovery kit: varve key restore"));
               if (!config) return fail(std::move(config).error());
               named.config = std::move(*config);
               return named;
             }));
  TRY_OK(check_kind_of_key(out.config, key));
  out.key.root = public_root(out.config.id);
  if (out.config.encryption == Encryption::kNone) return out;
  TRY_ASSIGN(const Secret secret, Secret::from(key));
  TRY_ASSIGN(const KeyRing ring, load_key_ring(ctx, store, out.config.id));
  TRY_ASSIGN(out.key, open_with(ring, secret, config_digest(out.text)));
  return out;
}

}  // namespace

Result<std::shared_ptr<Repository>> Repository::create(const Context& ctx, store::StorePtr store,
                                                       const KeySource& key, const CreateOptions& options) {
  TRY_OK(crypto::init());
  Config config;
  config.encryption = options.encryption;
  TRY_OK(check_kind_of_key(config, key));
  TRY_OK(check_can_retain(*store, options.retain));
  TRY_OK(check_empty(ctx, *store));
  crypto::random_bytes(config.id.bytes);
  config.created = std::chrono::floor<Seconds>(now());
  TRY_ASSIGN(config.create_only_honoured, probe_create_only(ctx, *store));
  if (!config.create_only_honoured)
    log::warn(
        "{} replaces objects although it is asked not to: two writers at the same instant may harm each "
        "other",
        store->describe());

  const std::string text = encode_config(config);
  crypto::SecretKey root = public_root(config.id);
  std::string key_id;
  if (config.encryption != Encryption::kNone) {
    root = crypto::SecretKey::random();
    TRY_ASSIGN(const KeyObject object,
               store_first_key(ctx, *store, config, text, key, root, put_for(options.retain)));
    key_id = object.id;
  }
  auto put = store::put_bytes(*store, ctx, std::string(kConfigKey), as_bytes(text), put_for(options.retain));
  if (!put && put.error().code != Code::kExists) return fail(std::move(put).error());
  TRY_ASSIGN(const std::string stored, load_config_text(ctx, *store));
  if (!put || stored != text) {  // another init was quicker; its keys are not ours to touch
    if (!key_id.empty()) (void)store::remove_one(*store, ctx, key_key(key_id));
    return already_there(*store);
  }
  return std::shared_ptr<Repository>(
      new Repository(std::move(store), config, text, root, key_id, options.retain));
}

Result<std::shared_ptr<Repository>> Repository::open(const Context& ctx, store::StorePtr store,
                                                     const KeySource& key, const OpenOptions& options) {
  TRY_OK(crypto::init());
  TRY_OK(check_can_retain(*store, options.retain));
  TRY_ASSIGN(Way way, read_any(*store, [&](store::Store& from) { return find_way_in(ctx, from, key); }));
  return std::shared_ptr<Repository>(
      new Repository(std::move(store), way.config, way.text, way.key.root, way.key.key_id, options.retain));
}

std::shared_ptr<Repository> Repository::copy_in(store::StorePtr store, std::optional<Seconds> retain) const {
  return std::shared_ptr<Repository>(
      new Repository(std::move(store), config_, config_text_, root_, key_id_, retain));
}

store::PutOptions Repository::lasting() const {
  return put_for(retain_);
}

crypto::SecretKey Repository::derive(std::string_view context, ByteView info) const {
  return crypto::derive(root_, context, info);
}

codec::PageHasher Repository::page_hasher() const {
  std::array<std::byte, codec::PageHasher::kSecretSize> secret;
  for (size_t i = 0; i < secret.size() / crypto::SecretKey::kSize; ++i) {
    const auto number = static_cast<std::byte>(i);
    const crypto::SecretKey part = derive("varve page identity 1", {&number, 1});
    std::copy(part.bytes().begin(), part.bytes().end(), secret.begin() + i * crypto::SecretKey::kSize);
  }
  codec::PageHasher hasher(secret);
  crypto::wipe(secret);
  return hasher;
}

}  // namespace varve::repo
