#include "net/http.h"

#include <gmock/gmock.h>
#include <numeric>

#include "net/testing_server.h"

namespace varve::net {
namespace {

using testing::Connection;
using testing::each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Received;
using testing::TestServer;

std::string text_of(const HttpResponse& response) {
  return std::string(as_text(response.body));
}

HttpResponse sent(HttpClient& client, const HttpRequest& request, const HttpSink& sink = {}) {
  auto response = client.send({}, request, sink);
  if (response) return *response;
  ADD_FAILURE() << response.error().describe();
  return {};
}

// Every request as it came, in the body of the answer.
TestServer::Script echo() {
  return each([](Connection& connection, Received& request) {
    std::string lines = request.method + " " + request.target + "\n";
    for (const auto& [name, value] : request.headers) lines += name + "=" + value + "\n";
    connection.answer(200, lines + "\n" + request.body);
  });
}

TEST(Http, SendsTheUrlByteForByte) {
  const TestServer server(echo());
  HttpClient client;
  for (const std::string target :
       {"/a%2fb/../c//./d%20e;x='(1)!*?q=%2F%2f&y=a+b&z=~{}|", "/?", "/%", "/a?b?c//../d"}) {
    EXPECT_THAT(text_of(sent(client, {.url = server.url(target)})), HasSubstr("GET " + target + "\n"));
  }
}

TEST(Http, SendsTheHeadersItIsGivenAndFewOthers) {
  const TestServer server(echo());
  HttpClient client;
  const auto seen =
      text_of(sent(client, {.url = server.url(), .headers = {{"X-One", "a: b; c"}, {"X-None", ""}}}));
  EXPECT_THAT(seen, HasSubstr("x-one=a: b; c\n"));
  EXPECT_THAT(seen, HasSubstr("x-none=\n"));
  EXPECT_THAT(seen, HasSubstr("user-agent=varve/"));
  EXPECT_THAT(seen, HasSubstr(fmt::format("host=127.0.0.1:{}\n", server.port())));
  for (const char* other :
       {"accept-encoding", "expect", "content-type", "content-length", "authorization", "cookie"})
    EXPECT_THAT(seen, Not(HasSubstr(other)));
  EXPECT_THAT(text_of(sent(client, {.url = server.url(), .headers = {{"User-Agent", "me"}}})),
              HasSubstr("user-agent=me\n"));
}

TEST(Http, BodiesCarryTheirLengthAndNothingElse) {
  const TestServer server(echo());
  HttpClient client;
  const ByteView pieces[] = {as_bytes("one"), {}, as_bytes("two"), as_bytes("3")};
  for (const std::string method : {"PUT", "POST", "DELETE", "PATCH", "GET"}) {
    const auto seen = text_of(sent(client, {.method = method, .url = server.url(), .body = pieces}));
    EXPECT_THAT(seen, HasSubstr(method + " /\n"));
    EXPECT_THAT(seen, HasSubstr("content-length=7\n"));
    EXPECT_THAT(seen, HasSubstr("\n\nonetwo3"));
    for (const char* other : {"expect", "content-type", "transfer-encoding"})
      EXPECT_THAT(seen, Not(HasSubstr(other)));
  }
  // The length that is right wins.
  EXPECT_THAT(text_of(sent(client, {.method = "PUT",
                                    .url = server.url(),
                                    .headers = {{"content-length", "99"}, {"Content-Type", "a/b"}},
                                    .body = pieces})),
              ::testing::AllOf(HasSubstr("content-length=7\n"), HasSubstr("content-type=a/b\n"),
                               Not(HasSubstr("content-length=99"))));
}

TEST(Http, EmptyBodiesHaveALengthWhereTheMethodWantsOne) {
  const TestServer server(echo());
  HttpClient client;
  for (const std::string method : {"PUT", "POST"}) {
    const auto seen = text_of(sent(client, {.method = method, .url = server.url()}));
    EXPECT_THAT(seen, HasSubstr(method + " /\n"));
    EXPECT_THAT(seen, HasSubstr("content-length=0\n"));
    EXPECT_THAT(seen, Not(HasSubstr("transfer-encoding")));
  }
  for (const std::string method : {"GET", "DELETE", "OPTIONS"}) {
    const auto seen = text_of(sent(client, {.method = method, .url = server.url()}));
    EXPECT_THAT(seen, HasSubstr(method + " /\n"));
    EXPECT_THAT(seen, Not(HasSubstr("content-length")));
  }
  EXPECT_EQ(server.connections(), 1);
}

TEST(Http, HeadHasHeadersAndNoBody) {
  const TestServer server(each([](Connection& connection, Received& request) {
    EXPECT_EQ(request.method, "HEAD");
    connection.write("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nX-A: 1\r\n\r\n");
  }));
  HttpClient client;
  for (int i = 0; i < 3; ++i) {
    const auto response = sent(client, {.method = "HEAD", .url = server.url()});
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.header("content-length"), "1234");
    EXPECT_TRUE(response.body.empty());
  }
  EXPECT_EQ(server.connections(), 1);
}

TEST(Http, SendsALargeBodyOfManyPieces) {
  std::string bytes(size_t{20} << 20, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>((i * 0x9e3779b97f4a7c15) >> 56);
  std::vector<ByteView> pieces;
  for (size_t at = 0, i = 0; at < bytes.size(); ++i) {
    const size_t n = std::min<size_t>(bytes.size() - at, (i % 7 == 0) ? 0 : (i * 7919) % 30000 + 1);
    pieces.push_back(as_bytes(bytes).subspan(at, n));
    at += n;
  }
  ASSERT_GT(pieces.size(), 1000U);
  const TestServer server(each([&](Connection& connection, Received& request) {
    connection.answer(request.body == bytes ? 200 : 500, request.body);
  }));
  HttpClient client;
  std::string back;
  size_t largest = 0;
  const auto response =
      sent(client, {.method = "PUT", .url = server.url(), .body = pieces}, [&](ByteView part) -> Result<> {
        largest = std::max(largest, part.size());
        back += as_text(part);
        return {};
      });
  EXPECT_EQ(response.status, 200);
  EXPECT_TRUE(response.body.empty());
  EXPECT_TRUE(back == bytes);
  EXPECT_LE(largest, size_t{256} << 10);
}

TEST(Http, OnlyASuccessGoesToTheSink) {
  const TestServer server(each([](Connection& connection, Received& request) {
    connection.answer(std::stoi(request.target.substr(1)), "the body");
  }));
  HttpClient client;
  for (const int status : {200, 201, 206, 301, 307, 400, 404, 412, 500, 503}) {
    std::string taken;
    const auto response =
        sent(client, {.url = server.url(fmt::format("/{}", status))}, [&](ByteView part) -> Result<> {
          taken += as_text(part);
          return {};
        });
    EXPECT_EQ(response.status, status);
    EXPECT_EQ(taken, status / 100 == 2 ? "the body" : "");
    EXPECT_EQ(text_of(response), status / 100 == 2 ? "" : "the body");
  }
  EXPECT_EQ(server.connections(), 1);
}

TEST(Http, KeepsTheHeadersOfTheFinalResponse) {
  const TestServer server(each([](Connection& connection, Received&) {
    connection.write(
        "HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"
        "HTTP/1.1 200 OK\r\nX-MiXed:  a value \r\nX-Twice: first\r\nx-twice: second\r\nX-Folded: "
        "one\r\n\ttwo\r\n"
        "Transfer-Encoding: chunked\r\nETag: \"q\"\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Trailer: "
        "late\r\n\r\n");
  }));
  HttpClient client;
  for (int i = 0; i < 2; ++i) {
    const auto response = sent(client, {.url = server.url()});
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(text_of(response), "abcde");
    EXPECT_EQ(response.header("x-mixed"), "a value");
    EXPECT_EQ(response.header("x-twice"), "first");
    EXPECT_EQ(response.header("x-folded"), "one two");
    EXPECT_EQ(response.header("etag"), "\"q\"");
    for (const char* other : {"x-early", "link", "x-trailer", "X-MiXed"})
      EXPECT_FALSE(response.header(other)) << other;
  }
  EXPECT_EQ(server.connections(), 1);
}

TEST(Http, TakesAnAnswerThatEndsWithTheConnection) {
  const TestServer server([](Connection& connection) {
    connection.read();
    connection.write("HTTP/1.0 200 OK\r\n\r\nall of it");
  });
  HttpClient client;
  EXPECT_EQ(text_of(sent(client, {.url = server.url()})), "all of it");
  EXPECT_EQ(text_of(sent(client, {.url = server.url()})), "all of it");
}

TEST(Http, ConnectionsAreReusedByAllThreads) {
  const TestServer server(echo());
  HttpClient client;
  std::vector<std::jthread> threads;
  std::atomic<int> good = 0;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 40; ++i) {
        const std::string body = fmt::format("{}-{}", t, i);
        const ByteView pieces[] = {as_bytes(body)};
        const auto response =
            client.send({}, {.method = "PUT", .url = server.url("/" + body), .body = pieces});
        good += response && text_of(*response).ends_with("\n\n" + body);
      }
    });
  }
  threads.clear();
  EXPECT_EQ(good, 320);
  EXPECT_LE(server.connections(), 8);
  const int before = server.connections();
  for (int i = 0; i < 20; ++i) sent(client, {.url = server.url()});
  EXPECT_EQ(server.connections(), before);
}

TEST(Http, AFailedSinkLeavesTheClientUsable) {
  const TestServer server(
      each([](Connection& connection, Received&) { connection.answer(200, std::string(1 << 20, 'x')); }));
  HttpClient client;
  for (int i = 0; i < 3; ++i) {
    size_t calls = 0;
    const auto failed = client.send({}, {.url = server.url()}, [&](ByteView) -> Result<> {
      ++calls;
      return fail(Error{Code::kNoSpace, "the disk is full", "make room"}.with_context("while restoring"));
    });
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().describe(), "the disk is full (while restoring)");
    EXPECT_EQ(failed.error().code, Code::kNoSpace);
    EXPECT_EQ(failed.error().hint, "make room");
    EXPECT_EQ(calls, 1U);
    EXPECT_EQ(sent(client, {.url = server.url()}).body.size(), size_t{1} << 20);
  }
}

// What the environment says of proxies, for one test.
class Environment {
 public:
  Environment(std::initializer_list<std::pair<std::string, std::string>> set) {
    for (const auto& [name, value] : set) {
      names_.push_back(name);
      ::setenv(name.c_str(), value.c_str(), 1);
    }
  }
  ~Environment() {
    for (const auto& name : names_) ::unsetenv(name.c_str());
  }

 private:
  std::vector<std::string> names_;
};

TEST(Http, GoesByTheProxyOfTheEnvironment) {
  const TestServer proxy(echo()), direct(echo());
  const Environment environment{{"http_proxy", proxy.url("")}, {"no_proxy", "127.0.0.1"}};
  HttpClient client;
  EXPECT_THAT(text_of(sent(client, {.url = "http://store.invalid/a%2Fb?c"})),
              HasSubstr("GET http://store.invalid/a%2Fb?c\n"));
  EXPECT_EQ(proxy.connections(), 1);
  EXPECT_THAT(text_of(sent(client, {.url = direct.url("/x")})), HasSubstr("GET /x\n"));
  EXPECT_EQ(direct.connections(), 1);
  HttpClient past(HttpClientOptions{.direct = true});
  const Environment all{{"no_proxy", ""}};
  EXPECT_THAT(text_of(sent(past, {.url = direct.url("/y")})), HasSubstr("GET /y\n"));
  EXPECT_EQ(proxy.connections(), 1);
}

TEST(Http, WhatAProxyAnswersToConnectIsNoAnswer) {
  const TestServer proxy([](Connection& connection) {
    const auto request = connection.read();
    EXPECT_EQ(request->method, "CONNECT");
    EXPECT_FALSE(request->header("authorization"));
    connection.write("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
  });
  const Environment environment{{"https_proxy", proxy.url("")}, {"no_proxy", ""}};
  HttpClient client;
  const auto failed =
      client.send({}, {.url = "https://store.invalid/SECRET", .headers = {{"Authorization", "SECRET"}}});
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().describe(), "https://store.invalid cannot be reached: the proxy answered 407");
  EXPECT_EQ(failed.error().retry, Retry::kNever);
  EXPECT_THAT(failed.error().hint, HasSubstr("https_proxy"));
}

HttpResponse with_headers(std::vector<Header> headers) {
  return HttpResponse{.status = 503, .headers = std::move(headers), .body = {}};
}

TEST(HttpResponse, RetryAfterIsReadInBothForms) {
  using std::chrono::seconds;
  const auto of = [](const std::string& value) {
    return with_headers({{"retry-after", value}}).retry_after();
  };
  EXPECT_EQ(with_headers({}).retry_after(), seconds(0));
  EXPECT_EQ(of("0"), seconds(0));
  EXPECT_EQ(of("120"), seconds(120));
  EXPECT_EQ(of("3601"), seconds(3600));
  EXPECT_EQ(of("99999999999999999999999"), seconds(3600));
  for (const char* none : {"", "-5", "soon", "1.5", "12 s", "Tue, 99 Foo"})
    EXPECT_EQ(of(none), seconds(0)) << none;
  EXPECT_EQ(of("Fri, 31 Dec 1999 23:59:59 GMT"), seconds(0));
  EXPECT_EQ(of("Fri, 31 Dec 2199 23:59:59 GMT"), seconds(3600));
  // By the clock of whoever says it.
  EXPECT_EQ(with_headers(
                {{"date", "Fri, 31 Dec 1999 23:59:00 GMT"}, {"retry-after", "Fri, 31 Dec 1999 23:59:45 GMT"}})
                .retry_after(),
            seconds(45));
}

TEST(HttpResponse, MediaTypeHasNoParameters) {
  EXPECT_EQ(with_headers({}).media_type(), "");
  EXPECT_EQ(with_headers({{"content-type", "Application/XML; charset=utf-8"}}).media_type(),
            "application/xml");
  EXPECT_EQ(with_headers({{"content-type", " text/html "}}).media_type(), "text/html");
}

TEST(PercentEncode, LeavesOnlyWhatIsUnreserved) {
  std::string all(256, '\0');
  std::iota(all.begin(), all.end(), '\0');
  const std::string encoded = percent_encode(all);
  EXPECT_THAT(encoded, ::testing::StartsWith("%00%01"));
  EXPECT_THAT(encoded, ::testing::EndsWith("%FE%FF"));
  EXPECT_EQ(encoded.size(), 66 + 190 * 3);
  EXPECT_EQ(percent_encode("aZ09-._~"), "aZ09-._~");
  EXPECT_EQ(percent_encode("a b/c+d=é"), "a%20b%2Fc%2Bd%3D%C3%A9");
  EXPECT_EQ(percent_encode("a b/c", true), "a%20b/c");
  EXPECT_EQ(percent_encode(""), "");
}

}  // namespace
}  // namespace varve::net
