// The contract, held by Azure Blob Storage as Azurite has it: bare, in blocks and
// through the decorators, and with versions. Run by
// tests/services/with.py azure azure_locks.
#include <cstdlib>

#include "contract/store_contract.h"
#include "crypto/crypto.h"
#include "store/azure/azure_store.h"
#include "store/open.h"

namespace varve::store {
namespace {

// An address below the service that with.py started, with a prefix that nothing else uses.
std::string fresh_address(const char* variable, const std::string& settings = "") {
  const char* address = std::getenv(variable);
  if (address == nullptr || *address == '\0') {
    ADD_FAILURE() << variable << " is not set: run this by tests/services/with.py azure azure_locks";
    return "";
  }
  static const std::string run = to_hex(crypto::random_array<6>());
  static std::atomic<int> serial = 0;
  std::string out = address;
  out.insert(out.find('?'), fmt::format("/run-{}/{}", run, ++serial));
  return out + settings;
}

StorePtr opened(const std::string& address) {
  auto place = parse_place(address);
  if (!place) return nullptr;
  auto store = AzureStore::open(Context{}, *place);
  EXPECT_TRUE(store) << store.error().describe();
  return store.value_or(nullptr);
}

std::function<ContractStore()> bare(const char* variable, const std::string& settings = "") {
  return [=]() -> ContractStore {
    const std::string address = fresh_address(variable, settings);
    if (address.empty()) return {};
    return {opened(address), [address] { return opened(address); }};
  };
}

ContractStore stack() {
  const std::string address = fresh_address("VARVE_TEST_AZURE", "&block_size=512KiB");
  if (address.empty()) return {};
  auto make = [address] { return open_store(Context{}, address, {}).value_or(nullptr); };
  return {make(), make};
}

// The servers are no fast ones.
Deviations deviations(size_t large_object) {
  return {.object_beside_folder = true,
          .retention_unit = std::chrono::seconds(1),
          .large_object = large_object,
          .race_rounds = 4};
}

const ContractCase kCases[] = {
    {"azure", bare("VARVE_TEST_AZURE"), deviations(24 << 20)},
    {"blocks_stack", stack, deviations(12 << 20)},
    {"versions", bare("VARVE_TEST_AZURE_LOCKS", "&immutability=unlocked"), deviations(2 << 20)},
};

INSTANTIATE_TEST_SUITE_P(Azure, StoreContract, ::testing::ValuesIn(kCases), contract_name);

}  // namespace
}  // namespace varve::store
