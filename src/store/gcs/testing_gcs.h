// For tests beside the Google Cloud Storage that tests/services/gcs_server.py plays: its addresses, its
// files, and how it is told to misbehave. A missing environment fails a test; it does not skip it.
#pragma once

#include <cstdlib>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "crypto/crypto.h"
#include "net/http.h"
#include "os/file.h"
#include "store/gcs/gcs_store.h"

namespace varve::store::gcs::testing {

inline std::string environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) {
    ADD_FAILURE() << name << " is not set: run by tests/services/with.py gcs -- …";
    std::exit(1);  // nothing here can run
  }
  return value;
}

inline std::string endpoint() {
  const std::string address = environment("VARVE_TEST_GCS");
  return address.substr(address.find("endpoint=") + 9);
}

// A credentials file by name: "writer", "retainer", "nobody", "person", "federated", "federated_url".
inline std::string credentials(const std::string& name) {
  return environment("VARVE_TEST_GCS_FILES") + "/" + name + ".json";
}

inline Context bounded() {
  return Context{}.with_deadline(std::chrono::seconds(60));
}

// A prefix that nobody used before.
inline std::string fresh_prefix() {
  return "t-" + to_hex(crypto::random_array<8>());
}

// A store as the command line opens it, without its decorators.
inline std::shared_ptr<GcsStore> open_in(const std::string& bucket, const std::string& prefix,
                                         const std::string& identity = "writer",
                                         const std::string& settings = {}, uint64_t resumable_from = 0) {
  EXPECT_TRUE(crypto::init());
  auto place = parse_place(fmt::format("gs://{}/{}?endpoint={}&credentials_file={}{}", bucket, prefix,
                                       endpoint(), credentials(identity), settings));
  EXPECT_TRUE(place) << place.error().describe();
  if (!place) return nullptr;
  auto options = GcsStore::read_options(*place);
  EXPECT_TRUE(options) << options.error().describe();
  auto source = find_credentials({place->settings.text("credentials_file"), ""});
  EXPECT_TRUE(source) << source.error().describe();
  if (!options || !source) return nullptr;
  if (resumable_from > 0) options->resumable_from = resumable_from;
  return std::make_shared<GcsStore>(std::move(*options), std::move(*source));
}

// Tells the server something: see Handler.control() there.
inline nlohmann::json control(const std::string& what,
                              const nlohmann::json& said = nlohmann::json::object()) {
  static net::HttpClient http({.direct = true});
  const std::string body = said.dump();
  const ByteView piece = as_bytes(body);
  net::HttpRequest request;
  request.method = "POST";
  request.url = endpoint() + "/_test/" + what;
  request.body = std::span<const ByteView>(&piece, 1);
  auto answer = http.send(bounded(), request);
  EXPECT_TRUE(answer) << answer.error().describe();
  if (!answer) return {};
  EXPECT_EQ(answer->status, 200) << as_text(answer->body);
  return nlohmann::json::parse(as_text(answer->body), nullptr, false);
}

inline void fault(const nlohmann::json& said) {
  control("fault", said);
}

}  // namespace varve::store::gcs::testing
