// The driver against a service that answers wrongly, and what it says then. The right answers are Azurite's
// (azure_contract_test.cc).
#include "store/azure/azure_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "crypto/crypto.h"
#include "crypto/signing.h"
#include "store/azure/dates.h"
#include "store/azure/testing_azure.h"
#include "store/azure/versions.h"
#include "store/open.h"

namespace varve::store {
namespace {

using azure::environment_with;
using azure::Scripted;
using ::testing::HasSubstr;
using ::testing::Not;
using Answer = Scripted::Answer;

constexpr char kOurs[] = "x-ms-request-id: 1\r\nx-ms-version: 2021-12-02\r\n";
constexpr char kDated[] = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

Context bounded() {
  return Context{}.with_deadline(std::chrono::seconds(20));
}

StorePtr store_at(const Scripted& server, const std::string& more = "",
                  std::map<std::string, std::string> environment = {{"AZURE_STORAGE_KEY", "a2V5"}}) {
  auto place = parse_place("azure://box/pre?endpoint=" + server.url("/acct") + more);
  EXPECT_TRUE(place);
  auto store = AzureStore::open({}, *place, environment_with(std::move(environment)));
  EXPECT_TRUE(store) << store.error().describe();
  return store.value_or(nullptr);
}

struct Got {
  Result<uint64_t> result;
  std::string bytes;
};
Got get(Store& store, Range range = {}) {
  Got out;
  out.result = store.get(bounded(), "k", range, [&](ByteView piece) -> Result<> {
    out.bytes += as_text(piece);
    return {};
  });
  return out;
}

// A get that is answered so fails so, and nothing of it has reached the sink.
void expect_refused(const Answer& answer, Range range, Code code, Retry retry) {
  Scripted server([&](const auto&) { return answer; });
  const Got got = get(*store_at(server), range);
  ASSERT_FALSE(got.result) << answer.headers;
  EXPECT_EQ(code_name(got.result.error().code), code_name(code)) << got.result.error().describe();
  EXPECT_EQ(got.result.error().retry, retry) << got.result.error().describe();
  EXPECT_EQ(got.bytes, "");
}

TEST(AzureReading, NonsenseDoesNotReachTheSink) {
  const std::string ours = kOurs;
  expect_refused({200, "<html>Sign in</html>", "Content-Type: text/html\r\n"}, {}, Code::kUnreachable,
                 Retry::kTransient);
  expect_refused({200, "all of it", ours}, {2, 3}, Code::kUnreachable, Retry::kTransient);
  expect_refused({206, "par", ours}, {2, 3}, Code::kUnreachable, Retry::kTransient);
  expect_refused({206, "par", ours + "Content-Range: bytes 0-2/9\r\n"}, {2, 3}, Code::kUnreachable,
                 Retry::kTransient);
  expect_refused({206, "pa", ours + "Content-Range: bytes 2-3/9\r\n"}, {2, 3}, Code::kUnreachable,
                 Retry::kTransient);
  expect_refused({206, "par", ours + "Content-Range: bytes 0-2/9\r\n"}, {}, Code::kUnreachable,
                 Retry::kTransient);
  expect_refused({204, "", ours}, {}, Code::kUnreachable, Retry::kTransient);
  expect_refused({302, "", "Location: http://elsewhere\r\n"}, {}, Code::kUnreachable, Retry::kTransient);
  expect_refused({404, "<html>", "Content-Type: text/html\r\n"}, {}, Code::kUnreachable, Retry::kTransient);
  expect_refused({404, "", ours + "x-ms-error-code: BlobNotFound\r\n"}, {}, Code::kNotFound, Retry::kNever);
  expect_refused({404, "", ours + "x-ms-error-code: ContainerNotFound\r\n"}, {}, Code::kUnreachable,
                 Retry::kNever);
  expect_refused({503, "", ours + "x-ms-error-code: ServerBusy\r\n"}, {}, Code::kUnreachable,
                 Retry::kThrottled);
}

TEST(AzureReading, TheRightPart) {
  Scripted server([](const auto& request) {
    EXPECT_EQ(request.header("x-ms-range"), "bytes=2-4");
    return Answer{206, "cde", std::string(kOurs) + "Content-Range: bytes 2-4/9\r\n"};
  });
  const Got got = get(*store_at(server), {2, 3});
  ASSERT_TRUE(got.result) << got.result.error().describe();
  EXPECT_EQ(*got.result, 9u);
  EXPECT_EQ(got.bytes, "cde");
}

TEST(AzureReading, TheMd5OfTheWholeIsCompared) {
  const ByteView body = as_bytes("the bytes");
  const std::string md5 = crypto::to_base64(crypto::md5(std::span(&body, 1)));
  for (const bool right : {true, false}) {
    Scripted server([&](const auto&) {
      return Answer{200, right ? "the bytes" : "the bytez", kOurs + ("Content-MD5: " + md5 + "\r\n")};
    });
    const Got got = get(*store_at(server));
    EXPECT_EQ(got.result.has_value(), right);
    if (!right) {
      EXPECT_EQ(got.result.error().code, Code::kDamaged);
    }
  }
}

TEST(AzureReading, BeyondTheEnd) {
  for (const char* range : {"Content-Range: bytes */9\r\n", "", "Content-Range: bytes */junk\r\n"}) {
    Scripted server([&](const auto& request) {
      if (request.method == "HEAD")
        return Answer{200, "", std::string(kOurs) + kDated + "Content-Length: 9\r\n"};
      return Answer{416, "", kOurs + std::string("x-ms-error-code: InvalidRange\r\n") + range};
    });
    const Got got = get(*store_at(server), {20, 5});
    ASSERT_TRUE(got.result) << got.result.error().describe();
    EXPECT_EQ(*got.result, 9u);
  }
}

TEST(AzureWriting, WhatIsNoSuccess) {
  const auto put = [](const Answer& answer, PutMode mode = PutMode::kCreateOnly) {
    Scripted server([&](const auto&) { return answer; });
    const Result<> done = put_bytes(*store_at(server), bounded(), "k", as_bytes("x"), {.mode = mode});
    return done ? std::string("done")
                : fmt::format("{} {}", code_name(done.error().code), static_cast<int>(done.error().retry));
  };
  const std::string ours = kOurs;
  EXPECT_EQ(put({201, "", ours}), "done");
  EXPECT_EQ(put({201, "", ""}), "unreachable 1") << "a proxy's, not the service's";
  EXPECT_EQ(put({200, "", ours}), "unreachable 1");
  EXPECT_EQ(put({409, "", ours + "x-ms-error-code: BlobAlreadyExists\r\n"}), "exists 0");
  EXPECT_EQ(put({412, "", ours + "x-ms-error-code: ConditionNotMet\r\n"}), "exists 0");
  EXPECT_EQ(put({403, "", ours + "x-ms-error-code: UnauthorizedBlobOverwrite\r\n"}), "exists 0");
  EXPECT_EQ(put({409, "", ours + "x-ms-error-code: BlobImmutableDueToPolicy\r\n"}), "exists 0");
  EXPECT_EQ(put({409, "", ours + "x-ms-error-code: BlobImmutableDueToPolicy\r\n"}, PutMode::kUnconditional),
            "conflict 0");
  EXPECT_EQ(put({412, "", ""}), "unreachable 1") << "a proxy's word that a name is taken counts for nothing";
  EXPECT_EQ(put({409, "", ours + "x-ms-error-code: ContainerBeingDeleted\r\n"}), "unreachable 1");
  EXPECT_EQ(put({400, "", ours + "x-ms-error-code: Md5Mismatch\r\n"}), "unreachable 1");
}

TEST(AzureWriting, WhatIsAskedFor) {
  Scripted server([](const auto&) { return Answer{201, "", kOurs}; });
  const StorePtr store = store_at(server, "&access_tier=cool&immutability=locked");
  EXPECT_TRUE(store->capabilities().retention);
  const Timestamp until = std::chrono::floor<Seconds>(now()) + std::chrono::hours(48);
  ASSERT_TRUE(put_bytes(*store, bounded(), "a/b+c", as_bytes("hello"),
                        {.retain_until = until - std::chrono::milliseconds(1)}));
  const auto request = server.received().at(0);
  EXPECT_EQ(request.method, "PUT");
  EXPECT_EQ(request.target, "/acct/box/pre/a/b%2Bc");
  EXPECT_EQ(request.body, "hello");
  EXPECT_EQ(request.header("if-none-match"), "*");
  EXPECT_EQ(request.header("content-md5"), "XUFAKrxLKna5cZ2REBfFkg==");
  EXPECT_EQ(request.header("x-ms-access-tier"), "Cool");
  EXPECT_EQ(request.header("x-ms-immutability-policy-mode"), "locked");
  EXPECT_EQ(request.header("x-ms-immutability-policy-until-date"), azure::to_http_date(until))
      << "rounded up: never shorter";
}

// Whoever commits a blob drops the blocks that others have uploaded for it.
TEST(AzureWriting, BlocksThatAnotherDropped) {
  for (const bool there : {true, false}) {
    std::atomic<int> heads = 0;
    Scripted server([&](const auto& request) {
      if (request.method == "HEAD") {
        if (++heads > 1 && there)
          return Answer{200, "", std::string(kOurs) + kDated + "Content-Length: 1\r\n"};
        return Answer{404, "", kOurs + std::string("x-ms-error-code: BlobNotFound\r\n")};
      }
      if (request.target.find("comp=blocklist") != std::string::npos)
        return Answer{400, "", kOurs + std::string("x-ms-error-code: InvalidBlockList\r\n")};
      return Answer{201, "", kOurs};
    });
    const std::string body(200'000, 'x');
    const Result<> done = put_bytes(*store_at(server, "&block_size=64KiB"), bounded(), "k", as_bytes(body));
    ASSERT_FALSE(done);
    EXPECT_EQ(code_name(done.error().code), code_name(there ? Code::kExists : Code::kUnreachable));
    EXPECT_EQ(done.error().retry, there ? Retry::kNever : Retry::kTransient);
    std::set<std::string> ids;
    for (const auto& request : server.received()) {
      const size_t at = request.target.find("blockid=");
      if (at != std::string::npos) ids.insert(request.target.substr(at));
    }
    EXPECT_EQ(ids.size(), 4u);
  }
}

TEST(AzureListing, PagesThatCannotBe) {
  const auto list = [](const std::string& xml, const std::string& token = "") {
    Scripted server([&](const auto&) { return Answer{200, xml, kOurs}; });
    return store_at(server)->list(bounded(), "", token, 10);
  };
  const auto blob = [](const std::string& name) {
    return "<Blob><Name>" + name +
           "</Name><Properties><Last-Modified>Sun, 06 Nov 1994 08:49:37 GMT</Last-Modified>"
           "<Content-Length>12</Content-Length></Properties></Blob>";
  };
  const auto page = [](const std::string& blobs, const std::string& next) {
    return "<EnumerationResults><Blobs>" + blobs + "</Blobs><NextMarker>" + next +
           "</NextMarker></EnumerationResults>";
  };
  const auto fine = list(page(blob("other/x") + blob("pre/a") + blob("pre/b c") + blob("pre/b/.x"), "m"));
  ASSERT_TRUE(fine) << fine.error().describe();
  ASSERT_EQ(fine->objects.size(), 1u) << "only what lies below the prefix and has a name for an object";
  EXPECT_EQ(fine->objects[0].key, "a");
  EXPECT_EQ(fine->next, "m");
  const auto wrong_order = list(page(blob("pre/a/b") + blob("pre/a+b"), ""));
  ASSERT_FALSE(wrong_order);
  EXPECT_EQ(wrong_order.error().code, Code::kUnsupported);
  EXPECT_THAT(wrong_order.error().hint, HasSubstr("hierarchical"));
  EXPECT_FALSE(list(page(blob("pre/a"), "same"), "same")) << "would never end";
  EXPECT_FALSE(list("<html>"));
}

TEST(AzureListing, EmptyPagesAreSkipped) {
  std::atomic<int> pages = 0;
  Scripted server([&](const auto&) {
    const int n = ++pages;
    return Answer{
        200,
        fmt::format("<EnumerationResults><Blobs></Blobs><NextMarker>{}</NextMarker></EnumerationResults>",
                    n < 4 ? fmt::format("m{}", n) : ""),
        kOurs};
  });
  const auto out = store_at(server)->list(bounded(), "", "", 10);
  ASSERT_TRUE(out);
  EXPECT_TRUE(out->objects.empty() && out->next.empty());
  EXPECT_EQ(pages, 4);
}

TEST(AzureRemoval, EachKeyByItsAnswer) {
  Scripted server([](const auto& request) {
    const std::string ours = kOurs;
    if (request.method == "HEAD" && !request.target.ends_with("gone"))
      return Answer{200, "", ours + kDated + "Content-Length: 1\r\n"};
    if (request.target.ends_with("fine")) return Answer{202, "", ours};
    if (request.target.ends_with("gone")) return Answer{404, "", ours + "x-ms-error-code: BlobNotFound\r\n"};
    if (request.target.ends_with("held"))
      return Answer{409, "", ours + "x-ms-error-code: BlobImmutableDueToPolicy\r\n"};
    if (request.target.ends_with("leased"))
      return Answer{412, "", ours + "x-ms-error-code: LeaseIdMissing\r\n"};
    if (request.target.ends_with("proxy")) return Answer{202, "", ""};
    return Answer{404, "", ours + "x-ms-error-code: ContainerNotFound\r\n"};
  });
  const std::vector<Key> keys = {"fine", "gone", "held", "leased", "proxy", "nowhere"};
  const auto results = store_at(server)->remove(bounded(), keys);
  ASSERT_TRUE(results);
  EXPECT_TRUE((*results)[0].result);
  EXPECT_TRUE((*results)[1].result);
  EXPECT_EQ((*results)[2].result.error().code, Code::kConflict);
  EXPECT_EQ((*results)[3].result.error().code, Code::kConflict);
  EXPECT_EQ((*results)[4].result.error().code, Code::kUnreachable);
  EXPECT_EQ((*results)[5].result.error().code, Code::kUnreachable)
      << "not \"gone\": the container is not there";
}

// The blob is removed, and then the connection breaks: trying again finds no blob, and must still remove the
// version.
TEST(AzureRemoval, AVersionIsNotForgotten) {
  bool removed = false;
  int broken = 0, versions = 0;
  Scripted server([&](const auto& request) {
    const std::string ours = kOurs;
    if (request.target.find("versionid") != std::string::npos) {
      if (broken++ == 0) return Answer{500, "", ours + "x-ms-error-code: InternalError\r\n"};
      EXPECT_TRUE(request.target.ends_with("versionid=2024-05-01T12%3A00%3A00.1234567Z"));
      ++versions;
      return Answer{202, "", ours};
    }
    if (removed) return Answer{404, "", ours + "x-ms-error-code: BlobNotFound\r\n"};
    if (request.method == "DELETE") {
      removed = true;
      return Answer{202, "", ours};
    }
    return Answer{200, "",
                  ours + kDated + "Content-Length: 1\r\nx-ms-version-id: 2024-05-01T12:00:00.1234567Z\r\n"};
  });
  const StorePtr store = store_at(server);
  const auto first = remove_one(*store, bounded(), "k");
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().retry, Retry::kTransient);
  EXPECT_TRUE(remove_one(*store, bounded(), "k"));
  EXPECT_EQ(versions, 1);
}

TEST(AzureRemoval, WhoMayNotRemoveVersionsRemovesTheBlob) {
  Scripted server([&](const auto& request) {
    const std::string ours = kOurs;
    if (request.target.find("versionid") != std::string::npos)
      return Answer{403, "", ours + "x-ms-error-code: AuthorizationPermissionMismatch\r\n"};
    if (request.method == "DELETE") return Answer{202, "", ours};
    return Answer{200, "", ours + kDated + "Content-Length: 1\r\nx-ms-version-id: v\r\n"};
  });
  EXPECT_TRUE(remove_one(*store_at(server), bounded(), "k"));
}

TEST(AzureRequests, AreDatedByTheServicesClock) {
  const Timestamp theirs = now() + std::chrono::hours(2);
  Scripted server([&](const auto& request) {
    const auto dated = azure::parse_http_date(request.header("x-ms-date").value_or(""));
    const bool near = dated && std::chrono::abs(*dated - theirs) < std::chrono::minutes(5);
    return near ? Answer{201, "", kOurs}
                : Answer{403, "",
                         kOurs + fmt::format("x-ms-error-code: AuthenticationFailed\r\nDate: {}\r\n",
                                             azure::to_http_date(theirs))};
  });
  const StorePtr store = store_at(server);
  EXPECT_TRUE(put_bytes(*store, bounded(), "k", as_bytes("x")));
  EXPECT_TRUE(put_bytes(*store, bounded(), "k", as_bytes("x")));
  EXPECT_EQ(server.received().size(), 3u) << "once wrongly, then rightly at once";
}

TEST(AzureRequests, ARefusedKeyIsDeniedAndNotTriedAgain) {
  Scripted server([](const auto&) {
    return Answer{403, "<Error><Code>AuthenticationFailed</Code><Message>Nope</Message></Error>",
                  kOurs + fmt::format("x-ms-error-code: AuthenticationFailed\r\nDate: {}\r\n",
                                      azure::to_http_date(now()))};
  });
  const auto done = put_bytes(*store_at(server), bounded(), "k", as_bytes("x"));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kDenied);
  EXPECT_EQ(done.error().retry, Retry::kNever);
  EXPECT_THAT(done.error().describe(), HasSubstr("$AZURE_STORAGE_KEY"));
  EXPECT_EQ(server.received().size(), 1u);
}

TEST(AzureRequests, ARefusedTokenIsRenewedOnce) {
  std::atomic<int> tokens = 0;
  Scripted login([&](const auto&) {
    return Answer{200, fmt::format(R"({{"access_token":"t{}","expires_in":3600}})", ++tokens)};
  });
  Scripted server([](const auto& request) {
    if (request.header("authorization") == "Bearer t2") return Answer{201, "", kOurs};
    return Answer{401, "", kOurs + std::string("x-ms-error-code: InvalidAuthenticationInfo\r\n")};
  });
  const std::map<std::string, std::string> environment = {{"AZURE_AUTHORITY_HOST", login.url()},
                                                          {"AZURE_TENANT_ID", "t"},
                                                          {"AZURE_CLIENT_ID", "c"},
                                                          {"AZURE_CLIENT_SECRET", "s"}};
  const StorePtr store = store_at(server, "", environment);
  EXPECT_TRUE(put_bytes(*store, bounded(), "k", as_bytes("x")));
  EXPECT_EQ(server.received().size(), 2u);
  EXPECT_EQ(server.received()[1].body, "x") << "the body goes out again, whole";
}

TEST(AzureRequests, ASignatureIsNeverShown) {
  std::string gone;
  {
    Scripted server([](const auto&) { return Answer{}; });
    gone = server.url("/acct");
  }
  auto place = parse_place("azure://box?endpoint=" + gone);
  auto store =
      AzureStore::open({}, *place, environment_with({{"AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=verysecret"}}));
  ASSERT_TRUE(store) << store.error().describe();
  const auto refused = (*store)->head(bounded(), "k");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().describe() + (*store)->describe(), Not(HasSubstr("verysecret")));
}

TEST(AzureOpening, MistakesAreTold) {
  const auto refused = [](const std::string& address) {
    auto place = parse_place(address);
    if (!place) return place.error().describe();
    auto store = AzureStore::open({}, *place, environment_with({{"AZURE_STORAGE_KEY", "a2V5"}}));
    if (store) return std::string("opened");
    EXPECT_EQ(store.error().code, Code::kUsage) << address;
    return store.error().describe();
  };
  EXPECT_EQ(refused("azure://box/some/prefix?account=mine"), "opened");
  EXPECT_EQ(refused("azure://$root?account=mine&access_tier=COLD&immutability=Locked&block_size=8MiB"),
            "opened");
  EXPECT_THAT(refused("azure://box?account=mine&access_tier=Archive"), HasSubstr("archive"));
  EXPECT_THAT(refused("azure://box?account=mine&access_tier=Tepid"), HasSubstr("Tepid"));
  EXPECT_THAT(refused("azure://box?account=mine&immutability=yes"), HasSubstr("unlocked"));
  EXPECT_THAT(refused("azure://box?account=mine&block_size=1"), HasSubstr("block_size"));
  EXPECT_THAT(refused("azure://box?account=mine&parallel_blocks=0"), HasSubstr("parallel_blocks"));
  EXPECT_THAT(refused("azure://box?account=mine&as_of=whenever"), HasSubstr("as_of"));
  EXPECT_THAT(refused("azure://box?account=mine&tier=Cool"), HasSubstr("tier"));
  EXPECT_THAT(refused("azure://box"), HasSubstr("account"));
  EXPECT_THAT(refused("azure://Box?account=mine"), HasSubstr("container"));
  EXPECT_THAT(refused("azure://b--x?account=mine"), HasSubstr("container"));
  EXPECT_THAT(refused("azure://box/a%20b?account=mine"), HasSubstr("prefix"));
  EXPECT_THAT(refused("azure://box/a/../b?account=mine"), HasSubstr("prefix"));
}

TEST(AzureOpening, SaysWhatMustBeGranted) {
  Scripted server([](const auto&) { return Answer{}; });
  const std::string plain = store_at(server)->policy();
  EXPECT_THAT(plain, HasSubstr("containers/blobs/delete\""));
  EXPECT_THAT(plain, HasSubstr("containers/box"));
  EXPECT_THAT(plain, Not(HasSubstr("immutableStorage")));
  EXPECT_THAT(store_at(server, "&immutability=locked")->policy(), HasSubstr("immutableStorage"));
  EXPECT_THAT(store_at(server, "&as_of=2024-05-01T00:00:00Z")->policy(), Not(HasSubstr("blobs/delete")));
}

TEST(AzureVersions, TokensOfPages) {
  const azure::Blob best{"a/b", 12, Timestamp(Seconds(5)), "2024-05-01T12:00:00.1234567Z"};
  for (const azure::PagePlace& place : {azure::PagePlace{"a marker!", best}, azure::PagePlace{"", best},
                                        azure::PagePlace{"m", std::nullopt}}) {
    const auto back = azure::parse_token_of_page(azure::to_token(place));
    ASSERT_TRUE(back);
    EXPECT_EQ(back->marker, place.marker);
    ASSERT_EQ(back->best.has_value(), place.best.has_value());
    if (!back->best) continue;
    EXPECT_EQ(back->best->name, best.name);
    EXPECT_EQ(back->best->size, best.size);
    EXPECT_EQ(back->best->modified, best.modified);
    EXPECT_EQ(back->best->version, best.version);
  }
  for (const char* wrong : {"m", "a b\nm", "a 1 2 3 4\n", "../a 1 2 v\n", "a x 2 v\n"})
    EXPECT_FALSE(azure::parse_token_of_page(wrong)) << wrong;
}

}  // namespace
}  // namespace varve::store
