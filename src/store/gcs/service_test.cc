// What the contract does not ask: sessions that break, tokens that run out, answers that are none, retention,
// versions. Beside tests/services/gcs_server.py.
#include <algorithm>
#include <gmock/gmock.h>
#include <thread>

#include "store/gcs/testing_gcs.h"
#include "store/open.h"
#include "store/wrap/retry.h"

namespace varve::store {
namespace {

using namespace gcs::testing;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr size_t kMiB = size_t{1} << 20;

std::string pattern(size_t size) {
  std::string out(size, '\0');
  uint64_t x = 88172645463325252;
  for (size_t i = 0; i < size; ++i) {
    if (i % 8 == 0) x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    out[i] = static_cast<char>(x >> i % 8 * 8);
  }
  return out;
}

class GcsService : public ::testing::Test {
 protected:
  void SetUp() override { control("clear"); }
  void TearDown() override { EXPECT_EQ(control("clear")["unused"], 0) << "a fault that nothing met"; }

  static std::string read(Store& s, const Key& key, Range range = {}) {
    auto bytes = get_bytes(s, bounded(), key, 256 * kMiB, range);
    return bytes ? std::string(as_text(*bytes)) : "<" + bytes.error().describe() + ">";
  }
  static Result<> put(Store& s, const Key& key, std::string_view text, const PutOptions& options = {}) {
    return put_bytes(s, bounded(), key, as_bytes(text), options);
  }
  static StorePtr patient(StorePtr store) {
    return with_retry(std::move(store), {.most_tries = 5,
                                         .first_delay = std::chrono::milliseconds(1),
                                         .longest_delay = std::chrono::milliseconds(5)});
  }
  // How often a request that holds this was made since the last look.
  static int requests(const std::string& part) {
    int out = 0;
    const auto log = control("log")["log"];
    for (const auto& line : log) out += line.get<std::string>().find(part) != std::string::npos;
    return out;
  }

  std::string prefix_ = fresh_prefix();
};

#define EXPECT_FAILS(expression, expected, how)                                                      \
  do {                                                                                               \
    auto failed_ = (expression);                                                                     \
    if (failed_) {                                                                                   \
      ADD_FAILURE() << #expression " succeeded";                                                     \
    } else {                                                                                         \
      EXPECT_EQ(code_name(failed_.error().code), code_name(expected)) << failed_.error().describe(); \
      EXPECT_EQ(static_cast<int>(failed_.error().retry), static_cast<int>(how))                      \
          << failed_.error().describe();                                                             \
    }                                                                                                \
  } while (false)

// Upload sessions

TEST_F(GcsService, AnUploadGoesOnWhereTheConnectionBroke) {
  const std::string body = pattern(5 * kMiB + 12345);
  for (const uint64_t cut :
       {uint64_t{0}, uint64_t{1}, uint64_t{262'143}, uint64_t{262'144}, uint64_t{262'145},
        uint64_t{3 * kMiB + 7}, uint64_t{body.size() - 1}, uint64_t{body.size()}}) {
    SCOPED_TRACE(cut);
    auto store = open_in("varve-plain", prefix_, "writer", "", 1);
    control("log");
    nlohmann::json said = {{"method", "PUT"}, {"contains", "upload_id"}};
    if (cut < body.size())
      said["drop_after"] = cut;
    else
      said["lose_reply"] = true;  // all of it was received
    fault(said);
    const Key key = fmt::format("cut/{}", cut);
    const auto done = put(*store, key, body);
    ASSERT_TRUE(done) << done.error().describe();
    EXPECT_TRUE(read(*store, key) == body);
    const auto log = control("log");
    EXPECT_EQ(log["sessions"], 0) << "a session was left";
  }
}

TEST_F(GcsService, ManyCutsInOneUpload) {
  const std::string body = pattern(24 * kMiB);
  auto store = open_in("varve-plain", prefix_);  // above the threshold of everyone's
  for (const uint64_t cut : {3 * kMiB, 2 * kMiB + 5, 4 * kMiB, 5 * kMiB})
    fault({{"method", "PUT"}, {"contains", "upload_id"}, {"drop_after", cut}});
  ASSERT_TRUE(put(*store, "many", body));
  EXPECT_TRUE(read(*store, "many") == body);
}

TEST_F(GcsService, TheStoreMayKeepLessThanItReceived) {
  const std::string body = pattern(2 * kMiB);
  auto store = open_in("varve-plain", prefix_, "writer", "", 1);
  fault({{"method", "PUT"}, {"contains", "upload_id"}, {"drop_after", kMiB + 1}, {"forget", true}});
  ASSERT_TRUE(put(*store, "forgot", body));
  EXPECT_TRUE(read(*store, "forgot") == body);
}

TEST_F(GcsService, AServerThatFailsInTheMiddleIsAskedAgain) {
  const std::string body = pattern(kMiB);
  auto store = open_in("varve-plain", prefix_, "writer", "", 1);
  fault({{"method", "PUT"}, {"contains", "upload_id"}, {"times", 2}, {"answer", {{"status", 500}}}});
  ASSERT_TRUE(put(*store, "k", body));
  EXPECT_TRUE(read(*store, "k") == body);
}

TEST_F(GcsService, AnUploadGivesUpWithoutProgress) {
  auto store = open_in("varve-plain", prefix_, "writer", "", 1);
  control("log");
  fault({{"method", "PUT"}, {"contains", "upload_id"}, {"times", 5}, {"answer", {{"status", 502}}}});
  EXPECT_FAILS(put(*store, "k", pattern(kMiB)), Code::kUnreachable, Retry::kTransient);
  const auto log = control("log");
  EXPECT_EQ(log["sessions"], 0) << "the session must be dropped";
  EXPECT_FAILS(store->head(bounded(), "k"), Code::kNotFound, Retry::kNever);
}

TEST_F(GcsService, ThrottlingEndsAnUploadAtOnce) {
  auto store = open_in("varve-plain", prefix_, "writer", "", 1);
  control("log");
  fault({{"method", "PUT"},
         {"contains", "upload_id"},
         {"answer", {{"status", 503}, {"headers", {{"Retry-After", "7"}}}}}});
  const auto done = put(*store, "k", pattern(kMiB));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().retry, Retry::kThrottled);
  EXPECT_EQ(done.error().retry_after, std::chrono::seconds(7));
  const auto log = control("log");
  int puts = 0;
  for (const auto& line : log["log"]) puts += line.get<std::string>().starts_with("PUT");
  EXPECT_EQ(puts, 1);
  EXPECT_EQ(log["sessions"], 0);
}

TEST_F(GcsService, ASessionThatIsGoneBeginsAnew) {
  const std::string body = pattern(kMiB);
  auto store = open_in("varve-plain", prefix_, "writer", "", 1);
  fault({{"method", "PUT"}, {"contains", "upload_id"}, {"gone", true}});
  EXPECT_FAILS(put(*store, "k", body), Code::kUnreachable, Retry::kTransient);
  fault({{"method", "PUT"}, {"contains", "upload_id"}, {"gone", true}});
  ASSERT_TRUE(put(*patient(store), "k", body));
  EXPECT_TRUE(read(*store, "k") == body);
}

TEST_F(GcsService, ASessionThatLiesIsLeft) {
  auto store = open_in("varve-plain", prefix_, "writer", "", 1);
  for (const char* range : {"bytes=0-9999999", "bytes=5-9", "nonsense", "bytes=0-18446744073709551615"}) {
    SCOPED_TRACE(range);
    fault({{"method", "PUT"},
           {"contains", "upload_id"},
           {"answer", {{"status", 308}, {"headers", {{"Range", range}}}}}});
    EXPECT_FAILS(put(*store, "k", pattern(kMiB)), Code::kUnreachable, Retry::kTransient);
  }
  // Bytes that it had are gone again.
  fault({{"method", "PUT"}, {"contains", "upload_id"}, {"drop_after", kMiB / 2}});
  fault({{"method", "PUT"}, {"contains", "upload_id"}, {"drop_after", 0}});
  fault({{"method", "PUT"}, {"contains", "upload_id"}, {"skip", 2}, {"answer", {{"status", 308}}}});
  EXPECT_FAILS(put(*store, "k", pattern(kMiB)), Code::kUnreachable, Retry::kTransient);
}

TEST_F(GcsService, ASessionElsewhereIsNotFollowed) {
  auto store = open_in("varve-plain", prefix_, "writer", "", 1);
  for (const char* where :
       {"http://127.0.0.1:1/upload", "https://example.com/upload?upload_id=1", "", "/upload"}) {
    fault({{"method", "POST"},
           {"contains", "uploadType=resumable"},
           {"answer", {{"status", 200}, {"headers", {{"Location", where}}}}}});
    const auto done = put(*store, "k", "x");
    ASSERT_FALSE(done) << where;
    EXPECT_THAT(done.error().describe(), HasSubstr("session"));
  }
}

TEST_F(GcsService, NoTokenGoesToASessionAndNoSessionIntoAnError) {
  auto store = open_in("varve-plain", prefix_, "writer", "", 1);
  fault({{"method", "PUT"}, {"contains", "upload_id"}, {"answer", {{"status", 400}, {"body", "no"}}}});
  const auto done = put(*store, "k", "x");
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().describe(), Not(HasSubstr("upload_id")));
  EXPECT_EQ(done.error().retry, Retry::kNever);
}

TEST_F(GcsService, ACreateOnlySessionLosesToWhoeverWasFirst) {
  auto store = open_in("varve-plain", prefix_, "writer", "", 1);
  auto other = open_in("varve-plain", prefix_);
  fault({{"method", "PUT"}, {"contains", "upload_id"}, {"hold", true}});
  std::thread loser([&] { EXPECT_FAILS(put(*store, "k", "ours"), Code::kExists, Retry::kNever); });
  for (int i = 0; i < 3000 && control("held")["held"] == 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_TRUE(put(*other, "k", "theirs"));
  control("release");
  loser.join();
  EXPECT_EQ(read(*store, "k"), "theirs");
  EXPECT_EQ(control("log")["sessions"], 0);
}

// Answers

TEST_F(GcsService, APutWhoseAnswerIsLostIsRecognised) {
  auto store = patient(open_in("varve-plain", prefix_));
  fault({{"method", "POST"}, {"contains", "uploadType=multipart"}, {"lose_reply", true}});
  ASSERT_TRUE(put(*store, "k", "ours"));
  EXPECT_EQ(read(*store, "k"), "ours");
}

TEST_F(GcsService, APageOfAProxyIsNoObject) {
  auto store = open_in("varve-plain", prefix_);
  ASSERT_TRUE(put(*store, "k", "hello"));
  const nlohmann::json page = {
      {"status", 200}, {"headers", {{"Content-Type", "text/html"}}}, {"body", "<html>Sign in"}};
  size_t came = 0;
  const auto sink = [&](ByteView bytes) -> Result<> {
    came += bytes.size();
    return {};
  };
  for (const Range range : {Range{}, Range{1, 3}}) {
    fault({{"contains", "alt=media"}, {"answer", page}});
    EXPECT_FAILS(store->get(bounded(), "k", range, sink), Code::kUnreachable, Retry::kTransient);
    EXPECT_EQ(came, 0u) << "none of it may reach the caller";
  }
  fault({{"contains", "/o/"}, {"answer", page}});
  EXPECT_FAILS(store->head(bounded(), "k"), Code::kUnreachable, Retry::kTransient);
  fault({{"contains", "/o?"}, {"answer", page}});
  EXPECT_FAILS(store->list(bounded(), "", "", 1000), Code::kUnreachable, Retry::kTransient);
  fault({{"method", "POST"}, {"contains", "upload"}, {"answer", page}});
  EXPECT_FAILS(put(*store, "k2", "x"), Code::kUnreachable, Retry::kTransient);
  // "Not found" in a proxy's words is no absence.
  const nlohmann::json absent = {{"status", 404}, {"body", "<html>Not Found"}};
  fault({{"contains", "/o/"}, {"times", 2}, {"answer", absent}});
  EXPECT_FAILS(store->get(bounded(), "k", {}, sink), Code::kUnreachable, Retry::kTransient);
  fault({{"method", "DELETE"}, {"answer", absent}});
  EXPECT_FAILS(remove_one(*store, bounded(), "k"), Code::kUnreachable, Retry::kTransient);
  EXPECT_EQ(came, 0u);
  EXPECT_EQ(read(*store, "k"), "hello");
}

TEST_F(GcsService, HeadersThatDoNotFitTheRequest) {
  auto store = open_in("varve-plain", prefix_);
  const std::string body = pattern(1000);
  ASSERT_TRUE(put(*store, "k", body));
  size_t came = 0;
  const auto sink = [&](ByteView bytes) -> Result<> {
    came += bytes.size();
    return {};
  };
  const std::vector<nlohmann::json> changes = {{{"X-Goog-Generation", nullptr}},
                                               {{"X-Goog-Stored-Content-Length", "999"}},
                                               {{"Content-Range", "bytes 101-150/1000"}},
                                               {{"Content-Range", "bytes 100-149/999"}},
                                               {{"Content-Range", "bytes 100-148/1000"}},
                                               {{"Content-Range", nullptr}},
                                               {{"X-Goog-Stored-Content-Encoding", "gzip"}},
                                               {{"Content-Encoding", "gzip"}}};
  for (const auto& change : changes) {
    SCOPED_TRACE(change.dump());
    fault({{"contains", "alt=media"}, {"alter", change}});
    EXPECT_FAILS(store->get(bounded(), "k", {100, 50}, sink), Code::kUnreachable, Retry::kTransient);
  }
  for (const char* header : {"X-Goog-Hash", "X-Goog-Stored-Content-Length", "X-Goog-Generation"}) {
    SCOPED_TRACE(header);
    fault({{"contains", "alt=media"}, {"alter", {{header, nullptr}}}});
    EXPECT_FAILS(store->get(bounded(), "k", {}, sink), Code::kUnreachable, Retry::kTransient);
  }
  EXPECT_EQ(came, 0u);
}

TEST_F(GcsService, DamageIsToldAndNotTriedAgain) {
  auto store = patient(open_in("varve-plain", prefix_));
  ASSERT_TRUE(put(*store, "k", pattern(1000)));
  const auto sink = [](ByteView) -> Result<> { return {}; };
  for (const Range range : {Range{}, Range{0, 1000}}) {
    fault({{"contains", "alt=media"}, {"damage", true}});
    EXPECT_FAILS(store->get(bounded(), "k", range, sink), Code::kDamaged, Retry::kNever);
  }
}

TEST_F(GcsService, ABodyThatIsCutGoesOn) {
  auto store = patient(open_in("varve-plain", prefix_));
  const std::string body = pattern(kMiB);
  ASSERT_TRUE(put(*store, "k", body));
  for (const int cut : {0, 1, 500'000}) {
    fault({{"contains", "alt=media"}, {"cut_answer", cut}});
    EXPECT_TRUE(read(*store, "k") == body) << cut;
  }
}

TEST_F(GcsService, ABodyDamagedOnTheWayIsRefusedAndMayPass) {
  auto store = open_in("varve-plain", prefix_);
  fault({{"method", "POST"},
         {"contains", "upload"},
         {"answer",
          {{"status", 400},
           {"body",
            R"({"error":{"code":400,"message":"Provided CRC32C \"a\" doesn't match calculated CRC32C \"b\".",
                      "errors":[{"reason":"invalid"}]}})"}}}});
  EXPECT_FAILS(put(*store, "k", "x"), Code::kUnreachable, Retry::kTransient);
}

TEST_F(GcsService, WhatErrorsMean) {
  auto store = open_in("varve-plain", prefix_);
  const auto said = [](int status, const std::string& reason) -> nlohmann::json {
    const nlohmann::json error = {{"code", status}, {"message", "no"}, {"errors", {{{"reason", reason}}}}};
    return {{"status", status}, {"body", nlohmann::json{{"error", error}}.dump()}};
  };
  const struct {
    int status;
    const char* reason;
    Code code;
    Retry retry;
  } cases[] = {{403, "rateLimitExceeded", Code::kUnreachable, Retry::kThrottled},
               {403, "userRateLimitExceeded", Code::kUnreachable, Retry::kThrottled},
               {403, "forbidden", Code::kDenied, Retry::kNever},
               {403, "quotaExceeded", Code::kDenied, Retry::kNever},
               {429, "rateLimitExceeded", Code::kUnreachable, Retry::kThrottled},
               {503, "backendError", Code::kUnreachable, Retry::kThrottled},
               {500, "backendError", Code::kUnreachable, Retry::kTransient},
               {502, "", Code::kUnreachable, Retry::kTransient},
               {504, "gatewayTimeout", Code::kUnreachable, Retry::kTransient},
               {408, "", Code::kUnreachable, Retry::kTransient},
               {400, "invalid", Code::kUnreachable, Retry::kNever}};
  for (const auto& c : cases) {
    SCOPED_TRACE(fmt::format("{} {}", c.status, c.reason));
    fault({{"contains", "/o/"}, {"answer", said(c.status, c.reason)}});
    EXPECT_FAILS(store->head(bounded(), "k"), c.code, c.retry);
  }
}

TEST_F(GcsService, OneWriteASecondIsWaitedFor) {
  auto store = open_in("varve-rate", prefix_);
  ASSERT_TRUE(put(*store, "k", "1", {.mode = PutMode::kUnconditional}));
  EXPECT_FAILS(put(*store, "k", "2", {.mode = PutMode::kUnconditional}), Code::kUnreachable,
               Retry::kThrottled);
  auto waiting = with_retry(store, {.most_tries = 20, .first_delay = std::chrono::milliseconds(200)});
  EXPECT_TRUE(put(*waiting, "k", "3", {.mode = PutMode::kUnconditional}));
  EXPECT_EQ(read(*store, "k"), "3");
}

TEST_F(GcsService, PagesMayBeSmallOrEmpty) {
  auto store = open_in("varve-plain", prefix_);
  std::vector<Key> expected;
  for (int i = 0; i < 30; ++i) {
    expected.push_back(fmt::format("k/{:02}", i));
    ASSERT_TRUE(put(*store, expected.back(), "x"));
  }
  control("small_pages", {{"on", true}});
  std::vector<Key> seen;
  std::string token;
  do {
    const auto page = store->list(bounded(), "k/", token, 1000);
    ASSERT_TRUE(page) << page.error().describe();
    ASSERT_TRUE(!page->objects.empty() || page->next.empty());
    for (const ObjectInfo& object : page->objects) seen.push_back(object.key);
    token = page->next;
  } while (!token.empty());
  EXPECT_EQ(seen, expected);
}

// Identities

TEST_F(GcsService, EveryKindOfCredentials) {
  for (const char* identity : {"writer", "person", "federated", "federated_url"}) {
    SCOPED_TRACE(identity);
    auto store = open_in("varve-plain", prefix_, identity);
    const auto done = put(*store, identity, "x");
    ASSERT_TRUE(done) << done.error().describe();
    EXPECT_EQ(read(*store, identity), "x");
    EXPECT_TRUE(remove_one(*store, bounded(), identity));
  }
  gcs::Options options;
  options.endpoint = endpoint();
  options.bucket = "varve-plain";
  options.prefix = prefix_ + "/";
  GcsStore by_metadata(options, gcs::metadata_credentials(endpoint().substr(7)));
  const auto done = put(by_metadata, "m", "x");
  ASSERT_TRUE(done) << done.error().describe();
}

TEST_F(GcsService, AServerThatIsNotMarkedIsNoMetadataServer) {
  fault({{"contains", "computeMetadata"}, {"alter", {{"Metadata-Flavor", nullptr}}}});
  const auto token = gcs::metadata_credentials(endpoint().substr(7))->fetch(bounded(), gcs::kStorageScope);
  ASSERT_FALSE(token);
  EXPECT_EQ(token.error().code, Code::kDenied);
}

TEST_F(GcsService, ATokenThatRunsOutIsRenewed) {
  auto store = open_in("varve-plain", prefix_);
  ASSERT_TRUE(put(*store, "a", "x"));
  control("log");
  ASSERT_TRUE(put(*store, "b", "x"));
  EXPECT_EQ(requests("/token"), 0) << "a good token is used again";
  control("expire");
  ASSERT_TRUE(put(*store, "c", "x"));
  control("expire");
  EXPECT_EQ(read(*store, "c"), "x");
  control("expire");
  EXPECT_EQ(store->list(bounded(), "", "", 1000)->objects.size(), 3u);
  control("expire");
  EXPECT_TRUE(remove_one(*store, bounded(), "c"));
  // In the middle of an upload nothing is asked for: the session is its own proof.
  auto sessions = open_in("varve-plain", prefix_, "writer", "", 1);
  control("log");
  fault({{"method", "PUT"}, {"contains", "upload_id"}, {"expire", true}});
  ASSERT_TRUE(put(*sessions, "d", pattern(kMiB)));
  EXPECT_EQ(requests("/token"), 1);
}

TEST_F(GcsService, TokensThatLastTwoSeconds) {
  control("lifetime", {{"seconds", 2}});
  auto store = open_in("varve-plain", prefix_);
  const auto until = SteadyClock::now() + std::chrono::milliseconds(2500);
  for (int i = 0; SteadyClock::now() < until; ++i) {
    const auto done = put(*store, fmt::format("k{}", i), "x");
    ASSERT_TRUE(done) << done.error().describe();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

TEST_F(GcsService, WhoeverIsRefusedIsToldSo) {
  auto store = open_in("varve-plain", prefix_, "nobody");
  const auto done = put(*store, "k", "x");
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kDenied);
  EXPECT_THAT(done.error().describe(), HasSubstr("storage.objects.create"));
  EXPECT_THAT(done.error().hint, HasSubstr("gcs.md"));
  // A token endpoint that refuses: the secret is not in what it says.
  fault({{"contains", "/token"},
         {"answer",
          {{"status", 400}, {"body", R"({"error":"invalid_grant","error_description":"Invalid JWT"})"}}}});
  const auto signed_in = put(*open_in("varve-plain", prefix_), "k", "x");
  ASSERT_FALSE(signed_in);
  EXPECT_EQ(signed_in.error().code, Code::kDenied);
  EXPECT_THAT(signed_in.error().describe(), HasSubstr("invalid_grant"));
  EXPECT_THAT(signed_in.error().describe(), Not(HasSubstr("PRIVATE")));
  fault({{"contains", "/token"}, {"answer", {{"status", 503}}}});
  EXPECT_FAILS(put(*open_in("varve-plain", prefix_), "k", "x"), Code::kUnreachable, Retry::kThrottled);
}

TEST_F(GcsService, ABucketThatIsNotThere) {
  auto store = open_in("varve-absent", prefix_);
  const auto listed = store->list(bounded(), "", "", 1000);
  ASSERT_FALSE(listed);
  EXPECT_EQ(listed.error().code, Code::kNotFound);
  EXPECT_THAT(listed.error().describe(), HasSubstr("bucket does not exist"));
  EXPECT_FAILS(put(*store, "k", "x"), Code::kNotFound, Retry::kNever);
}

TEST_F(GcsService, WhoPaysMustBeSaid) {
  const auto done = put(*open_in("varve-payer", prefix_), "k", "x");
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().hint, HasSubstr("user_project"));
}

// Retention and versions

TEST_F(GcsService, ALockedRetentionOnlyGrows) {
  auto store = open_in("varve-locked", prefix_, "retainer", "&retention=locked");
  const Timestamp until = now() + std::chrono::hours(24);
  ASSERT_TRUE(put(*store, "k", "x", {.retain_until = until}));
  auto loose = open_in("varve-locked", prefix_, "retainer", "&retention=unlocked");
  EXPECT_TRUE(loose->extend_retention(bounded(), "k", until + std::chrono::hours(1)));
  EXPECT_TRUE(loose->extend_retention(bounded(), "k", until));
  EXPECT_EQ(loose->head(bounded(), "k")->retain_until, until + std::chrono::hours(1));
  EXPECT_FAILS(remove_one(*loose, bounded(), "k"), Code::kConflict, Retry::kNever);
  EXPECT_FAILS(put(*loose, "k", "y", {.mode = PutMode::kUnconditional}), Code::kConflict, Retry::kNever);
}

TEST_F(GcsService, WhatWasUnlockedIsLockedByTheNextExtension) {
  auto loose = open_in("varve-locked", prefix_, "retainer");
  const Timestamp until = now() + std::chrono::hours(24);
  ASSERT_TRUE(put(*loose, "k", "x", {.retain_until = until}));
  auto locked = open_in("varve-locked", prefix_, "retainer", "&retention=locked");
  ASSERT_TRUE(locked->extend_retention(bounded(), "k", until - std::chrono::hours(1)));
  EXPECT_EQ(locked->head(bounded(), "k")->retain_until, until);
  control("log");
  ASSERT_TRUE(locked->extend_retention(bounded(), "k", until)) << "and nothing is left to do";
  EXPECT_EQ(requests("PATCH"), 0);
}

TEST_F(GcsService, TwoWhoExtendAtOnceDoNotShorten) {
  auto store = patient(open_in("varve-locked", prefix_, "retainer"));
  const Timestamp start = now() + std::chrono::hours(1);
  ASSERT_TRUE(put(*store, "k", "x", {.retain_until = start}));
  {
    std::vector<std::jthread> threads;
    for (int i = 1; i <= 4; ++i)
      threads.emplace_back([&, i] {
        auto mine = with_retry(open_in("varve-locked", prefix_, "retainer"),
                               {.most_tries = 50, .first_delay = std::chrono::milliseconds(1)});
        EXPECT_TRUE(mine->extend_retention(bounded(), "k", start + std::chrono::hours(i)));
      });
  }
  EXPECT_EQ(store->head(bounded(), "k")->retain_until, start + std::chrono::hours(4));
}

TEST_F(GcsService, ABucketsOwnPolicyIsSeen) {
  auto store = open_in("varve-policy", prefix_);
  ASSERT_TRUE(put(*store, "k", "x"));
  const auto info = store->head(bounded(), "k");
  ASSERT_TRUE(info && info->retain_until);
  EXPECT_GT(*info->retain_until, now() + std::chrono::minutes(50));
  EXPECT_FALSE(store->capabilities().retention) << "it is not ours to extend";
  EXPECT_FAILS(remove_one(*store, bounded(), "k"), Code::kConflict, Retry::kNever);
  // The same told in other words.
  fault({{"method", "DELETE"},
         {"answer",
          {{"status", 403},
           {"body",
            R"({"error":{"code":403,"message":"is subject to","errors":[{"reason":"forbidden"}]}})"}}}});
  EXPECT_FAILS(remove_one(*store, bounded(), "k"), Code::kConflict, Retry::kNever);
}

TEST_F(GcsService, RemovingFreesEveryVersion) {
  auto store = open_in("varve-versioned", prefix_);
  auto keeping = open_in("varve-versioned", prefix_, "writer", "&keep_versions=true");
  ASSERT_TRUE(put(*store, "k", "1"));
  ASSERT_TRUE(put(*store, "k2", "other"));
  const Timestamp first = now();
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ASSERT_TRUE(put(*store, "k", "2", {.mode = PutMode::kUnconditional}));
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ASSERT_TRUE(remove_one(*keeping, bounded(), "k"));
  EXPECT_FAILS(store->head(bounded(), "k"), Code::kNotFound, Retry::kNever);
  const auto then = [&] {
    return open_in("varve-versioned", prefix_, "writer", "&as_of=" + net::percent_encode(to_rfc3339(first)));
  };
  EXPECT_EQ(read(*then(), "k"), "1") << "kept by the bucket";
  ASSERT_TRUE(remove_one(*store, bounded(), "k"));
  EXPECT_FAILS(then()->head(bounded(), "k"), Code::kNotFound, Retry::kNever);
  EXPECT_EQ(read(*store, "k2"), "other");
}

TEST_F(GcsService, TheStoreAsItWas) {
  auto store = open_in("varve-versioned", prefix_, "writer", "&keep_versions=true");
  for (int i = 0; i < 12; ++i) ASSERT_TRUE(put(*store, fmt::format("k/{:02}", i), fmt::format("old {}", i)));
  ASSERT_TRUE(put(*store, "k/00-longer", "x"));
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const Timestamp then = now();
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ASSERT_TRUE(put(*store, "k/99", "newer"));
  ASSERT_TRUE(put(*store, "k/01", "overwritten by someone", {.mode = PutMode::kUnconditional}));
  std::vector<Key> gone;
  for (int i = 2; i < 12; ++i) gone.push_back(fmt::format("k/{:02}", i));
  ASSERT_TRUE(store->remove(bounded(), gone));
  control("small_pages", {{"on", true}});

  auto past =
      open_in("varve-versioned", prefix_, "writer", "&as_of=" + net::percent_encode(to_rfc3339(then)));
  std::vector<Key> seen;
  ASSERT_TRUE(for_each(*past, bounded(), "k/", [&](const ObjectInfo& info) -> Result<> {
    seen.push_back(info.key);
    return {};
  }));
  ASSERT_EQ(seen.size(), 13u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(read(*past, "k/01"), "old 1");
  EXPECT_EQ(read(*past, "k/05"), "old 5");
  EXPECT_EQ(read(*past, "k/05", {4, 1}), "5");
  EXPECT_EQ(past->head(bounded(), "k/11")->size, 6u);
  EXPECT_FAILS(past->head(bounded(), "k/99"), Code::kNotFound, Retry::kNever);
  EXPECT_FAILS(put(*past, "new", "x"), Code::kDenied, Retry::kNever);
  EXPECT_FAILS(remove_one(*past, bounded(), "k/01"), Code::kDenied, Retry::kNever);
  EXPECT_FAILS(past->extend_retention(bounded(), "k/01", now()), Code::kDenied, Retry::kNever);
}

TEST_F(GcsService, ClassAndKeyAreSent) {
  auto store = open_in("varve-plain", prefix_, "writer",
                       "&storage_class=coldline&kms_key=projects/p/locations/l/keyRings/r/cryptoKeys/k");
  ASSERT_TRUE(put(*store, "k", "x"));
  auto sessions = open_in("varve-plain", prefix_, "writer", "&storage_class=ARCHIVE", 1);
  ASSERT_TRUE(put(*sessions, "k2", "x"));
}

}  // namespace
}  // namespace varve::store
