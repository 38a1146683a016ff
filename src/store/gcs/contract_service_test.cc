// The contract of all stores, held by the driver beside a strict Google Cloud Storage.
#include "contract/store_contract.h"
#include "store/gcs/testing_gcs.h"
#include "store/open.h"

namespace varve::store {
namespace {

using namespace gcs::testing;

std::function<ContractStore()> in(const std::string& bucket, const std::string& identity = "writer",
                                  const std::string& settings = {}, uint64_t resumable_from = 0) {
  return [=] {
    const std::string prefix = fresh_prefix();
    auto make = [=]() -> StorePtr { return open_in(bucket, prefix, identity, settings, resumable_from); };
    return ContractStore{make(), make};
  };
}

// As everyone opens it, by the address alone and with its decorators.
ContractStore stack() {
  const std::string prefix = fresh_prefix();
  auto make = [prefix]() -> StorePtr {
    auto store =
        open_store(Context{}, fmt::format("gs://varve-plain/{}?endpoint={}", prefix, endpoint()), {});
    EXPECT_TRUE(store) << store.error().describe();
    return store.value_or(nullptr);
  };
  return {make(), make};
}

constexpr Deviations kFew = {.object_beside_folder = true, .large_object = size_t{4} << 20, .race_rounds = 3};

INSTANTIATE_TEST_SUITE_P(
    Gcs, StoreContract,
    ::testing::Values(
        ContractCase{"plain", in("varve-plain"), {.object_beside_folder = true, .race_rounds = 10}},
        ContractCase{
            "stack", stack, {.object_beside_folder = true, .own_body_counts_as_won = true, .race_rounds = 3}},
        ContractCase{"versioned", in("varve-versioned"), kFew},
        ContractCase{"every_upload_in_a_session", in("varve-plain", "writer", "", 1), kFew},
        ContractCase{"retained", in("varve-locked", "retainer"), kFew},
        ContractCase{"locked_and_versioned", in("varve-locked-versioned", "retainer", "&retention=locked"),
                     kFew},
        ContractCase{"requester_pays", in("varve-payer", "person", "&user_project=p-1"), kFew}),
    contract_name);

}  // namespace
}  // namespace varve::store
