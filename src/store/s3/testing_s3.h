// A place to speak S3 wrongly: a server on the loopback that a test scripts, and a store that is opened on
// it.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <mutex>

#include "net/testing_server.h"
#include "store/s3/s3_store.h"

namespace varve::store::s3::testing {

using net::testing::Connection;
using net::testing::Received;

class ScriptedS3 {
 public:
  using Answer = std::function<void(Connection&, const Received&)>;

  explicit ScriptedS3(Answer answer)
      : server_(net::testing::each([this, answer = std::move(answer)](Connection& c, Received& r) {
          {
            std::lock_guard lock(mutex_);
            seen_.push_back(r);
          }
          answer(c, r);
        })) {}

  std::shared_ptr<Store> open(const std::string& settings = {}, std::map<std::string, std::string> env = {}) {
    env.try_emplace("AWS_ACCESS_KEY_ID", "AKID");
    env.try_emplace("AWS_SECRET_ACCESS_KEY", "the-secret");
    auto place =
        parse_place(fmt::format("s3://bucket/p?endpoint={}&provider=ceph{}", server_.url(""), settings));
    EXPECT_TRUE(place) << place.error().describe();
    auto store = S3Store::open(context(), *place, [env](std::string_view name) {
      const auto at = env.find(std::string(name));
      return at == env.end() ? std::string() : at->second;
    });
    EXPECT_TRUE(store) << store.error().describe();
    return store.value_or(nullptr);
  }
  std::string url() const { return server_.url(""); }
  std::vector<Received> seen() const {
    std::lock_guard lock(mutex_);
    return seen_;
  }
  static Context context() { return Context{}.with_deadline(std::chrono::seconds(20)); }

 private:
  mutable std::mutex mutex_;
  std::vector<Received> seen_;
  net::testing::TestServer server_;
};

inline std::string xml_error(std::string_view code, std::string_view more = {}) {
  return fmt::format("<?xml version=\"1.0\"?><Error><Code>{}</Code><Message>because</Message>{}</Error>",
                     code, more);
}
inline constexpr std::string_view kXml = "Content-Type: application/xml\r\nx-amz-request-id: 1\r\n";

}  // namespace varve::store::s3::testing
