// From an address and its settings to a store.
#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/text.h"
#include "store/azure/azure_store.h"
#include "store/azure/policy.h"
#include "store/azure/versions.h"

namespace varve::store {
namespace {

constexpr uint64_t kLeastBlock = 64 << 10;
constexpr uint64_t kLargestPut = uint64_t{4000} << 20;  // what one block may hold; one put may hold more
constexpr uint64_t kMostParallel = 32;

// The service's own rule: 3 to 63 lower-case letters, digits and single hyphens; or the root container.
bool is_container(std::string_view name) {
  if (name == "$root") return true;
  const auto is_alphanumeric = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return name.size() >= 3 && name.size() <= 63 && is_alphanumeric(name.front()) &&
         is_alphanumeric(name.back()) && name.find("--") == name.npos &&
         std::all_of(name.begin(), name.end(), [&](char c) { return is_alphanumeric(c) || c == '-'; });
}

// One of the words, in its own spelling.
Result<std::string> one_of(const Settings& settings, std::string_view name,
                           std::span<const std::string_view> words) {
  const std::string value = settings.text(name);
  if (value.empty()) return value;
  for (const std::string_view word : words)
    if (to_lower(word) == to_lower(value)) return std::string(word);
  return fail(Code::kUsage,
              fmt::format("{} = \"{}\" is none of {}", name, printable(value), fmt::join(words, ", ")));
}

Result<azure::Writing> writing_of(const Settings& settings) {
  constexpr std::array<std::string_view, 4> kTiers = {"Hot", "Cool", "Cold", "Archive"};
  constexpr std::array<std::string_view, 2> kModes = {"unlocked", "locked"};
  azure::Writing out;
  TRY_ASSIGN(out.tier, one_of(settings, "access_tier", kTiers));
  if (out.tier == "Archive")
    return fail(Code::kUsage,
                "the archive tier cannot hold a repository: what lies there cannot be read at once, only "
                "after hours of waiting",
                "Cold costs little more and is read at once");
  TRY_ASSIGN(out.immutability, one_of(settings, "immutability", kModes));
  TRY_ASSIGN(out.block_size, settings.size("block_size", out.block_size));
  if (out.block_size < kLeastBlock || out.block_size > kLargestPut)
    return fail(Code::kUsage, fmt::format("block_size is not between {} and {}", human_size(kLeastBlock),
                                          human_size(kLargestPut)));
  TRY_ASSIGN(out.parallel_blocks, settings.size("parallel_blocks", out.parallel_blocks));
  if (out.parallel_blocks < 1 || out.parallel_blocks > kMostParallel)
    return fail(Code::kUsage, fmt::format("parallel_blocks is not between 1 and {}", kMostParallel));
  return out;
}

}  // namespace

Result<StorePtr> AzureStore::open(const Context& ctx, const Place& place) {
  return open(ctx, place, azure::process_environment());
}

Result<StorePtr> AzureStore::open(const Context& ctx, const Place& place,
                                  const azure::Environment& environment) {
  TRY_OK(ctx.check());
  TRY_OK(place.settings.check(azure_settings()));
  if (!is_container(place.authority))
    return fail(Code::kUsage, fmt::format("\"{}\" is no name of a container", printable(place.authority)),
                "containers have 3 to 63 lower-case letters, digits and hyphens: "
                "azure://container/prefix?account=NAME");
  if (!place.path.empty() && !check_key(place.path))
    return fail(Code::kUsage, fmt::format("\"{}\" cannot be a prefix", printable(place.path)),
                "names are segments of [A-Za-z0-9._=@+-] joined by '/'");
  TRY_ASSIGN(azure::Account account, azure::find_account(place.settings, environment));
  TRY_ASSIGN(azure::Writing writing, writing_of(place.settings));
  auto http =
      std::make_shared<net::HttpClient>(net::HttpClientOptions{.ca_file = place.settings.text("ca_file")});
  TRY_ASSIGN(auto credentials, azure::Credentials::find(place.settings, account, environment, http));
  auto client = std::make_unique<azure::Client>(std::move(account), place.authority, std::move(credentials),
                                                std::move(http));
  std::string prefix = place.path.empty() ? "" : place.path + "/";
  if (const std::string as_of = place.settings.text("as_of"); !as_of.empty()) {
    auto at = parse_moment(as_of, now());
    if (!at) return fail(std::move(at).error().with_context("as_of"));
    return std::make_shared<azure::VersionView>(std::move(client), std::move(prefix), *at);
  }
  return std::make_shared<AzureStore>(std::move(client), std::move(prefix), std::move(writing));
}

std::string AzureStore::policy() const {
  return azure::policy_text(*client_, {.retention = !writing_.immutability.empty()});
}

}  // namespace varve::store
