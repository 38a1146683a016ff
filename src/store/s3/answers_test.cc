// What services, and what stands between, may answer; and what Varve makes of it.
#include <gmock/gmock.h>

#include "store/s3/testing_s3.h"
#include "store/s3/times.h"

namespace varve::store::s3 {
namespace {

using namespace std::chrono_literals;
using testing::Connection;
using testing::kXml;
using testing::Received;
using testing::ScriptedS3;
using testing::xml_error;

const Result<> kTaken = {};
Result<> ignore(ByteView) {
  return kTaken;
}

Error put_error(int status, const std::string& body, std::string_view headers = kXml) {
  ScriptedS3 s3([&](Connection& c, const Received&) { c.answer(status, body, headers); });
  auto done = put_bytes(*s3.open(), ScriptedS3::context(), "k", as_bytes("x"));
  EXPECT_FALSE(done) << status << " " << body;
  return done ? Error{} : done.error();
}

TEST(S3Answers, FailuresAreTold) {
  struct Case {
    int status;
    const char* code;
    Code kind;
    Retry retry;
  };
  for (const Case& c : {Case{503, "SlowDown", Code::kUnreachable, Retry::kThrottled},
                        Case{429, "TooManyRequests", Code::kUnreachable, Retry::kThrottled},
                        Case{500, "InternalError", Code::kUnreachable, Retry::kTransient},
                        Case{400, "RequestTimeout", Code::kUnreachable, Retry::kTransient},
                        Case{400, "BadDigest", Code::kUnreachable, Retry::kTransient},
                        Case{409, "ConditionalRequestConflict", Code::kUnreachable, Retry::kTransient},
                        Case{409, "OperationAborted", Code::kUnreachable, Retry::kTransient},
                        Case{412, "PreconditionFailed", Code::kExists, Retry::kNever},
                        Case{403, "AccessDenied", Code::kDenied, Retry::kNever},
                        Case{403, "SignatureDoesNotMatch", Code::kDenied, Retry::kNever},
                        Case{403, "InvalidAccessKeyId", Code::kDenied, Retry::kNever},
                        Case{404, "NoSuchBucket", Code::kUnreachable, Retry::kNever},
                        Case{403, "QuotaExceeded", Code::kNoSpace, Retry::kNever},
                        Case{507, "XMinioStorageFull", Code::kNoSpace, Retry::kNever},
                        Case{501, "NotImplemented", Code::kUnsupported, Retry::kNever},
                        Case{400, "InvalidRequest", Code::kUnreachable, Retry::kNever},
                        Case{301, "PermanentRedirect", Code::kUnreachable, Retry::kNever}}) {
    const Error e = put_error(c.status, xml_error(c.code));
    EXPECT_EQ(e.code, c.kind) << e.describe();
    EXPECT_EQ(e.retry, c.retry) << e.describe();
    EXPECT_NE(e.message.find(c.code), std::string::npos) << e.describe();
    EXPECT_NE(e.message.find("putting k into s3://bucket/p"), std::string::npos) << e.describe();
  }
  EXPECT_EQ(put_error(503, xml_error("SlowDown"), "Retry-After: 7\r\n").retry_after, 7s);
  EXPECT_FALSE(put_error(403, xml_error("AccessDenied")).hint.empty());
}

TEST(S3Answers, SecretsAreInNoErrorAndNoRequest) {
  ScriptedS3 s3([](Connection& c, const Received& r) {
    c.answer(403,
             xml_error("SignatureDoesNotMatch",
                       "<StringToSign>" + r.header("authorization").value_or("") + "</StringToSign>"),
             kXml);
  });
  const auto done = s3.open("", {{"AWS_SESSION_TOKEN", "the-token"}})->head(ScriptedS3::context(), "k");
  const auto put = put_bytes(*s3.open(), ScriptedS3::context(), "k", as_bytes("x"));
  for (const Error& e : {done.error(), put.error()}) {
    for (const char* secret : {"the-secret", "the-token", "Signature="})
      EXPECT_EQ((e.describe() + e.hint).find(secret), std::string::npos);
  }
  for (const Received& r : s3.seen())
    for (const auto& [name, value] : r.headers)
      EXPECT_EQ(value.find("the-secret"), std::string::npos) << name;
}

TEST(S3Answers, APageForPeopleIsNoAnswer) {
  for (const int status : {200, 404, 403, 503}) {
    const Error e = put_error(status, "<html><body>Please log in</body></html>",
                              "Content-Type: text/html; charset=x\r\n");
    EXPECT_EQ(e.code, Code::kUnreachable) << e.describe();
    EXPECT_EQ(e.retry, Retry::kTransient) << e.describe();
  }
  ScriptedS3 s3([](Connection& c, const Received&) {
    c.answer(200, "<html><body>Please log in</body></html>", "Content-Type: text/html\r\n");
  });
  auto store = s3.open();
  size_t delivered = 0;
  auto count = [&](ByteView piece) -> Result<> {
    delivered += piece.size();
    return {};
  };
  for (const Range& range : {Range{}, Range{0, 10}}) {
    const auto got = store->get(ScriptedS3::context(), "k", range, count);
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().retry, Retry::kTransient) << got.error().describe();
  }
  EXPECT_EQ(delivered, 0u) << "a sink must not see what is no object";
  EXPECT_EQ(store->head(ScriptedS3::context(), "k").error().code, Code::kUnreachable);
  EXPECT_EQ(store->list(ScriptedS3::context(), "", "", 10).error().retry, Retry::kTransient);
  const Key key = "k";
  EXPECT_FALSE(store->remove(ScriptedS3::context(), std::span(&key, 1)));
}

TEST(S3Answers, AbsenceIsOnlyWhatTheStoreCallsSo) {
  const auto get_error = [](int status, const std::string& body, std::string_view headers) {
    ScriptedS3 s3([&](Connection& c, const Received&) { c.answer(status, body, headers); });
    return s3.open()->get(ScriptedS3::context(), "k", {}, ignore).error().code;
  };
  EXPECT_EQ(get_error(404, xml_error("NoSuchKey"), kXml), Code::kNotFound);
  EXPECT_EQ(get_error(404, xml_error("NoSuchBucket"), kXml), Code::kUnreachable);
  EXPECT_EQ(get_error(404, "not here", "Content-Type: text/plain\r\n"), Code::kUnreachable);
  ScriptedS3 s3([](Connection& c, const Received&) {
    c.write("HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\n");
  });
  EXPECT_EQ(s3.open()->head(ScriptedS3::context(), "k").error().code, Code::kUnreachable);
}

TEST(S3Answers, ARangeIsHeldAgainstWhatWasAsked) {
  const auto get = [](std::string_view head, std::string_view body) {
    ScriptedS3 s3([&](Connection& c, const Received&) {
      c.write(fmt::format("HTTP/1.1 {}Content-Length: {}\r\n\r\n{}", head, body.size(), body));
    });
    return s3.open()->get(ScriptedS3::context(), "k", {5, 5}, ignore);
  };
  const auto good = get("206 Partial\r\nETag: \"e\"\r\nContent-Range: bytes 5-9/300\r\n", "01234");
  ASSERT_TRUE(good) << good.error().describe();
  EXPECT_EQ(*good, 300u);
  EXPECT_EQ(*get("206 Partial\r\nETag: \"e\"\r\nContent-Range: bytes 5-6/7\r\n", "01"), 7u);
  for (const char* bad : {"200 OK\r\nETag: \"e\"\r\n", "206 Partial\r\nETag: \"e\"\r\n",
                          "206 Partial\r\nContent-Range: bytes 5-9/300\r\n",
                          "206 Partial\r\nETag: \"e\"\r\nContent-Range: bytes 0-4/300\r\n",
                          "206 Partial\r\nETag: \"e\"\r\nContent-Range: bytes 5-8/300\r\n",
                          "206 Partial\r\nETag: \"e\"\r\nContent-Range: bytes 5-10/300\r\n",
                          "206 Partial\r\nETag: \"e\"\r\nContent-Range: bytes 5-9/*\r\n"}) {
    const auto got = get(bad, "01234");
    ASSERT_FALSE(got) << bad;
    EXPECT_EQ(got.error().retry, Retry::kTransient) << got.error().describe();
  }
}

TEST(S3Answers, BeyondTheEnd) {
  ScriptedS3 s3([](Connection& c, const Received& r) {
    if (r.method == "HEAD")
      c.write(
          "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nLast-Modified: Tue, 24 Nov 2026 18:58:13 GMT\r\nContent-Length: "
          "7\r\n\r\n");
    else
      c.answer(416, xml_error("InvalidRange"),
               r.header("range") == "bytes=8-" ? "Content-Range: bytes */7\r\n" : "");
  });
  auto store = s3.open();
  EXPECT_EQ(*store->get(ScriptedS3::context(), "k", {8, UINT64_MAX}, ignore), 7u);
  EXPECT_EQ(s3.seen().size(), 1u);
  EXPECT_EQ(*store->get(ScriptedS3::context(), "k", {7, 3}, ignore), 7u);
  EXPECT_FALSE(store->get(ScriptedS3::context(), "k", {3, 3}, ignore)) << "there is something at 3";
  EXPECT_EQ(*store->get(ScriptedS3::context(), "k", {UINT64_MAX, 1}, ignore), 7u);
  EXPECT_EQ(*store->get(ScriptedS3::context(), "k", {0, 0}, ignore), 7u);
}

TEST(S3Answers, ADamagedBodyIsFound) {
  const auto get = [](std::string_view checksum) {
    ScriptedS3 s3([&](Connection& c, const Received&) {
      c.answer(200, "123456789", fmt::format("ETag: \"e\"\r\nx-amz-checksum-crc32c: {}\r\n", checksum));
    });
    return s3.open()->get(ScriptedS3::context(), "k", {}, ignore);
  };
  EXPECT_TRUE(get("4waSgw=="));
  EXPECT_TRUE(get("AAAAAA==-3")) << "of an object sent in parts";
  const auto damaged = get("AAAAAA==");
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code, Code::kDamaged);
  EXPECT_EQ(damaged.error().retry, Retry::kNever);
}

TEST(S3Answers, TheRegionIsLearntOnce) {
  std::atomic<int> wrong = 0;
  ScriptedS3 s3([&](Connection& c, const Received& r) {
    if (r.header("authorization")->find("/eu-west-1/s3/") == std::string::npos) {
      if (++wrong == 1)
        return void(
            c.answer(400, xml_error("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"), kXml));
    }
    c.answer(200, "", "ETag: \"e\"\r\n");
  });
  auto store = s3.open();
  EXPECT_TRUE(put_bytes(*store, ScriptedS3::context(), "a", as_bytes("x")));
  EXPECT_TRUE(put_bytes(*store, ScriptedS3::context(), "b", as_bytes("x")));
  EXPECT_EQ(s3.seen().size(), 3u);
  EXPECT_EQ(s3.seen()[1].body, "x") << "the body was sent anew";
}

TEST(S3Answers, ARegionThatIsNoneIsNotBelieved) {
  for (const char* told : {"a.evil.example/", "", "EU", "a b"}) {
    ScriptedS3 s3([&](Connection& c, const Received&) {
      c.answer(301, xml_error("PermanentRedirect"), fmt::format("x-amz-bucket-region: {}\r\n", told));
    });
    EXPECT_FALSE(s3.open()->head(ScriptedS3::context(), "k"));
    EXPECT_EQ(s3.seen().size(), 1u) << told;
  }
}

TEST(S3Answers, TheTimeIsLearnt) {
  for (const char* method : {"PUT", "HEAD"}) {
    ScriptedS3 s3([&](Connection& c, const Received& r) {
      // A server whose clock is two hours ahead, and strict.
      const Timestamp there = now() + 2h;
      const std::string date = r.header("x-amz-date").value();
      const std::string signed_hour = date.substr(0, 11), hour = amz_date(there).substr(0, 11);
      const std::string http_date = fmt::format("Date: {}\r\n", [&] {
        const time_t t = std::chrono::system_clock::to_time_t(there);
        char text[64];
        std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", std::gmtime(&t));
        return std::string(text);
      }());
      if (signed_hour != hour && r.method == "HEAD")
        c.write("HTTP/1.1 403 Forbidden\r\n" + http_date + "\r\n");
      else if (signed_hour != hour)
        c.answer(403, xml_error("RequestTimeTooSkewed"), http_date);
      else
        c.write(
            "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nLast-Modified: Tue, 24 Nov 2026 18:58:13 "
            "GMT\r\nContent-Length: 0\r\n\r\n");
    });
    auto store = s3.open();
    if (std::string_view(method) == "PUT") {
      EXPECT_TRUE(put_bytes(*store, ScriptedS3::context(), "a", as_bytes("x")));
    } else {
      EXPECT_TRUE(store->head(ScriptedS3::context(), "a"));
    }
    EXPECT_TRUE(store->head(ScriptedS3::context(), "b"));
    EXPECT_EQ(s3.seen().size(), 3u) << method;
  }
}

TEST(S3Answers, ATokenThatRanOutIsNotSentAgain) {
  // The environment has no other.
  ScriptedS3 s3([&](Connection& c, const Received&) { c.answer(400, xml_error("ExpiredToken"), kXml); });
  const auto done =
      put_bytes(*s3.open("", {{"AWS_SESSION_TOKEN", "t"}}), ScriptedS3::context(), "a", as_bytes("x"));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kDenied) << done.error().describe();
  EXPECT_EQ(s3.seen().size(), 1u);
}

TEST(S3Answers, AnErrorInASuccess) {
  const Key key = "k";
  for (const char* code : {"InternalError", "SlowDown"}) {
    ScriptedS3 s3([&](Connection& c, const Received& r) {
      if (r.target.find("versioning") != std::string::npos)
        return void(c.answer(200, "<VersioningConfiguration/>", kXml));
      c.answer(200, xml_error(code), kXml);
    });
    const auto removed = s3.open()->remove(ScriptedS3::context(), std::span(&key, 1));
    ASSERT_FALSE(removed);
    EXPECT_NE(removed.error().retry, Retry::kNever) << removed.error().describe();
  }
}

TEST(S3Answers, RemovalsAreToldForEachKey) {
  ScriptedS3 s3([&](Connection& c, const Received& r) {
    if (r.target.find("versioning") != std::string::npos)
      return void(c.answer(200, "<VersioningConfiguration/>", kXml));
    c.answer(200,
             "<DeleteResult><Deleted><Key>p/a</Key></Deleted><Error><Key>p/b</Key><Code>SlowDown</"
             "Code><Message/></Error>"
             "<Error><Key>p/c</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>",
             kXml);
  });
  const std::vector<Key> keys = {"a", "b", "c", "d", "a", "/"};
  const auto removed = s3.open()->remove(ScriptedS3::context(), keys);
  ASSERT_TRUE(removed) << removed.error().describe();
  EXPECT_TRUE((*removed)[0].result);
  EXPECT_EQ((*removed)[1].result.error().retry, Retry::kThrottled);
  EXPECT_EQ((*removed)[2].result.error().code, Code::kDenied);
  EXPECT_EQ((*removed)[3].result.error().retry, Retry::kTransient) << "nothing was said of it";
  EXPECT_TRUE((*removed)[4].result);
  EXPECT_EQ((*removed)[5].result.error().code, Code::kUsage);
  const std::string body = s3.seen().back().body;
  EXPECT_EQ(body.find("<Key>p/a</Key>"), body.rfind("<Key>p/a</Key>")) << "asked once";
  EXPECT_TRUE(s3.seen().back().header("content-md5"));
}

TEST(S3Answers, ListingsAreHeldToTheirPromises) {
  const auto list = [](const std::string& keys) {
    std::string xml = "<ListBucketResult>";
    for (const std::string_view key : split(keys, ' '))
      xml += fmt::format(
          "<Contents><Key>{}</Key><LastModified>2026-11-24T18:58:13Z</LastModified><Size>1</Size></Contents>",
          key);
    xml += "</ListBucketResult>";
    ScriptedS3 s3([&](Connection& c, const Received&) { c.answer(200, xml, kXml); });
    auto page = s3.open()->list(ScriptedS3::context(), "", "", 1000);
    return page ? std::to_string(page->objects.size()) : page.error().message;
  };
  EXPECT_EQ(list("p/a p/b"), "2");
  EXPECT_EQ(list("p/a p/folder/ p/.hidden p/b"), "2") << "what cannot be a name of ours is left alone";
  EXPECT_NE(list("p/b p/a").find("order"), std::string::npos);
  EXPECT_NE(list("q/a").find("not asked for"), std::string::npos);
  ScriptedS3 endless([&](Connection& c, const Received&) {
    c.answer(200,
             "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</"
             "NextContinuationToken></ListBucketResult>",
             kXml);
  });
  EXPECT_FALSE(endless.open()->list(ScriptedS3::context(), "", "", 1000));
}

TEST(S3Requests, CarryWhatTheSettingsAsk) {
  ScriptedS3 s3([&](Connection& c, const Received& r) {
    if (r.target.find("object-lock") != std::string::npos)
      return void(c.answer(
          200,
          "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>",
          kXml));
    c.answer(200, "", "ETag: \"e\"\r\n");
  });
  auto store = s3.open(
      "&storage_class=standard_ia&sse=kms&kms_key_id=key-1&requester_pays=true&object_lock_mode=compliance&"
      "legal_hold=true",
      {{"AWS_SESSION_TOKEN", "t"}});
  ASSERT_TRUE(store->capabilities().retention);
  const Timestamp until = std::chrono::floor<std::chrono::milliseconds>(now() + 1h);
  ASSERT_TRUE(
      put_bytes(*store, ScriptedS3::context(), "a+b", as_bytes("123456789"), {.retain_until = until}));
  const Received r = s3.seen().back();
  EXPECT_EQ(r.target, "/bucket/p/a%2Bb");
  for (const auto& [name, value] : std::map<std::string, std::string>{
           {"if-none-match", "*"},
           {"x-amz-storage-class", "STANDARD_IA"},
           {"x-amz-server-side-encryption", "aws:kms"},
           {"x-amz-server-side-encryption-aws-kms-key-id", "key-1"},
           {"x-amz-request-payer", "requester"},
           {"x-amz-object-lock-mode", "COMPLIANCE"},
           {"x-amz-object-lock-legal-hold", "ON"},
           {"x-amz-object-lock-retain-until-date", to_milliseconds(until)},
           {"x-amz-checksum-crc32c", "4waSgw=="},
           {"x-amz-sdk-checksum-algorithm", "CRC32C"},
           {"x-amz-security-token", "t"},
           {"x-amz-content-sha256", "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"}})
    EXPECT_EQ(r.header(name), value) << name;
  EXPECT_EQ(s3.open()->capabilities().retention, false);
}

TEST(S3Requests, ProvidersGetWhatTheyTake) {
  ScriptedS3 s3([&](Connection& c, const Received& r) {
    if (r.method == "HEAD") return void(c.write("HTTP/1.1 404 Not Found\r\n\r\n"));
    c.answer(r.method == "DELETE" ? 204 : 200, "", "ETag: \"e\"\r\n");
  });
  auto store = s3.open("&path_style=true", {});
  auto place = parse_place(fmt::format("s3://bucket/p?endpoint={}&provider=gcs", s3.url()));
  auto gcs = S3Store::open(ScriptedS3::context(), *place, [](std::string_view name) {
    return std::string(name.find("ACCESS_KEY") != name.npos ? "x" : "");
  });
  ASSERT_TRUE(gcs);
  EXPECT_FALSE((*gcs)->capabilities().create_only);
  ASSERT_TRUE(put_bytes(**gcs, ScriptedS3::context(), "k", as_bytes("x")));
  auto seen = s3.seen();
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].method, "HEAD") << "a look, for want of a condition";
  EXPECT_FALSE(seen[1].header("if-none-match"));
  EXPECT_FALSE(seen[1].header("x-amz-checksum-crc32c"));
  EXPECT_EQ(seen[1].header("content-md5"), "ndTkYSaMgDT1yFZOFVxnpg==");
  const std::vector<Key> keys = {"a", "b"};
  const auto removed = (*gcs)->remove(ScriptedS3::context(), keys);
  ASSERT_TRUE(removed);
  EXPECT_TRUE((*removed)[0].result && (*removed)[1].result);
  EXPECT_EQ(s3.seen().back().method, "DELETE");
}

TEST(S3Requests, LocksAreCheckedWhenTheyAreAskedFor) {
  ScriptedS3 without([&](Connection& c, const Received&) {
    c.answer(404, xml_error("ObjectLockConfigurationNotFoundError"), kXml);
  });
  auto place = parse_place(
      fmt::format("s3://bucket?endpoint={}&provider=ceph&object_lock_mode=governance", without.url()));
  auto env = [](std::string_view name) {
    return std::string(name.find("ACCESS_KEY") != name.npos ? "x" : "");
  };
  const auto store = S3Store::open(ScriptedS3::context(), *place, env);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Code::kUsage) << store.error().describe();
  ScriptedS3 denied([&](Connection& c, const Received&) { c.answer(403, xml_error("AccessDenied"), kXml); });
  EXPECT_TRUE(denied.open("&object_lock_mode=governance")->capabilities().retention)
      << "the setting is believed";
}

TEST(S3Parts, AFailureAbortsTheUpload) {
  const std::string body(70 << 20, 'x');
  for (const char* failing : {"part", "complete", "complete_in_body"}) {
    ScriptedS3 s3([&](Connection& c, const Received& r) {
      const bool part = r.target.find("partNumber=") != std::string::npos;
      if (r.target.find("?uploads=") != std::string::npos)
        c.answer(200,
                 "<InitiateMultipartUploadResult><UploadId>u/1</UploadId></InitiateMultipartUploadResult>",
                 kXml);
      else if (r.method == "DELETE")
        c.answer(204, "", kXml);
      else if (part && failing == std::string_view("part"))
        c.answer(500, xml_error("InternalError"), kXml);
      else if (part)
        c.answer(200, "", "ETag: \"e\"\r\n");
      else if (failing == std::string_view("complete"))
        c.answer(412, xml_error("PreconditionFailed"), kXml);
      else
        c.answer(200, xml_error("InternalError"), kXml);
    });
    const auto done = put_bytes(*s3.open(), Context{}.with_deadline(60s), "k", as_bytes(body));
    ASSERT_FALSE(done) << failing;
    EXPECT_EQ(done.error().code, failing == std::string_view("complete") ? Code::kExists : Code::kUnreachable)
        << done.error().describe();
    // A part whose sending was ended may be noticed after it.
    const auto seen = s3.seen();
    const auto aborted = std::ranges::find(seen, "DELETE", &Received::method);
    ASSERT_NE(aborted, seen.end()) << failing;
    EXPECT_EQ(aborted->target, "/bucket/p/k?uploadId=u%2F1");
  }
}

}  // namespace
}  // namespace varve::store::s3
