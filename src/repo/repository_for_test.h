// What the tests of this module share: repositories in memory and on disk.
#pragma once

#include <gtest/gtest.h>

#include "os/file.h"
#include "repo/repository.h"
#include "store/local/local_store.h"
#include "store/mem/mem_store.h"

namespace varve::repo {

inline KeySource file_key(const std::string& text) {
  KeySource key;
  key.key_file = to_buffer(as_bytes(text));
  return key;
}
inline KeySource passphrase(const std::string& text) {
  KeySource key;
  key.passphrase = crypto::SecretText(text);
  return key;
}

// A repository in memory and the key file that opens it (empty when unencrypted).
struct TestRepository {
  std::shared_ptr<store::MemStore> mem = std::make_shared<store::MemStore>();
  std::string key_file;
  RepositoryPtr repo;

  explicit TestRepository(Encryption encryption = Encryption::kAes256Gcm) {
    if (encryption != Encryption::kNone) key_file = generate_key_file();
    auto made = Repository::create({}, mem, key(), {encryption});
    if (!made) throw std::runtime_error(made.error().describe());
    repo = *made;
  }
  KeySource key() const { return key_file.empty() ? KeySource{} : file_key(key_file); }
  Result<RepositoryPtr> open(store::StorePtr through = nullptr) const {
    return Repository::open({}, through ? through : mem, key());
  }
  Buffer bytes(const store::Key& name) const { return *store::get_bytes(*mem, {}, name, 1 << 30); }
  void overwrite(const store::Key& name, ByteView with) const {
    ASSERT_TRUE(store::put_bytes(*mem, {}, name, with, {.mode = store::PutMode::kUnconditional}));
  }
  std::vector<store::Key> names(const std::string& prefix = "") const {
    std::vector<store::Key> out;
    EXPECT_TRUE(store::for_each(*mem, {}, prefix, [&](const store::ObjectInfo& info) -> Result<> {
      out.push_back(info.key);
      return {};
    }));
    return out;
  }
};

}  // namespace varve::repo
