// The contract, held by a real server: bare, and through the decorators that everyone uses.
#include "contract/store_contract.h"
#include "store/open.h"
#include "store/sftp/test_sshd.h"

namespace varve::store {
namespace {

std::string base_address() {
  return test_environment("VARVE_TEST_SFTP");
}

// An empty folder of its own for each test.
std::string fresh_address() {
  static std::atomic<int> serial = 0;
  const std::string base = base_address();
  if (base.empty()) return base;
  const size_t query = base.find('?');
  return fmt::format("{}/{}-{}{}", base.substr(0, query), ::getpid(), ++serial, base.substr(query));
}

ContractStore bare() {
  const std::string address = fresh_address();
  if (address.empty()) return {};
  auto make = [address]() -> StorePtr {
    auto store = SftpStore::open(Context{}.with_deadline(std::chrono::seconds(30)),
                                 parse_place(address).value(), true);
    EXPECT_TRUE(store) << store.error().describe();
    return store.value_or(nullptr);
  };
  return {make(), make};
}

ContractStore stack() {
  const std::string address = fresh_address();
  if (address.empty()) return {};
  auto make = [address]() -> StorePtr {
    auto store = open_store(Context{}.with_deadline(std::chrono::seconds(30)), address, {.create = true});
    EXPECT_TRUE(store) << store.error().describe();
    return store.value_or(nullptr);
  };
  return {make(), make};
}

// A server that offers nothing beyond version 3 of the protocol.
ContractStore plain() {
  static Sshd sshd({"ForceCommand internal-sftp -P hardlink,posix-rename,fsync,statvfs,limits"});
  static std::atomic<int> serial = 0;
  auto make = [n = ++serial]() -> StorePtr {
    auto store = sshd.open(sshd.settings(), true, Context{}.with_deadline(std::chrono::seconds(30)),
                           fmt::format("/{}", n));
    EXPECT_TRUE(store) << store.error().describe();
    return store.value_or(nullptr);
  };
  return {make(), make};
}

INSTANTIATE_TEST_SUITE_P(Sftp, StoreContract,
                         ::testing::Values(ContractCase{"sftp", bare, {.race_rounds = 10}},
                                           ContractCase{"sftp_stack", stack, {.race_rounds = 10}},
                                           ContractCase{"sftp_plain", plain, {.race_rounds = 10}}),
                         contract_name);

}  // namespace
}  // namespace varve::store
