// What the client makes of servers that misbehave, and of being told to stop.
#include <gmock/gmock.h>

#include "net/http.h"
#include "net/testing_client.h"
#include "net/testing_resolver.h"
#include "net/testing_server.h"

namespace varve::net {
namespace {

using std::chrono::milliseconds;
using testing::Connection;
using testing::each;
using testing::failure;
using testing::failure_of;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Received;
using testing::TestServer;

constexpr milliseconds kAtOnce{200};
constexpr milliseconds kShort{150};  // stalled_after, where a test waits for it

TEST(HttpFailure, ARefusedConnectionMayPass) {
  std::string url;
  {
    url = TestServer([](Connection&) {}).url();
  }
  HttpClient client;
  const Error error = failure(client, {.url = url});
  EXPECT_EQ(error.code, Code::kUnreachable);
  EXPECT_EQ(error.retry, Retry::kTransient);
  EXPECT_THAT(error.message, HasSubstr("cannot be reached"));
}

TEST(HttpFailure, AConnectionThatEndsWithoutAnAnswerMayPass) {
  for (const bool reset : {false, true}) {
    const TestServer server([&](Connection& connection) {
      connection.read();
      if (reset) connection.reset();
    });
    for (const char* method : {"GET", "PUT"}) EXPECT_EQ(failure_of(server, method).retry, Retry::kTransient);
  }
}

TEST(HttpFailure, ABodyCutShortMayPass) {
  for (const char* answer :
       {"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of", "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabcd",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nhalf"}) {
    for (const bool reset : {false, true}) {
      const TestServer server([&](Connection& connection) {
        connection.read();
        connection.write(answer);
        if (reset) std::this_thread::sleep_for(milliseconds(20));
        if (reset) connection.reset();
      });
      EXPECT_EQ(failure_of(server).retry, Retry::kTransient) << answer;
    }
  }
}

TEST(HttpFailure, WhatIsNotHttpWillNotPass) {
  for (const char* answer :
       {"220 mail.example.com ESMTP\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "\x15\x03\x01\x00\x02\x02\x0a"}) {
    const TestServer server([&](Connection& connection) {
      connection.read();
      connection.write(answer);
    });
    const Error error = failure_of(server);
    EXPECT_EQ(error.retry, Retry::kNever) << error.describe();
    EXPECT_THAT(error.message, HasSubstr("does not speak HTTP"));
  }
}

TEST(HttpFailure, HeadersAndKeptBodiesAreBounded) {
  const TestServer headers([](Connection& connection) {
    connection.read();
    connection.write("HTTP/1.1 200 OK\r\n");
    while (connection.write("X-More: " + std::string(2000, 'x') + "\r\n")) continue;
  });
  EXPECT_EQ(failure_of(headers).retry, Retry::kNever);
  const TestServer interim([](Connection& connection) {
    connection.read();
    while (connection.write("HTTP/1.1 102 Processing\r\nX: " + std::string(2000, 'x') + "\r\n\r\n")) continue;
  });
  EXPECT_EQ(failure_of(interim).retry, Retry::kNever);
  const TestServer body(each([](Connection& connection, Received& request) {
    connection.answer(request.target.starts_with("/404") ? 404 : 200, std::string(1000, 'x'));
  }));
  HttpClient client(HttpClientOptions{.most_kept = 999});
  for (const char* target : {"/200", "/404"}) {
    const Error error = failure(client, {.url = body.url(target)});
    EXPECT_EQ(error.retry, Retry::kNever);
    EXPECT_THAT(error.message, HasSubstr("999 B"));
  }
  size_t taken = 0;
  EXPECT_TRUE(client.send({}, {.url = body.url()}, [&](ByteView part) -> Result<> {
    taken += part.size();
    return {};
  }));
  EXPECT_EQ(taken, 1000U);
}

TEST(HttpFailure, SilenceIsGivenUp) {
  const HttpClientOptions options{.stalled_after = kShort};
  const auto silent_after = [](std::string_view answer) {
    return [answer](Connection& connection) {
      connection.read();
      connection.write(answer);
      connection.wait_for_end();
    };
  };
  for (const char* answer :
       {"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"}) {
    const TestServer server(silent_after(answer));
    const auto begin = SteadyClock::now();
    const Error error = failure_of(server, "PUT", options);
    const auto took = SteadyClock::now() - begin;
    EXPECT_EQ(error.retry, Retry::kTransient);
    EXPECT_THAT(error.message, HasSubstr("fell silent"));
    EXPECT_GE(took, kShort);
    EXPECT_LT(took, kShort + milliseconds(1000));
  }
}

TEST(HttpFailure, AServerThatTakesNothingIsGivenUp) {
  const TestServer server([](Connection& connection) {
    connection.read_head();
    std::this_thread::sleep_for(3 * kShort);
  });
  HttpClient client(HttpClientOptions{.stalled_after = kShort});
  const std::string bytes(size_t{64} << 20, 'x');
  const ByteView pieces[] = {as_bytes(bytes)};
  const Error error = failure(client, {.method = "PUT", .url = server.url(), .body = pieces});
  EXPECT_THAT(error.message, HasSubstr("fell silent"));
  EXPECT_EQ(error.retry, Retry::kTransient);
}

TEST(HttpFailure, SlowIsNotSilent) {
  const TestServer server([](Connection& connection) {
    auto request = connection.read_head();
    // Little by little, and with a window that the kernel's buffers do not hide.
    for (int i = 0; i < 12; ++i) {
      std::this_thread::sleep_for(kShort / 3);
      connection.read_body(*request, size_t{1} << 20);
    }
    connection.write("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n");
    for (int i = 0; i < 12; ++i) {
      std::this_thread::sleep_for(kShort / 3);
      connection.write("x");
    }
    connection.wait_for_end();
  });
  HttpClient client(HttpClientOptions{.stalled_after = 2 * kShort});
  const std::string bytes(size_t{12} << 20, 'x');
  const ByteView pieces[] = {as_bytes(bytes)};
  const auto response = client.send({}, {.method = "PUT", .url = server.url(), .body = pieces});
  ASSERT_TRUE(response) << response.error().describe();
  EXPECT_EQ(as_text(response->body), "xxxxxxxxxxxx");
}

TEST(HttpFailure, ASinkThatTakesItsTimeIsNoSilence) {
  const TestServer server(
      each([](Connection& connection, Received&) { connection.answer(200, std::string(200'000, 'x')); }));
  HttpClient client(HttpClientOptions{.stalled_after = kShort});
  int calls = 0;
  const auto response = client.send({}, {.url = server.url()}, [&](ByteView) -> Result<> {
    if (++calls <= 2) std::this_thread::sleep_for(2 * kShort);
    return {};
  });
  EXPECT_TRUE(response) << response.error().describe();
}

// How long after the stop the request ended: the best of three, for a machine that is busy with other things.
milliseconds time_to_stop(HttpClient& client, const std::string& url, HttpRequest request = {}) {
  request.url = url;
  milliseconds best = milliseconds::max();
  for (int i = 0; i < 3 && best >= kAtOnce; ++i) {
    std::stop_source source;
    SteadyClock::time_point asked;
    std::jthread stopper([&] {
      std::this_thread::sleep_for(milliseconds(50));
      asked = SteadyClock::now();
      source.request_stop();
    });
    const Error error = failure(client, request, {}, {.stop = source.get_token()});
    const auto ended = SteadyClock::now();
    stopper.join();
    EXPECT_EQ(error.code, Code::kInterrupted) << error.describe();
    best = std::min(best, std::chrono::duration_cast<milliseconds>(ended - asked));
  }
  return best;
}

TEST(HttpFailure, StopsAtOnceWhateverItWaitsFor) {
  HttpClient client;
  const TestServer silent([](Connection& connection) { connection.wait_for_end(); });
  EXPECT_LT(time_to_stop(client, silent.url()), kAtOnce) << "for an answer";
  EXPECT_LT(time_to_stop(client, fmt::format("https://127.0.0.1:{}/", silent.port())), kAtOnce)
      << "for a handshake";
  EXPECT_LT(time_to_stop(client, "http://slow.test/"), kAtOnce) << "for a name";
  const TestServer half([](Connection& connection) {
    connection.read();
    connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    connection.wait_for_end();
  });
  EXPECT_LT(time_to_stop(client, half.url()), kAtOnce) << "for the rest of a body";
  const TestServer deaf([](Connection& connection) {
    connection.read_head();
    std::this_thread::sleep_for(milliseconds(400));
  });
  const std::string bytes(size_t{64} << 20, 'x');
  const ByteView pieces[] = {as_bytes(bytes)};
  EXPECT_LT(time_to_stop(client, deaf.url(), {.method = "PUT", .body = pieces}), kAtOnce)
      << "for room to send";
  const TestServer endless([](Connection& connection) {
    connection.read();
    connection.write("HTTP/1.1 200 OK\r\n\r\n");
    while (connection.write(std::string(1 << 16, 'x'))) continue;
  });
  std::stop_source source;
  EXPECT_EQ(failure(client, {.url = endless.url()},
                    [&](ByteView) -> Result<> {
                      source.request_stop();
                      return {};
                    },
                    {.stop = source.get_token()})
                .code,
            Code::kInterrupted)
      << "in the middle of plenty";
  EXPECT_EQ(failure(client, {.url = endless.url()}, {}, {.stop = source.get_token()}).code,
            Code::kInterrupted);
}

TEST(HttpFailure, EndsByTheDeadline) {
  const TestServer silent([](Connection& connection) { connection.wait_for_end(); });
  HttpClient client;
  for (const std::string& url : {silent.url(), fmt::format("https://127.0.0.1:{}/", silent.port()),
                                 std::string("http://slow.test/")}) {
    const auto begin = SteadyClock::now();
    const Error error = failure(client, {.url = url}, {}, Context{}.with_deadline(milliseconds(100)));
    EXPECT_EQ(error.code, Code::kUnreachable);
    EXPECT_THAT(error.message, HasSubstr("the time allowed"));
    EXPECT_LT(SteadyClock::now() - begin, milliseconds(2000));
  }
}

TEST(HttpFailure, AConnectionThatTakesTooLongMayPass) {
  const TestServer silent([](Connection& connection) { connection.wait_for_end(); });
  HttpClient client(HttpClientOptions{.connect_within = kShort});
  for (const std::string& url :
       {fmt::format("https://127.0.0.1:{}/", silent.port()), std::string("http://slow.test/")}) {
    const Error error = failure(client, {.url = url});
    EXPECT_EQ(error.retry, Retry::kTransient);
    EXPECT_THAT(error.message, HasSubstr("no connection in time"));
  }
}

TEST(HttpFailure, NamesThatAreUnknownWillNotPassButAResolverThatIsAwayMay) {
  HttpClient client;
  const Error unknown = failure(client, {.url = "https://unknown.test:444/"});
  EXPECT_EQ(unknown.retry, Retry::kNever);
  EXPECT_THAT(unknown.message, HasSubstr("https://unknown.test:444 cannot be reached"));
  const Error away = failure(client, {.url = "https://away.test/"});
  EXPECT_EQ(away.retry, Retry::kTransient) << away.describe();
}

TEST(HttpFailure, RequestsThatCannotBeAreRefused) {
  HttpClient client;
  for (const char* url :
       {"", "store", "ftp://store/", "file:///etc/passwd", "http://", "https://a b/", "http://host:port/",
        "http://host/\n", "http://host/\x80", "http://host/#part", "http://user:SECRET@host/"}) {
    const auto failed = client.send({}, {.url = url});
    ASSERT_FALSE(failed) << url;
    EXPECT_EQ(failed.error().code, Code::kUnreachable) << url;
    EXPECT_EQ(failed.error().retry, Retry::kNever) << url;
    EXPECT_THAT(failed.error().describe(), Not(HasSubstr("SECRET")));
  }
  for (const Header& header :
       {Header{"A", "1\r\nHost: other"}, {"A: 1\r\nB", "2"}, {"", "1"}, {"A", std::string("1\0", 2)}}) {
    const auto failed = client.send({}, {.url = "http://127.0.0.1/", .headers = {header}});
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Code::kUsage);
  }
  EXPECT_FALSE(client.send({}, {.method = "GET /x\r\n", .url = "http://127.0.0.1/"}));
}

// The server closes the kept connection when the second request has arrived, as it may at any time.
class KeptConnection : public ::testing::Test {
 protected:
  Result<HttpResponse> second(const std::string& method, size_t body_size, bool read_all) {
    TestServer server([&](Connection& connection) {
      while (auto request = connection.read_head()) {
        ++heads_;
        const bool close = heads_ == 2;
        if (!close || read_all) connection.read_body(*request);
        if (close) return connection.reset();
        connection.answer(200, "done");
      }
    });
    HttpClient client;
    EXPECT_TRUE(client.send({}, {.url = server.url()}));
    const std::string bytes(body_size, 'x');
    const ByteView pieces[] = {as_bytes(bytes)};
    return client.send(
        {}, {.method = method, .url = server.url(), .body = std::span(pieces, body_size > 0 ? 1 : 0)});
  }
  std::atomic<int> heads_ = 0;
};

TEST_F(KeptConnection, ThatClosesCostsAReaderNothing) {
  const auto response = second("GET", 0, true);
  ASSERT_TRUE(response) << response.error().describe();
  EXPECT_EQ(heads_, 3);
}

// Carried out or not, the server saw all of it: another try is the caller's to make, who then knows of two.
TEST_F(KeptConnection, ThatClosesNeverHasAWriteSentTwice) {
  for (const auto& [method, size] :
       {std::pair("PUT", 0), {"PUT", 10}, {"PUT", 1 << 20}, {"POST", 0}, {"POST", 10}, {"DELETE", 0}}) {
    heads_ = 0;
    const auto response = second(method, static_cast<size_t>(size), true);
    ASSERT_FALSE(response) << method << size;
    EXPECT_EQ(response.error().retry, Retry::kTransient);
    EXPECT_EQ(heads_, 2) << method << size;
  }
}

TEST_F(KeptConnection, ThatClosesBeforeItHasAllOfABodyMayBeReplaced) {
  const auto response = second("PUT", size_t{64} << 20, false);
  // When the break is noticed while sending, libcurl leaves it at that.
  EXPECT_TRUE(response || response.error().retry == Retry::kTransient);
  EXPECT_EQ(heads_, response ? 3 : 2);
}

TEST(HttpFailure, AnAnswerBeforeTheBodyIsSentCounts) {
  const TestServer server([](Connection& connection) {
    connection.read_head();
    connection.answer(403, "not you", "Connection: close\r\n");
    connection.wait_for_end();
  });
  HttpClient client;
  const std::string bytes(size_t{32} << 20, 'x');
  const ByteView pieces[] = {as_bytes(bytes)};
  const auto response = client.send({}, {.method = "PUT", .url = server.url(), .body = pieces});
  ASSERT_TRUE(response) << response.error().describe();
  EXPECT_EQ(response->status, 403);
  EXPECT_EQ(as_text(response->body), "not you");
}

}  // namespace
}  // namespace varve::net
