// What tests of the Azure driver share.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "net/testing_server.h"
#include "store/azure/settings.h"

namespace varve::store::azure {

inline Settings settings_with(const std::map<std::string, std::string>& values) {
  Settings out;
  for (const auto& [name, value] : values) (void)out.set(name, value);
  return out;
}

inline Environment environment_with(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const char* name) -> std::optional<std::string> {
    const auto it = values.find(name);
    return it == values.end() ? std::nullopt : std::optional(it->second);
  };
}

// Answers each request by a function, and keeps what it was asked.
class Scripted {
 public:
  struct Answer {
    int status = 200;
    std::string body = {};
    std::string headers = {};  // "A: b\r\n"…
  };
  using Reply = std::function<Answer(const net::testing::Received&)>;

  explicit Scripted(Reply reply)
      : reply_(std::move(reply)), server_([this](net::testing::Connection& connection) {
          while (auto request = connection.read()) {
            Answer answer;
            {
              std::lock_guard lock(mutex_);
              received_.push_back(*request);
              answer = reply_(*request);
            }
            // An answer to HEAD has the length of a body that does not come.
            const bool sent = request->method == "HEAD"
                                  ? connection.write(fmt::format("HTTP/1.1 {} Some Reason\r\n{}\r\n",
                                                                 answer.status, answer.headers))
                                  : connection.answer(answer.status, answer.body, answer.headers);
            if (!sent) return;
          }
        }) {}

  std::string url(std::string_view target = "") const { return server_.url(target); }
  std::vector<net::testing::Received> received() const {
    std::lock_guard lock(mutex_);
    return received_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<net::testing::Received> received_;
  const Reply reply_;
  net::testing::TestServer server_;
};

}  // namespace varve::store::azure
