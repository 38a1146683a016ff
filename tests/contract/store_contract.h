// What every store must do, as tests. A driver's test includes this and says how an empty store is made:
//
//   INSTANTIATE_TEST_SUITE_P(Local, StoreContract, ::testing::Values(ContractCase{"local",
//   make_local_store}),
//                            contract_name);
//
// A driver that cannot keep a rule declares it in Deviations; nothing else is excused.
#pragma once

#include <algorithm>
#include <atomic>
#include <barrier>
#include <fmt/format.h>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "store/store.h"

namespace varve::store {

// One empty place for objects.
struct ContractStore {
  StorePtr store;
  std::function<StorePtr()> another_client;  // a second, independent store on the same place
  std::shared_ptr<void> keep = {};           // whatever must live as long
};

struct Deviations {
  bool object_beside_folder = false;  // allows "a" beside "a/b"
  bool no_replace = false;            // kUnconditional cannot replace
  bool own_body_counts_as_won =
      false;  // retries, where replies are lost: a put that finds its own body there
  bool racing_puts_may_all_win = false;         // create-only holds when nobody races, and no further
  std::chrono::microseconds retention_unit{1};  // retentions are kept in whole ones, rounded up
  size_t large_object = size_t{40} << 20;
  int race_rounds = 20;
};

struct ContractCase {
  std::string name;
  std::function<ContractStore()> make;
  Deviations deviations = {};
};

inline void PrintTo(const ContractCase& c, std::ostream* out) {
  *out << c.name;
}
inline std::string contract_name(const ::testing::TestParamInfo<ContractCase>& info) {
  return info.param.name;
}

class StoreContract : public ::testing::TestWithParam<ContractCase> {
 protected:
  void SetUp() override {
    place_ = GetParam().make();
    ASSERT_NE(place_.store, nullptr);
  }

  Store& store() { return *place_.store; }
  const Deviations& deviations() const { return GetParam().deviations; }
  // Bounded, so that a driver that hangs fails.
  static Context bounded() { return Context{}.with_deadline(std::chrono::seconds(60)); }

  Result<> put(const Key& key, std::string_view text, PutMode mode = PutMode::kCreateOnly) {
    return put_bytes(store(), bounded(), key, as_bytes(text), {.mode = mode});
  }
  void must_put(const Key& key, std::string_view text) {
    auto done = put(key, text);
    ASSERT_TRUE(done) << key << ": " << done.error().describe();
  }
  static std::string read(Store& s, const Key& key, Range range = {}) {
    auto bytes = get_bytes(s, bounded(), key, 1 << 27, range);
    return bytes ? std::string(as_text(*bytes)) : "<" + bytes.error().describe() + ">";
  }
  std::string read(const Key& key, Range range = {}) { return read(store(), key, range); }

  std::vector<Key> keys(const std::string& prefix, size_t most = 1000) {
    std::vector<Key> out;
    std::string token;
    do {
      auto page = store().list(bounded(), prefix, token, most);
      EXPECT_TRUE(page) << page.error().describe();
      if (!page) break;
      EXPECT_LE(page->objects.size(), most);
      // An empty page that promises more would make a caller spin.
      EXPECT_TRUE(!page->objects.empty() || page->next.empty());
      for (const ObjectInfo& o : page->objects) out.push_back(o.key);
      token = page->next;
    } while (!token.empty() && out.size() < 100'000);
    return out;
  }

  static std::string pattern(size_t size, uint64_t seed) {
    std::string out(size, '\0');
    uint64_t x = seed * 2654435761u + 1;
    for (size_t i = 0; i < size; i += 8) {
      x ^= x << 13, x ^= x >> 7, x ^= x << 17;
      std::memcpy(out.data() + i, &x, std::min<size_t>(8, size - i));
    }
    return out;
  }

  ContractStore place_;
};

// EXPECT that a Result failed with this code.
#define EXPECT_CODE(expression, expected)                                      \
  do {                                                                         \
    auto contract_result_ = (expression);                                      \
    if (contract_result_) {                                                    \
      ADD_FAILURE() << #expression " succeeded";                               \
    } else {                                                                   \
      EXPECT_EQ(code_name(contract_result_.error().code), code_name(expected)) \
          << contract_result_.error().describe();                              \
    }                                                                          \
  } while (false)

}  // namespace varve::store

#include "contract/store_contract_calls.h"
#include "contract/store_contract_list.h"
#include "contract/store_contract_threads.h"
