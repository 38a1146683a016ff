// What is S3's own, on a real server (tests/services/s3.py): parts, versions, locks, and refusals as they
// come.
#include <gmock/gmock.h>
#include <thread>

#include "store/s3/credentials.h"
#include "store/s3/testing_places.h"
#include "store/s3/xml.h"

namespace varve::store::s3 {
namespace {

using namespace std::chrono_literals;
using testing::fresh_address;
using testing::open_bare;

Context bounded() {
  return Context{}.with_deadline(60s);
}

StorePtr opened(const std::string& address) {
  auto store = open_bare(address);
  EXPECT_TRUE(store) << store.error().describe();
  return store.value_or(nullptr);
}

std::string with(const std::string& address, const std::string& settings) {
  return address + "&" + settings;
}

std::string read(Store& s, const Key& key, Range range = {}) {
  auto bytes = get_bytes(s, bounded(), key, 1 << 28, range);
  return bytes ? std::string(as_text(*bytes)) : "<" + bytes.error().describe() + ">";
}

std::vector<Key> keys(Store& s, size_t most = 1000) {
  std::vector<Key> out;
  std::string token;
  do {
    auto page = s.list(bounded(), "", token, most);
    EXPECT_TRUE(page) << page.error().describe();
    if (!page) break;
    EXPECT_LE(page->objects.size(), most);
    for (const ObjectInfo& o : page->objects) out.push_back(o.key);
    token = page->next;
  } while (!token.empty());
  return out;
}

// A client of the test's own, below the driver: for what the driver does not do.
class OwnClient {
 public:
  explicit OwnClient(const std::string& address)
      : env_(process_environment()), client_(options(address), fetch()) {}
  Client& operator*() { return client_; }
  std::string key(const std::string& name) const { return client_.options().prefix + name; }

 private:
  Options options(const std::string& address) const {
    return *read_options(*parse_place(address), env_, *Profiles::load(env_));
  }
  FetchCredentials fetch() const { return credential_chain({.env = env_}); }
  const Environment env_;
  Client client_;
};

// What lies in the bucket, versions and all.
std::vector<ListedVersion> versions_below(const std::string& address) {
  OwnClient client(address);
  auto page = list_versions(*client, bounded(), client.key(""), "", "");
  EXPECT_TRUE(page) << page.error().describe();
  return page ? page->versions : std::vector<ListedVersion>{};
}

TEST(S3Server, LargeObjectsGoInParts) {
  const std::string address = fresh_address("VARVE_TEST_S3_TLS", "&part_size=5MiB");
  auto store = opened(address);
  std::string text((65 << 20) + 12345, '\0');
  for (size_t i = 0; i < text.size(); i += 97) text[i] = static_cast<char>(i * 2654435761u >> 13);
  // Pieces that do not end where parts do.
  std::vector<ByteView> pieces;
  for (size_t at = 0; at < text.size(); at += 3'333'333)
    pieces.push_back(as_bytes(text).subspan(at, std::min<size_t>(3'333'333, text.size() - at)));
  ASSERT_TRUE(store->put(bounded(), "large", pieces, {}));
  EXPECT_TRUE(read(*store, "large") == text);
  EXPECT_EQ(read(*store, "large", {(5 << 20) - 10, 20}), text.substr((5 << 20) - 10, 20))
      << "across two parts";
  const auto again = store->put(bounded(), "large", pieces, {});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::kExists) << again.error().describe();
  // The upload that lost left nothing behind.
  EXPECT_EQ(*std::dynamic_pointer_cast<S3Store>(store)->remove_unfinished(bounded(), -1h), 0u);
}

TEST(S3Server, OrphanedUploadsAreAborted) {
  const std::string address = fresh_address("VARVE_TEST_S3");
  auto store = std::dynamic_pointer_cast<S3Store>(opened(address));
  auto other = std::dynamic_pointer_cast<S3Store>(opened(fresh_address("VARVE_TEST_S3")));
  // A stop in the middle of the parts: the abort has time of its own, so nothing is left.
  std::stop_source source;
  Context ctx = bounded();
  ctx.stop = source.get_token();
  const std::string text(80 << 20, 'x');
  std::jthread stopper([&] {
    std::this_thread::sleep_for(50ms);
    source.request_stop();
  });
  const auto stopped = put_bytes(*store, ctx, "large", as_bytes(text));
  stopper.join();
  if (!stopped) {
    EXPECT_EQ(stopped.error().code, Code::kInterrupted) << stopped.error().describe();
  }
  // Only an upload that was just being begun has no name yet to abort it by.
  EXPECT_LE(*store->remove_unfinished(bounded(), -1h), 1u);
  // One that nobody came to abort, as after a power loss.
  OwnClient client(address);
  for (int i = 0; i < 3; ++i) {
    const auto begun = (*client).demand(
        bounded(), {.method = "POST", .key = client.key("orphan"), .query = {{"uploads", ""}}, .doing = "x"});
    ASSERT_TRUE(begun) << begun.error().describe();
  }
  EXPECT_EQ(*other->remove_unfinished(bounded(), -1h), 0u) << "another prefix's are left alone";
  EXPECT_EQ(*store->remove_unfinished(bounded(), 1h), 0u) << "and young ones";
  EXPECT_EQ(*store->remove_unfinished(bounded(), -1h), 3u);
  EXPECT_EQ(*store->remove_unfinished(bounded(), -1h), 0u);
}

TEST(S3Server, ARemovalFreesTheSpaceOfEveryVersion) {
  const std::string address = fresh_address("VARVE_TEST_S3_VERSIONED");
  auto store = opened(address);
  for (int i = 0; i < 12; ++i)
    ASSERT_TRUE(
        put_bytes(*store, bounded(), "k", as_bytes(std::to_string(i)), {.mode = PutMode::kUnconditional}));
  ASSERT_TRUE(put_bytes(*store, bounded(), "k2", as_bytes("stays")));
  EXPECT_EQ(versions_below(address).size(), 13u);
  ASSERT_TRUE(remove_one(*store, bounded(), "k"));
  const auto left = versions_below(address);
  ASSERT_EQ(left.size(), 1u);
  EXPECT_TRUE(left[0].key.ends_with("/k2"));
}

TEST(S3Server, ARemovalCanLeaveTheVersions) {
  const std::string address = fresh_address("VARVE_TEST_S3_VERSIONED", "&keep_versions=true");
  auto store = opened(address);
  ASSERT_TRUE(put_bytes(*store, bounded(), "k", as_bytes("x")));
  ASSERT_TRUE(remove_one(*store, bounded(), "k"));
  EXPECT_EQ(store->head(bounded(), "k").error().code, Code::kNotFound);
  const auto left = versions_below(address);
  ASSERT_EQ(left.size(), 2u);
  EXPECT_TRUE(left[0].delete_marker);
  EXPECT_TRUE(put_bytes(*store, bounded(), "k", as_bytes("y"))) << "the name is free";
}

TEST(S3Server, AViewOfThePast) {
  const std::string address = fresh_address("VARVE_TEST_S3_VERSIONED", "&keep_versions=true");
  auto store = opened(address);
  for (const char* key :
       {"a/overwritten", "a/removed", "a/untouched", "b/overwritten_often", "c/removed_before"})
    ASSERT_TRUE(put_bytes(*store, bounded(), key, as_bytes(std::string("good ") + key)));
  ASSERT_TRUE(remove_one(*store, bounded(), "c/removed_before"));
  std::this_thread::sleep_for(1100ms);  // versions are dated in whole seconds by some
  const Timestamp then = now();
  std::this_thread::sleep_for(1100ms);
  // Someone gets in.
  ASSERT_TRUE(
      put_bytes(*store, bounded(), "a/overwritten", as_bytes("bad"), {.mode = PutMode::kUnconditional}));
  for (int i = 0; i < 5; ++i)
    ASSERT_TRUE(put_bytes(*store, bounded(), "b/overwritten_often", as_bytes("bad"),
                          {.mode = PutMode::kUnconditional}));
  ASSERT_TRUE(remove_one(*store, bounded(), "a/removed"));
  ASSERT_TRUE(put_bytes(*store, bounded(), "a/new", as_bytes("bad")));
  ASSERT_TRUE(put_bytes(*store, bounded(), "c/removed_before", as_bytes("bad")));

  auto past = opened(with(address, "as_of=" + to_rfc3339(then)));
  ASSERT_NE(past, nullptr);
  for (size_t most : {1, 2, 1000})
    EXPECT_EQ(keys(*past, most),
              (std::vector<Key>{"a/overwritten", "a/removed", "a/untouched", "b/overwritten_often"}))
        << most;
  auto fresh = opened(with(address, "as_of=" + to_rfc3339(then)));
  for (const char* key : {"a/overwritten", "a/removed", "a/untouched", "b/overwritten_often"}) {
    EXPECT_EQ(read(*fresh, key), std::string("good ") + key);
    EXPECT_EQ(read(*fresh, key, {5, 3}), std::string(key).substr(0, 3));
    EXPECT_EQ(fresh->head(bounded(), key)->size, 5 + std::string(key).size());
  }
  for (const char* key : {"a/new", "c/removed_before", "never"})
    EXPECT_EQ(fresh->head(bounded(), key).error().code, Code::kNotFound) << key;
  EXPECT_EQ(put_bytes(*fresh, bounded(), "x", as_bytes("x")).error().code, Code::kDenied);
  EXPECT_EQ(remove_one(*fresh, bounded(), "a/untouched").error().code, Code::kDenied);
  EXPECT_EQ(fresh->extend_retention(bounded(), "a/untouched", now() + 1h).error().code, Code::kDenied);
  EXPECT_NE(fresh->describe().find("as of"), std::string::npos);
}

TEST(S3Server, RetentionSurvivesAnOverwrite) {
  const std::string address = fresh_address("VARVE_TEST_S3_LOCKED", "&object_lock_mode=compliance");
  auto store = opened(address);
  const Timestamp until = now() + 1h;
  ASSERT_TRUE(put_bytes(*store, bounded(), "k", as_bytes("good"), {.retain_until = until}));
  std::this_thread::sleep_for(1100ms);
  const Timestamp then = now();
  std::this_thread::sleep_for(1100ms);
  ASSERT_TRUE(put_bytes(*store, bounded(), "k", as_bytes("bad"), {.mode = PutMode::kUnconditional}));
  EXPECT_EQ(read(*store, "k"), "bad") << "a lock keeps the version, and not the name";
  const auto removed = remove_one(*store, bounded(), "k");
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, Code::kConflict) << removed.error().describe();
  EXPECT_EQ(read(*opened(with(address, "as_of=" + to_rfc3339(then))), "k"), "good");
}

TEST(S3Server, LocksInParts) {
  auto store = opened(fresh_address("VARVE_TEST_S3_LOCKED", "&object_lock_mode=governance&part_size=16MiB"));
  const std::string text(65 << 20, 'x');
  const Timestamp until = std::chrono::ceil<std::chrono::seconds>(now() + 1h);
  ASSERT_TRUE(put_bytes(*store, bounded(), "large", as_bytes(text), {.retain_until = until}));
  EXPECT_EQ(store->head(bounded(), "large")->retain_until, until);
  EXPECT_EQ(remove_one(*store, bounded(), "large").error().code, Code::kConflict);
}

TEST(S3Server, ALegalHoldKeepsAnObject) {
  auto store = opened(fresh_address("VARVE_TEST_S3_LOCKED", "&legal_hold=true"));
  ASSERT_TRUE(put_bytes(*store, bounded(), "k", as_bytes("x")));
  const auto removed = remove_one(*store, bounded(), "k");
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, Code::kConflict);
  EXPECT_NE(removed.error().message.find("legal hold"), std::string::npos);
}

TEST(S3Server, LocksNeedABucketThatHasThem) {
  const auto store = open_bare(fresh_address("VARVE_TEST_S3", "&object_lock_mode=governance"));
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Code::kUsage) << store.error().describe();
  EXPECT_FALSE(opened(fresh_address("VARVE_TEST_S3_LOCKED"))->capabilities().retention);
}

TEST(S3Server, EncryptionAndStorageClass) {
  auto store =
      opened(fresh_address("VARVE_TEST_S3", "&sse=kms&kms_key_id=testkey-1&storage_class=STANDARD_IA"));
  ASSERT_TRUE(put_bytes(*store, bounded(), "k", as_bytes("x")));
  EXPECT_EQ(read(*store, "k"), "x");
  const auto refused = put_bytes(*opened(fresh_address("VARVE_TEST_S3", "&storage_class=NO_SUCH")), bounded(),
                                 "k", as_bytes("x"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().retry, Retry::kNever);
}

TEST(S3Server, RefusalsAreClear) {
  const std::string address = fresh_address("VARVE_TEST_S3");
  const auto no_bucket = put_bytes(*opened("s3://no-such-bucket" + address.substr(address.find('/', 5))),
                                   bounded(), "k", as_bytes("x"));
  ASSERT_FALSE(no_bucket);
  EXPECT_EQ(no_bucket.error().code, Code::kUnreachable) << no_bucket.error().describe();
  EXPECT_NE(no_bucket.error().hint.find("does not make buckets"), std::string::npos);

  const auto as = [&](std::string id, std::string secret) {
    auto place = parse_place(address);
    auto store = S3Store::open(bounded(), *place, [=](std::string_view name) {
      return std::string(name == "AWS_ACCESS_KEY_ID" ? id : name == "AWS_SECRET_ACCESS_KEY" ? secret : "");
    });
    return put_bytes(**store, bounded(), "k", as_bytes("x")).error();
  };
  const std::string id = process_environment()("AWS_ACCESS_KEY_ID");
  for (const Error& e : {as(id, "wrong"), as("wrong", "wrong")}) {
    EXPECT_EQ(e.code, Code::kDenied) << e.describe();
    EXPECT_FALSE(e.hint.empty());
  }
}

TEST(S3Server, AByteChangedOnTheWayIsRefused) {
  const std::string address = fresh_address("VARVE_TEST_S3_TLS");
  OwnClient client(address);
  const std::string text(100'000, 'x');  // beyond what is hashed as well
  const ByteView body = as_bytes(text);
  const auto refused = (*client).demand(bounded(), {.method = "PUT",
                                                    .key = client.key("k"),
                                                    .headers = {{"x-amz-checksum-crc32c", "AAAAAA=="},
                                                                {"x-amz-sdk-checksum-algorithm", "CRC32C"}},
                                                    .body = Body(&body, 1),
                                                    .doing = "x"});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().retry, Retry::kTransient) << refused.error().describe();
}

TEST(S3Server, ManyAreRemovedAtOnce) {
  auto store = opened(fresh_address("VARVE_TEST_S3"));
  std::vector<Key> names;
  for (int i = 0; i < 20; ++i) {
    names.push_back(fmt::format("k{}", i));
    ASSERT_TRUE(put_bytes(*store, bounded(), names.back(), as_bytes("x")));
  }
  for (int i = 0; i < 2100; ++i) names.push_back(fmt::format("absent/{}", i));
  const auto removed = store->remove(bounded(), names);
  ASSERT_TRUE(removed) << removed.error().describe();
  for (const RemoveResult& r : *removed) EXPECT_TRUE(r.result) << r.key;
  EXPECT_TRUE(keys(*store).empty());
}

}  // namespace
}  // namespace varve::store::s3
