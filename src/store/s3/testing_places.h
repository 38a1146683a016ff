// The places on the real server that tests/services/s3.py starts.
#pragma once

#include <cstdlib>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "crypto/crypto.h"
#include "store/s3/s3_store.h"

namespace varve::store::s3::testing {

// An address with a prefix of its own in the bucket that a variable names.
inline std::string fresh_address(const char* variable, const std::string& settings = {}) {
  const char* text = std::getenv(variable);
  EXPECT_NE(text, nullptr) << variable << " is not set: run this by tests/services/with.py s3 -- …";
  const std::string whole = text != nullptr ? text : "s3://none?endpoint=http://127.0.0.1:1";
  const size_t query = whole.find('?');
  return fmt::format("{}/{}{}{}", whole.substr(0, query), to_hex(crypto::random_array<8>()),
                     whole.substr(query), settings);
}

// Without decorators: the driver alone.
inline Result<StorePtr> open_bare(const std::string& address) {
  TRY_ASSIGN(const Place place, parse_place(address));
  return S3Store::open(Context{}.with_deadline(std::chrono::seconds(30)), place);
}

}  // namespace varve::store::s3::testing
