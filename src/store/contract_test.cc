// The contract, held by the local folder and by memory: bare, and through the decorators that everyone uses.
#include <random>

#include "contract/store_contract.h"
#include "os/file.h"
#include "store/local/local_store.h"
#include "store/mem/mem_store.h"
#include "store/open.h"
#include "store/wrap/cache.h"
#include "store/wrap/fault.h"
#include "store/wrap/metrics.h"
#include "store/wrap/retry.h"

namespace varve::store {
namespace {

StorePtr opened(const std::string& address) {
  auto store = open_store(Context{}, address, {.create = true});
  EXPECT_TRUE(store) << store.error().describe();
  return store ? *store : nullptr;
}

ContractStore local() {
  auto dir = os::TempDir::create("varve-contract");
  if (!dir) return {};
  auto keep = std::make_shared<os::TempDir>(std::move(*dir));
  auto make = [path = keep->path()] { return LocalStore::open(path, false).value_or(nullptr); };
  return {make(), make, keep};
}

ContractStore local_stack() {
  ContractStore place = local();
  auto make = [address = place.store->describe()] { return opened(address); };
  return {make(), make, place.keep};
}

ContractStore mem() {
  auto store = std::make_shared<MemStore>();
  return {store, [store] { return store; }};
}

ContractStore mem_stack() {
  static std::atomic<int> serial = 0;
  auto make = [address = fmt::format("mem://contract-{}", ++serial)] { return opened(address); };
  return {make(), make};
}

// Connections that break, replies that are lost and bodies that end early: what the retries are for.
ContractStore mem_faulty() {
  auto store = std::make_shared<MemStore>();
  auto make = [store]() -> StorePtr {
    auto faulty = std::make_shared<FaultStore>(
        store, [engine = std::minstd_rand(7)](const StoreCall&) mutable -> Fault {
          switch (engine() % 12) {
            case 0:
              return {.what = Fault::What::kFail, .error = transient_error()};
            case 1:
              return {.what = Fault::What::kLoseReply, .error = transient_error()};
            case 2:
              return {.what = Fault::What::kCutBody, .error = throttled_error(), .bytes = engine() % 5000};
            case 3:
              return {.what = Fault::What::kShortBody, .bytes = engine() % 5000};
            default:
              return {};
          }
        });
    return with_retry(faulty, {.most_tries = 50,
                               .first_delay = std::chrono::milliseconds(1),
                               .longest_delay = std::chrono::milliseconds(2)});
  };
  return {make(), make};
}

ContractStore mem_measured_and_cached() {
  auto store = std::make_shared<MemStore>();
  return {with_cache(with_metrics(store, std::make_shared<Metrics>())), [store] { return store; }};
}

INSTANTIATE_TEST_SUITE_P(
    Store, StoreContract,
    ::testing::Values(ContractCase{"local", local}, ContractCase{"local_stack", local_stack},
                      ContractCase{"mem", mem}, ContractCase{"mem_stack", mem_stack},
                      ContractCase{"mem_faulty", mem_faulty, {.own_body_counts_as_won = true}},
                      ContractCase{"mem_measured_and_cached", mem_measured_and_cached}),
    contract_name);

}  // namespace
}  // namespace varve::store
