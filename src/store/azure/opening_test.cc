// What an address and its settings make; and what the view of the past remembers between its pages.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/azure/azure_store.h"
#include "store/azure/testing_azure.h"
#include "store/azure/versions.h"

namespace varve::store {
namespace {

using azure::environment_with;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(AzureOpening, MistakesAreTold) {
  const auto refused = [](const std::string& address) {
    auto place = parse_place(address);
    if (!place) return place.error().describe();
    auto store = AzureStore::open({}, *place, environment_with({{"AZURE_STORAGE_KEY", "a2V5"}}));
    if (store) return std::string("opened");
    EXPECT_EQ(store.error().code, Code::kUsage) << address;
    return store.error().describe();
  };
  EXPECT_EQ(refused("azure://box/some/prefix?account=mine"), "opened");
  EXPECT_EQ(refused("azure://$root?account=mine&access_tier=COLD&immutability=Locked&block_size=8MiB"),
            "opened");
  EXPECT_THAT(refused("azure://box?account=mine&access_tier=Archive"), HasSubstr("archive"));
  EXPECT_THAT(refused("azure://box?account=mine&access_tier=Tepid"), HasSubstr("Tepid"));
  EXPECT_THAT(refused("azure://box?account=mine&immutability=yes"), HasSubstr("unlocked"));
  EXPECT_THAT(refused("azure://box?account=mine&block_size=1"), HasSubstr("block_size"));
  EXPECT_THAT(refused("azure://box?account=mine&parallel_blocks=0"), HasSubstr("parallel_blocks"));
  EXPECT_THAT(refused("azure://box?account=mine&as_of=whenever"), HasSubstr("as_of"));
  EXPECT_THAT(refused("azure://box?account=mine&tier=Cool"), HasSubstr("tier"));
  EXPECT_THAT(refused("azure://box"), HasSubstr("account"));
  EXPECT_THAT(refused("azure://Box?account=mine"), HasSubstr("container"));
  EXPECT_THAT(refused("azure://b--x?account=mine"), HasSubstr("container"));
  EXPECT_THAT(refused("azure://box/a%20b?account=mine"), HasSubstr("prefix"));
  EXPECT_THAT(refused("azure://box/a/../b?account=mine"), HasSubstr("prefix"));
}

TEST(AzureOpening, SaysWhatMustBeGranted) {
  const auto policy_of = [](const std::string& settings) {
    auto place = parse_place("azure://box?account=mine" + settings);
    return (*AzureStore::open({}, *place, environment_with({{"AZURE_STORAGE_KEY", "a2V5"}})))->policy();
  };
  const std::string plain = policy_of("");
  EXPECT_THAT(plain, HasSubstr("containers/blobs/delete\""));
  EXPECT_THAT(plain, HasSubstr("containers/box"));
  EXPECT_THAT(plain, Not(HasSubstr("immutableStorage")));
  EXPECT_THAT(policy_of("&immutability=locked"), HasSubstr("immutableStorage"));
  EXPECT_THAT(policy_of("&as_of=2024-05-01T00:00:00Z"), Not(HasSubstr("blobs/delete")));
}

TEST(AzureVersions, TokensOfPages) {
  const azure::Blob best{"a/b", 12, Timestamp(Seconds(5)), "2024-05-01T12:00:00.1234567Z"};
  for (const azure::PagePlace& place : {azure::PagePlace{"a marker!", best}, azure::PagePlace{"", best},
                                        azure::PagePlace{"m", std::nullopt}}) {
    const auto back = azure::parse_token_of_page(azure::to_token(place));
    ASSERT_TRUE(back);
    EXPECT_EQ(back->marker, place.marker);
    ASSERT_EQ(back->best.has_value(), place.best.has_value());
    if (!back->best) continue;
    EXPECT_EQ(back->best->name, best.name);
    EXPECT_EQ(back->best->size, best.size);
    EXPECT_EQ(back->best->modified, best.modified);
    EXPECT_EQ(back->best->version, best.version);
  }
  for (const char* wrong : {"m", "a b\nm", "a 1 2 3 4\n", "../a 1 2 v\n", "a x 2 v\n"})
    EXPECT_FALSE(azure::parse_token_of_page(wrong)) << wrong;
}

}  // namespace
}  // namespace varve::store
