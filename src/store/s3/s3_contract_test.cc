// The contract, held by S3 as a real server speaks it (tests/services/s3.py): a plain bucket, with and
// without TLS and decorators, and one with versions and Object Lock.
#include "contract/store_contract.h"
#include "store/open.h"
#include "store/s3/testing_places.h"

namespace varve::store {
namespace {

StorePtr bare(const std::string& address) {
  auto store = s3::testing::open_bare(address);
  EXPECT_TRUE(store) << store.error().describe();
  return store.value_or(nullptr);
}

StorePtr stacked(const std::string& address) {
  auto store = open_store({}, address, {});
  EXPECT_TRUE(store) << store.error().describe();
  return store.value_or(nullptr);
}

std::function<ContractStore()> at(const char* variable, StorePtr (*open)(const std::string&),
                                  std::string settings = {}) {
  return [=]() -> ContractStore {
    const std::string address = s3::testing::fresh_address(variable, settings);
    return {open(address), [=] { return open(address); }};
  };
}

constexpr const char* kLocks = "&object_lock_mode=governance";

constexpr Deviations kPlain = {.object_beside_folder = true, .race_rounds = 5};
// Ceph (20.2.4) looks and writes in two steps where a bucket has versions. Amazon does not.
constexpr Deviations kVersions = {.object_beside_folder = true,
                                  .racing_puts_may_all_win = true,
                                  .retention_unit = std::chrono::milliseconds(1),
                                  .race_rounds = 5};

INSTANTIATE_TEST_SUITE_P(S3, StoreContract,
                         ::testing::Values(ContractCase{"plain", at("VARVE_TEST_S3", bare), kPlain},
                                           ContractCase{"tls", at("VARVE_TEST_S3_TLS", bare), kPlain},
                                           ContractCase{"plain_stack", at("VARVE_TEST_S3", stacked), kPlain},
                                           ContractCase{"locked", at("VARVE_TEST_S3_LOCKED", bare, kLocks),
                                                        kVersions}),
                         contract_name);

}  // namespace
}  // namespace varve::store
