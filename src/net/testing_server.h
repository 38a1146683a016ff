// A server for the tests of the HTTP client, on the loopback: it does what a test scripts, the wrong things
// above all.
#pragma once

#include <arpa/inet.h>
#include <atomic>
#include <csignal>
#include <fmt/format.h>
#include <functional>
#include <list>
#include <mutex>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "base/text.h"

namespace varve::net::testing {

struct Received {
  std::string method, target, body;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case

  std::optional<std::string> header(std::string_view name) const {
    for (const auto& [n, value] : headers) {
      if (n == name) return value;
    }
    return std::nullopt;
  }
};

// One connection of a client, as the script sees it. Reads and writes fail quietly when the other side is
// gone.
class Connection {
 public:
  Connection(int socket, SSL_CTX* tls, int nth) : number(nth), socket_(socket) {
    if (tls == nullptr) return;
    tls_ = SSL_new(tls);
    SSL_set_fd(tls_, socket);
  }
  ~Connection() {
    if (tls_ != nullptr) SSL_free(tls_);
    ::close(socket_);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  bool shake_hands() { return tls_ == nullptr || SSL_accept(tls_) == 1; }

  // The head of the next request; nullopt at the end. The body is left to read_body().
  std::optional<Received> read_head() {
    size_t end = 0;
    while ((end = unread_.find("\r\n\r\n")) == std::string::npos) {
      if (!fill()) return std::nullopt;
    }
    const std::string head = unread_.substr(0, end);
    unread_.erase(0, end + 4);
    Received out;
    bool first = true;
    for (std::string_view line : split(head, '\n')) {
      line = trim(line);
      if (std::exchange(first, false)) {
        const auto words = split(line, ' ');
        out.method = words.at(0);
        out.target = words.at(1);
      } else if (const size_t colon = line.find(':'); colon != std::string_view::npos) {
        out.headers.emplace_back(to_lower(line.substr(0, colon)), std::string(trim(line.substr(colon + 1))));
      }
    }
    return out;
  }
  bool read_body(Received& request, size_t most = SIZE_MAX) {
    const size_t size = std::min<size_t>(most, std::stoul(request.header("content-length").value_or("0")));
    while (unread_.size() < size) {
      if (!fill()) return false;
    }
    request.body = unread_.substr(0, size);
    unread_.erase(0, size);
    return true;
  }
  // The whole next request.
  std::optional<Received> read() {
    auto request = read_head();
    if (request && !read_body(*request)) return std::nullopt;
    return request;
  }

  bool write(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = tls_ != nullptr ? SSL_write(tls_, text.data(), static_cast<int>(text.size()))
                                        : ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      text.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }
  // A whole response with its Content-Length. headers: "A: b\r\n"…
  bool answer(int status, std::string_view body, std::string_view headers = {}) {
    return write(fmt::format("HTTP/1.1 {} Some Reason\r\n{}Content-Length: {}\r\n\r\n{}", status, headers,
                             body.size(), body));
  }
  // Until the client closes, or the server is ended.
  void wait_for_end() {
    while (fill()) unread_.clear();
  }
  // The connection ends with RST instead of FIN.
  void reset() {
    const linger now = {.l_onoff = 1, .l_linger = 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }
  void shut_down() { ::shutdown(socket_, SHUT_RDWR); }
  int socket() const { return socket_; }

  const int number;  // 1: the server's first

 private:
  bool fill() {
    char buffer[65536];
    const ssize_t n =
        tls_ != nullptr ? SSL_read(tls_, buffer, sizeof buffer) : ::recv(socket_, buffer, sizeof buffer, 0);
    if (n > 0) unread_.append(buffer, static_cast<size_t>(n));
    return n > 0;
  }

  const int socket_;
  SSL* tls_ = nullptr;
  std::string unread_;
};

class TestServer {
 public:
  // Called for every connection, in a thread of its own; the connection closes when it returns.
  using Script = std::function<void(Connection&)>;

  explicit TestServer(Script script, SSL_CTX* tls = nullptr) : script_(std::move(script)), tls_(tls) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener_, 128) != 0)
      throw std::runtime_error("no port to listen on");
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    accepting_ = std::thread([this] { accept_all(); });
  }
  ~TestServer() {
    ending_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    accepting_.join();
    {
      std::lock_guard lock(mutex_);
      for (Connection* connection : open_) connection->shut_down();
    }
    for (auto& thread : threads_) thread.join();
    ::close(listener_);
  }
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  int port() const { return port_; }
  int connections() const { return connections_; }
  std::string url(std::string_view target = "/") const {
    return fmt::format("{}://127.0.0.1:{}{}", tls_ == nullptr ? "http" : "https", port_, target);
  }

 private:
  void accept_all() {
    while (!ending_) {
      const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (socket < 0) continue;
      const int number = ++connections_;
      threads_.emplace_back([this, socket, number] { serve(socket, number); });
    }
  }
  void serve(int socket, int number) {
    // OpenSSL writes without MSG_NOSIGNAL. Here only: the client must do without.
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
    Connection connection(socket, tls_, number);
    std::list<Connection*>::iterator place;
    {
      std::lock_guard lock(mutex_);
      if (ending_) return;
      place = open_.insert(open_.end(), &connection);
    }
    if (connection.shake_hands()) script_(connection);
    std::lock_guard lock(mutex_);
    open_.erase(place);
  }

  const Script script_;
  SSL_CTX* const tls_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<int> connections_ = 0;
  std::atomic<bool> ending_ = false;
  std::mutex mutex_;
  std::list<Connection*> open_;
  std::vector<std::thread> threads_;
  std::thread accepting_;
};

// Answers every request of a connection, until the client closes it.
inline TestServer::Script each(std::function<void(Connection&, Received&)> answer) {
  return [answer = std::move(answer)](Connection& connection) {
    while (auto request = connection.read()) answer(connection, *request);
  };
}

}  // namespace varve::net::testing
