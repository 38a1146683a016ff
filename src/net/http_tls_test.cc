// Whom the client trusts, and connections that break under TLS.
#include <filesystem>
#include <fstream>

#include "net/testing_client.h"
#include "net/testing_server.h"
#include "net/testing_tls.h"

namespace varve::net {
namespace {

using testing::Connection;
using testing::each;
using testing::failure;
using testing::failure_of;
using ::testing::HasSubstr;
using testing::Received;
using testing::SelfSigned;
using testing::TestServer;

class Tls : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / fmt::format("varve-net-test-{}", ::getpid());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string trusting(const SelfSigned& certificate) const {
    certificate.write_certificate(folder_ / "ca.pem");
    return folder_ / "ca.pem";
  }
  static TestServer::Script hello() {
    return each(
        [](Connection& connection, Received& request) { connection.answer(200, "hello " + request.body); });
  }
  std::filesystem::path folder_;
};

TEST_F(Tls, ACertificateIsRefusedUnlessItsAuthorityIsTrusted) {
  const SelfSigned certificate;
  const TestServer server(hello(), certificate.context());
  const Error error = failure_of(server);
  EXPECT_EQ(error.retry, Retry::kNever);
  EXPECT_THAT(error.message, HasSubstr("not trusted (SSL certificate problem"));
  EXPECT_THAT(error.hint, HasSubstr("ca_file"));
  HttpClient client(HttpClientOptions{.ca_file = trusting(certificate)});
  const ByteView pieces[] = {as_bytes("there")};
  for (int i = 0; i < 3; ++i) {
    const auto response = client.send({}, {.method = "PUT", .url = server.url(), .body = pieces});
    ASSERT_TRUE(response) << response.error().describe();
    EXPECT_EQ(as_text(response->body), "hello there");
  }
  EXPECT_EQ(server.connections(), 2);
}

TEST_F(Tls, ACertificateForAnotherNameOrTimeIsRefused) {
  const SelfSigned other("DNS:store.example"), expired("IP:127.0.0.1", -60);
  for (const SelfSigned* certificate : {&other, &expired}) {
    const TestServer server(hello(), certificate->context());
    EXPECT_EQ(failure_of(server, "GET", {.ca_file = trusting(*certificate)}).retry, Retry::kNever);
  }
}

TEST_F(Tls, AFileOfAuthoritiesThatIsNoneIsAMistakeOfTheSettings) {
  const SelfSigned certificate;
  const TestServer server(hello(), certificate.context());
  std::ofstream(folder_ / "empty.pem").close();
  for (const char* file : {"missing.pem", "empty.pem"}) {
    HttpClient client(HttpClientOptions{.ca_file = folder_ / file});
    const Error error = failure(client, {.url = server.url()});
    EXPECT_EQ(error.code, Code::kUsage) << error.describe();
    EXPECT_THAT(error.hint, HasSubstr("ca_file"));
  }
}

TEST_F(Tls, AHandshakeThatBreaksMayPassAndAWrongProtocolWillNot) {
  for (const bool reset : {false, true}) {
    const TestServer server([&](Connection& connection) {
      char hello[4096];
      (void)!::recv(connection.socket(), hello, sizeof hello, 0);
      if (reset) connection.reset();
    });
    HttpClient client;
    const Error error = failure(client, {.url = fmt::format("https://127.0.0.1:{}/", server.port())});
    EXPECT_EQ(error.retry, Retry::kTransient) << error.describe();
  }
  const TestServer plain([](Connection& connection) {
    connection.write("HTTP/1.1 400 Bad Request\r\n\r\n");
    connection.wait_for_end();
  });
  HttpClient client;
  const Error error = failure(client, {.url = fmt::format("https://127.0.0.1:{}/", plain.port())});
  EXPECT_EQ(error.retry, Retry::kNever) << error.describe();
  EXPECT_THAT(error.message, HasSubstr("agrees on no TLS"));
}

// Without SIGPIPE, which would end the process: this one does not ignore it.
TEST_F(Tls, AConnectionThatBreaksMayPass) {
  const SelfSigned certificate;
  const TestServer server(
      [](Connection& connection) {
        connection.read_head();
        connection.reset();
      },
      certificate.context());
  HttpClient client(HttpClientOptions{.ca_file = trusting(certificate)});
  const std::string bytes(size_t{32} << 20, 'x');
  const ByteView pieces[] = {as_bytes(bytes)};
  const Error error = failure(client, {.method = "PUT", .url = server.url(), .body = pieces});
  EXPECT_EQ(error.retry, Retry::kTransient) << error.describe();
  const TestServer cut(
      [](Connection& connection) {
        connection.read();
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
      },
      certificate.context());
  EXPECT_EQ(failure(client, {.url = cut.url()}).retry, Retry::kTransient);
}

}  // namespace
}  // namespace varve::net
