// The contract, held by Azure Blob Storage as Azurite has it: bare, through the decorators, in blocks. Run by
// tests/services/with.py azure.
#include <cstdlib>

#include "contract/store_contract.h"
#include "crypto/crypto.h"
#include "store/azure/azure_store.h"
#include "store/open.h"

namespace varve::store {
namespace {

// An address below the service that with.py started, with a prefix that nothing else uses.
std::string fresh_address(const std::string& settings = "") {
  const char* address = std::getenv("VARVE_TEST_AZURE");
  if (address == nullptr || *address == '\0') {
    ADD_FAILURE() << "VARVE_TEST_AZURE is not set: run this by tests/services/with.py azure";
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

ContractStore bare_with(const std::string& settings) {
  const std::string address = fresh_address(settings);
  if (address.empty()) return {};
  return {opened(address), [address] { return opened(address); }};
}

ContractStore bare() {
  return bare_with("");
}

ContractStore in_blocks() {
  return bare_with("&block_size=512KiB");
}

ContractStore stack() {
  const std::string address = fresh_address();
  if (address.empty()) return {};
  auto make = [address] { return open_store(Context{}, address, {}).value_or(nullptr); };
  return {make(), make};
}

const Deviations kAzure = {.object_beside_folder = true};

INSTANTIATE_TEST_SUITE_P(Azure, StoreContract,
                         ::testing::Values(ContractCase{"azure", bare, kAzure},
                                           ContractCase{"azure_stack", stack, kAzure},
                                           ContractCase{"azure_blocks", in_blocks, kAzure}),
                         contract_name);

}  // namespace
}  // namespace varve::store
