// What the contract does not ask for: signatures and tokens as a service checks them, versions, locks. Run by
// tests/services/with.py azure azure_locks.
#include <cstdlib>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "crypto/crypto.h"
#include "crypto/signing.h"
#include "os/file.h"
#include "store/azure/azure_store.h"
#include "store/azure/dates.h"
#include "store/azure/shared_key.h"
#include "store/azure/testing_azure.h"
#include "store/open.h"

namespace varve::store {
namespace {

using azure::environment_with;
using azure::Scripted;
using ::testing::HasSubstr;
using ::testing::Not;
using Values = std::map<std::string, std::string>;

Context bounded() {
  return Context{}.with_deadline(std::chrono::seconds(60));
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  if (value != nullptr && *value != '\0') return value;
  ADD_FAILURE() << name << " is not set: run this by tests/services/with.py azure azure_locks";
  return "";
}

// An address with a prefix of its own.
std::string fresh(const char* name, const std::string& settings = "") {
  std::string out = variable(name);
  if (out.empty()) return out;
  return out.insert(out.find('?'), "/service-" + to_hex(crypto::random_array<6>())) + settings;
}

Result<StorePtr> open_with(const std::string& address, Values environment) {
  TRY_ASSIGN(const Place place, parse_place(address));
  return AzureStore::open(Context{}, place, environment_with(std::move(environment)));
}

StorePtr by_key(const std::string& address) {
  auto out = open_with(address, {{"AZURE_STORAGE_KEY", variable("AZURE_STORAGE_KEY")}});
  EXPECT_TRUE(out) << out.error().describe();
  return out.value_or(nullptr);
}

std::vector<Key> keys_of(Store& store, const std::string& prefix = "", size_t most = 1000) {
  std::vector<Key> out;
  std::string token;
  do {
    const auto page = store.list(bounded(), prefix, token, most);
    EXPECT_TRUE(page) << page.error().describe();
    if (!page) break;
    EXPECT_LE(page->objects.size(), most);
    for (const ObjectInfo& object : page->objects) out.push_back(object.key);
    token = page->next;
  } while (!token.empty());
  return out;
}

std::string read(Store& store, const Key& key, Range range = {}) {
  const auto bytes = get_bytes(store, bounded(), key, 1 << 20, range);
  return bytes ? std::string(as_text(*bytes)) : "<" + bytes.error().describe() + ">";
}

Result<> put(Store& store, const Key& key, std::string_view text, PutOptions options = {}) {
  return put_bytes(store, bounded(), key, as_bytes(text), options);
}

// A shared access signature for the container, as its owner would make it.
std::string signature_for(const std::string& permissions, Seconds life) {
  const std::string expiry = to_rfc3339(std::chrono::floor<Seconds>(now()) + life);
  const std::string text = fmt::format(
      "{}\n\n{}\n/blob/varvetest/varve-test\n\n\n\n2021-12-02\nc\n\n\n\n\n\n\n", permissions, expiry);
  const auto key = crypto::from_base64(variable("AZURE_STORAGE_KEY"));
  if (!key) return "";
  const std::string signature = crypto::to_base64(crypto::hmac_sha256(*key, as_bytes(text)));
  return fmt::format("sv=2021-12-02&sr=c&sp={}&se={}&sig={}", permissions, net::percent_encode(expiry),
                     net::percent_encode(signature));
}

TEST(AzureService, SharedAccessSignatures) {
  const std::string address = fresh("VARVE_TEST_AZURE");
  const auto store =
      open_with(address, {{"AZURE_STORAGE_SAS_TOKEN", "?" + signature_for("racwdl", std::chrono::hours(1))}});
  ASSERT_TRUE(store) << store.error().describe();
  ASSERT_TRUE(put(**store, "a/b+c=d@e", "hello"));
  EXPECT_EQ(read(**store, "a/b+c=d@e"), "hello");
  EXPECT_EQ(keys_of(**store), std::vector<Key>{"a/b+c=d@e"});
  ASSERT_TRUE(remove_one(**store, bounded(), "a/b+c=d@e"));

  const auto reader =
      open_with(address, {{"AZURE_STORAGE_SAS_TOKEN", signature_for("rl", std::chrono::hours(1))}});
  const auto denied = put(**reader, "k", "x");
  ASSERT_FALSE(denied);
  EXPECT_EQ(denied.error().code, Code::kDenied) << denied.error().describe();
  const auto late =
      open_with(address, {{"AZURE_STORAGE_SAS_TOKEN", signature_for("rl", -std::chrono::hours(1))}});
  const auto expired = (*late)->head(bounded(), "k");
  ASSERT_FALSE(expired);
  EXPECT_EQ(expired.error().code, Code::kDenied) << expired.error().describe();
  EXPECT_THAT(expired.error().describe(), Not(HasSubstr("sig=")));
}

// A file with a signature that has run out is renewed by whoever made it, while Varve runs.
TEST(AzureService, ASignatureInAFileIsRenewed) {
  auto dir = os::TempDir::create("varve-azure");
  ASSERT_TRUE(dir);
  const os::Path path = dir->path() / "sas";
  const auto write = [&](const std::string& text) {
    (void)os::remove_file(path);
    auto file = os::File::open(path, os::File::Mode::kCreateNew, 0600);
    ASSERT_TRUE(file && file->write_at(0, as_bytes(text)) && file->close());
  };
  write(signature_for("racwdl", -Seconds(60)));
  const auto store = open_with(fresh("VARVE_TEST_AZURE", "&sas_file=" + path.native()), {});
  ASSERT_TRUE(store) << store.error().describe();
  EXPECT_EQ(put(**store, "k", "x").error().code, Code::kDenied);
  write(signature_for("racwdl", std::chrono::hours(1)));
  EXPECT_TRUE(put(**store, "k", "x"));
}

TEST(AzureService, AWrongKeyIsDenied) {
  const auto store = open_with(fresh("VARVE_TEST_AZURE"), {{"AZURE_STORAGE_KEY", "d3Jvbmc="}});
  ASSERT_TRUE(store);
  const auto denied = put(**store, "k", "x");
  ASSERT_FALSE(denied);
  EXPECT_EQ(denied.error().code, Code::kDenied) << denied.error().describe();
  EXPECT_EQ(denied.error().retry, Retry::kNever);
}

TEST(AzureService, AContainerThatIsNotThere) {
  std::string address = variable("VARVE_TEST_AZURE");
  address.replace(address.find("varve-test"), 10, "not-there");
  const StorePtr store = by_key(address);
  ASSERT_NE(store, nullptr);
  EXPECT_EQ(store->list(bounded(), "", "").error().code, Code::kUnreachable);
  EXPECT_EQ(store->head(bounded(), "k").error().code, Code::kUnreachable) << "not \"absent\"";
  EXPECT_EQ(remove_one(*store, bounded(), "k").error().code, Code::kUnreachable);
  EXPECT_THAT(put(*store, "k", "x").error().hint, HasSubstr("container"));
}

TEST(AzureService, DamageOnTheWayIsNotStored) {
  // The service compares; so a wrong MD5 is refused, and the class of the failure says that trying again may
  // help.
  auto http = std::make_shared<net::HttpClient>();
  const Settings settings = parse_place(variable("VARVE_TEST_AZURE"))->settings;
  net::HttpRequest request;
  request.method = "PUT";
  request.url = settings.text("endpoint") + "/varve-test/md5-test";
  const ByteView body = as_bytes("body");
  request.body = std::span(&body, 1);
  request.headers = {{"x-ms-blob-type", "BlockBlob"},
                     {"Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA=="},
                     {"x-ms-version", "2021-12-02"},
                     {"x-ms-date", azure::to_http_date(now())}};
  const auto key = crypto::from_base64(variable("AZURE_STORAGE_KEY"));
  request.headers.push_back({"Authorization", azure::shared_key_authorization(request, "varvetest", *key)});
  const auto answer = http->send(bounded(), request);
  ASSERT_TRUE(answer) << answer.error().describe();
  EXPECT_EQ(answer->status, 400);
}

// Azurite checks times and audience of a token.
std::string token(const std::string& audience, Seconds life) {
  const auto second = std::chrono::floor<Seconds>(now()).time_since_epoch().count();
  const std::string claims =
      fmt::format(R"({{"aud":"{}","iss":"https://sts.windows.net/t/","iat":{},"nbf":{},"exp":{}}})", audience,
                  second - 7200, second - 7200, second + life.count());
  return crypto::to_base64url(as_bytes(R"({"alg":"HS256","typ":"JWT"})")) + "." +
         crypto::to_base64url(as_bytes(claims)) + ".c2ln";
}

TEST(AzureService, TokensAreTakenAndExpiredOnesRenewed) {
  std::atomic<int> given = 0;
  Scripted login([&](const auto&) {
    const bool first = ++given == 1;
    const std::string made = token("https://storage.azure.com", first ? -Seconds(60) : Seconds(3600));
    return Scripted::Answer{200, fmt::format(R"({{"access_token":"{}","expires_in":3600}})", made)};
  });
  const Values environment = {{"AZURE_AUTHORITY_HOST", login.url()},
                              {"AZURE_TENANT_ID", "t"},
                              {"AZURE_CLIENT_ID", "c"},
                              {"AZURE_CLIENT_SECRET", "s"}};
  const auto store = open_with(fresh("VARVE_TEST_AZURE_TLS"), environment);
  ASSERT_TRUE(store) << store.error().describe();
  const auto done = put(**store, "k", "hello");
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_EQ(given, 2) << "the first had expired, although its giver said otherwise";
  EXPECT_EQ(read(**store, "k"), "hello");
  EXPECT_EQ(given, 2);
}

TEST(AzureService, TokensForAnotherServiceAreRefused) {
  Scripted login([&](const auto&) {
    return Scripted::Answer{200, fmt::format(R"({{"access_token":"{}","expires_in":3600}})",
                                             token("https://vault.azure.net", Seconds(3600)))};
  });
  const auto store =
      open_with(fresh("VARVE_TEST_AZURE_TLS"), {{"AZURE_POD_IDENTITY_AUTHORITY_HOST", login.url()}});
  const auto denied = put(**store, "k", "hello");
  ASSERT_FALSE(denied);
  EXPECT_EQ(denied.error().code, Code::kDenied);
  EXPECT_EQ(login.received().size(), 2u) << "asked for another once, and no more";
}

TEST(AzureService, TheCertificateIsChecked) {
  std::string address = fresh("VARVE_TEST_AZURE_TLS");
  address.erase(address.find("&ca_file="));
  const StorePtr store = by_key(address);
  const auto refused = store->head(bounded(), "k");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnreachable);
  EXPECT_EQ(refused.error().retry, Retry::kNever) << refused.error().describe();
}

TEST(AzureService, TiersAreSet) {
  const StorePtr store = by_key(fresh("VARVE_TEST_AZURE", "&access_tier=Cool&block_size=64KiB"));
  EXPECT_TRUE(put(*store, "small", "x"));
  EXPECT_TRUE(put(*store, "large", std::string(300'000, 'x')));
  EXPECT_EQ(read(*store, "large").size(), 300'000u);
}

// What an intruder with the right to write did since a moment is undone by looking at the moment.
TEST(AzureVersions, ThePastIsThere) {
  const std::string address = fresh("VARVE_TEST_AZURE_LOCKS");
  const StorePtr store = by_key(address);
  for (const char* key : {"a", "b/1", "b/2", "c"}) ASSERT_TRUE(put(*store, key, std::string("of ") + key));
  const Timestamp before = now();
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ASSERT_TRUE(put(*store, "b/1", "overwritten", {.mode = PutMode::kUnconditional}));
  ASSERT_TRUE(put(*store, "b/1", "and again", {.mode = PutMode::kUnconditional}));
  ASSERT_TRUE(put(*store, "new", "x"));
  // A removal that leaves the version, as an intruder's would.
  const Settings settings = parse_place(address)->settings;
  net::HttpRequest removal;
  removal.method = "DELETE";
  removal.url = fmt::format("{}/varve-test/{}/c", settings.text("endpoint"), parse_place(address)->path);
  removal.headers = {{"x-ms-version", "2021-12-02"}, {"x-ms-date", azure::to_http_date(now())}};
  const auto key = crypto::from_base64(variable("AZURE_STORAGE_KEY"));
  removal.headers.push_back({"Authorization", azure::shared_key_authorization(removal, "varvetest", *key)});
  ASSERT_EQ(net::HttpClient().send(bounded(), removal)->status, 202);
  EXPECT_EQ(keys_of(*store), (std::vector<Key>{"a", "b/1", "b/2", "new"}));

  const std::string as_of = address + "&as_of=" + to_rfc3339(before);
  for (const size_t most : {1, 2, 3, 1000})
    EXPECT_EQ(keys_of(*by_key(as_of), "", most), (std::vector<Key>{"a", "b/1", "b/2", "c"})) << most;
  const StorePtr past = by_key(as_of);
  EXPECT_EQ(keys_of(*past, "b/", 1), (std::vector<Key>{"b/1", "b/2"}));
  EXPECT_EQ(read(*past, "b/1"), "of b/1");
  EXPECT_EQ(read(*past, "c"), "of c");
  EXPECT_EQ(read(*past, "c", {1, 2}), "f ");
  EXPECT_EQ(past->head(bounded(), "c")->size, 4u);
  EXPECT_EQ(past->head(bounded(), "new").error().code, Code::kNotFound);
  EXPECT_EQ(past->head(bounded(), "b").error().code, Code::kNotFound);
  EXPECT_EQ(put(*past, "x", "x").error().code, Code::kDenied);
  EXPECT_EQ(remove_one(*past, bounded(), "a").error().code, Code::kDenied);
}

TEST(AzureVersions, ARemovalFreesTheSpace) {
  const std::string address = fresh("VARVE_TEST_AZURE_LOCKS");
  ASSERT_TRUE(put(*by_key(address), "a", "x"));
  ASSERT_TRUE(put(*by_key(address), "b", "x"));
  // One that has not yet written, and does not know whether there are versions; and one that does.
  ASSERT_TRUE(remove_one(*by_key(address), bounded(), "a"));
  const StorePtr store = by_key(address);
  ASSERT_TRUE(put(*store, "c", "x"));
  const std::vector<Key> both = {"b", "c", "absent"};
  const auto results = store->remove(bounded(), both);
  ASSERT_TRUE(results);
  for (const RemoveResult& removed : *results) EXPECT_TRUE(removed.result);
  EXPECT_TRUE(keys_of(*store).empty());
  EXPECT_TRUE(keys_of(*by_key(address + "&as_of=now")).empty()) << "no version is left";
}

TEST(AzureLocks, ALockedPolicyHolds) {
  const std::string address = fresh("VARVE_TEST_AZURE_LOCKS");
  const StorePtr locked = by_key(address + "&immutability=locked&block_size=64KiB");
  const Timestamp until = std::chrono::floor<Seconds>(now()) + std::chrono::hours(24);
  ASSERT_TRUE(put(*locked, "k", std::string(200'000, 'x'), {.retain_until = until}));
  EXPECT_EQ(locked->head(bounded(), "k")->retain_until, until);
  EXPECT_EQ(remove_one(*locked, bounded(), "k").error().code, Code::kConflict);
  EXPECT_EQ(keys_of(*locked), std::vector<Key>{"k"}) << "still in view, and no previous version";
  // Also one that writes unlocked policies extends it as what it is, and cannot shorten it.
  const StorePtr unlocked = by_key(address + "&immutability=unlocked");
  ASSERT_TRUE(unlocked->extend_retention(bounded(), "k", until - Seconds(5)));
  const auto extended = unlocked->extend_retention(bounded(), "k", until + std::chrono::hours(1));
  ASSERT_TRUE(extended) << extended.error().describe();
  EXPECT_EQ(locked->head(bounded(), "k")->retain_until, until + std::chrono::hours(1));
  // A date between two seconds is kept to the second after.
  ASSERT_TRUE(put(*unlocked, "fraction", "x", {.retain_until = until + std::chrono::milliseconds(1)}));
  EXPECT_EQ(unlocked->head(bounded(), "fraction")->retain_until, until + Seconds(1));
}

TEST(AzureLocks, OnceItsTimeIsOverItGoes) {
  const std::string address = fresh("VARVE_TEST_AZURE_LOCKS");
  const StorePtr store = by_key(address + "&immutability=locked");
  ASSERT_TRUE(put(*store, "k", "x", {.retain_until = now() + Seconds(2)}));
  EXPECT_EQ(remove_one(*store, bounded(), "k").error().code, Code::kConflict);
  std::this_thread::sleep_for(std::chrono::milliseconds(3200));
  const auto removed = remove_one(*store, bounded(), "k");
  EXPECT_TRUE(removed) << removed.error().describe();
  EXPECT_TRUE(keys_of(*by_key(address + "&as_of=now")).empty());
}

}  // namespace
}  // namespace varve::store
