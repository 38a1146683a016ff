// An open repository: its store, its identity and its key. Everything else in this module starts from it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "crypto/crypto.h"
#include "repo/ids.h"
#include "store/store.h"

namespace varve::repo {

enum class Encryption : uint8_t { kNone = 0, kAes256Gcm = 1 };  // numbers are part of the format

// The content of varve.json: readable without a key, bound to the key by hash (an altered one opens with
// none).
struct Config {
  uint32_t format = 1;
  RepoId id;
  Timestamp created = {};
  Encryption encryption = Encryption::kAes256Gcm;
  // Features a program must know to do each. An unknown one: kUnsupported, "written by a newer varve".
  std::vector<std::string> features_read, features_write, features_collect;
  bool create_only_honoured = true;  // as probed at init
};

// How a person's secret reaches us; exactly one is set, or none for an unencrypted repository.
struct KeySource {
  crypto::SecretText passphrase;  // Argon2id
  Buffer key_file;                // the content of a key file (see generate_key_file())
  ~KeySource() { crypto::wipe(key_file); }
  bool empty() const { return passphrase.empty() && key_file.empty(); }
};
// A new key file: one line of text with 32 random bytes.
std::string generate_key_file();

class Repository {
 public:
  // retain: for so long from their writing the store itself is to refuse the removal of what backups need
  // (retention.h). kUnsupported for a store that cannot.
  struct CreateOptions {
    Encryption encryption = Encryption::kAes256Gcm;
    std::optional<Seconds> retain = {};
  };
  struct OpenOptions {
    std::optional<Seconds> retain;
  };
  // Probes create-only with racing pairs, writes the key object, then varve.json (the commit); after a crash
  // in between it may be run again. kExists when there is one, kConflict when the store holds anything else.
  static Result<std::shared_ptr<Repository>> create(const Context& ctx, store::StorePtr store,
                                                    const KeySource& key, const CreateOptions& options);
  // kNotFound (hint: varve init), kUnsupported (newer format), kUsage (wrong key, missing key, key given for
  // an unencrypted one), kDamaged (varve.json or every fitting key object altered or gone). A damaged key
  // object does not hide a good one; it is warned about.
  static Result<std::shared_ptr<Repository>> open(const Context& ctx, store::StorePtr store,
                                                  const KeySource& key, const OpenOptions& options = {});

  // The same repository in another store, which holds a copy of it: its varve.json must be config_text().
  std::shared_ptr<Repository> copy_in(store::StorePtr store, std::optional<Seconds> retain = {}) const;

  store::Store& store() const { return *store_; }
  store::StorePtr store_ptr() const { return store_; }
  const Config& config() const { return config_; }
  const RepoId& id() const { return config_.id; }
  bool encrypted() const { return config_.encryption != Encryption::kNone; }
  // varve.json as it was when this was opened, and the key object that opened it (empty: not encrypted).
  const std::string& config_text() const { return config_text_; }
  const std::string& key_id() const { return key_id_; }
  const std::optional<Seconds>& retain() const { return retain_; }
  // How an object is put that backups need: create-only, and locked where that is promised.
  store::PutOptions lasting() const;
  // kUnsupported when the repository needs, for writing or for removing, what this program does not know.
  // put_object() asks the first by itself; whoever removes anything asks the second.
  Result<> check_may_write() const;
  Result<> check_may_collect() const;

  // Keys for one purpose; for an unencrypted repository derived from its id: they then protect from damage,
  // not people.
  crypto::SecretKey derive(std::string_view context, ByteView info) const;
  codec::PageHasher page_hasher() const;

  // Small objects (manifests, pins, …) of at most 256 MiB, sealed and bound to their kind and name
  // (docs/format/envelope.md).
  Result<Buffer> seal_object(std::string_view kind, const store::Key& key, ByteView plain) const;
  Result<Buffer> open_object(std::string_view kind, const store::Key& key, ByteView sealed) const;
  // Without a key: it is as long as it must be, and its checksum fits. What then does not open is not damaged
  // but another object, or a forged one.
  static bool object_is_intact(ByteView sealed);
  // Create-only: kExists. What is put was opened again and compared before.
  Result<> put_object(const Context& ctx, std::string_view kind, const store::Key& key, ByteView plain,
                      const store::PutOptions& how = {}) const;
  // kNotFound, kDamaged (with the object's name), store errors.
  Result<Buffer> get_object(const Context& ctx, std::string_view kind, const store::Key& key) const;

  // --- keys: each object under keys/ opens the repository for one secret ---
  struct KeyInfo {
    std::string id;    // of the object
    std::string kind;  // "passphrase" or "key-file"
    std::string label;
    Timestamp created = {};
    bool current = false;  // the one this repository was opened with
  };
  Result<std::vector<KeyInfo>> list_keys(const Context& ctx) const;
  Result<KeyInfo> add_key(const Context& ctx, const KeySource& key, const std::string& label) const;
  // kConflict for the last one, or for the one in use unless `even_current`.
  Result<> remove_key(const Context& ctx, const std::string& key_id, bool even_current) const;
  // One printable page: what is needed to open the repository years from now, without the secret itself. It
  // holds varve.json and the key objects, so that their loss is survivable:
  Result<std::string> recovery_kit(const Context& ctx, const std::string& address) const;
  // … puts back those that are missing or damaged, and tells which. kConflict, and nothing is changed, when
  // an intact object of another content stands there. kDamaged when the page was not copied exactly.
  static Result<std::vector<store::Key>> restore_from_kit(const Context& ctx, store::Store& store,
                                                          std::string_view kit);

 private:
  Repository(store::StorePtr s, Config c, std::string config_text, crypto::SecretKey root, std::string key_id,
             std::optional<Seconds> retain)
      : store_(std::move(s)),
        config_(std::move(c)),
        config_text_(std::move(config_text)),
        root_(root),
        key_id_(std::move(key_id)),
        retain_(retain) {}
  store::StorePtr store_;
  Config config_;
  std::string config_text_;  // varve.json, byte for byte: the keys are bound to it
  crypto::SecretKey root_;
  std::string key_id_;  // the object that opened it; empty when unencrypted
  std::optional<Seconds> retain_;
};
using RepositoryPtr = std::shared_ptr<Repository>;

}  // namespace varve::repo
