#include "store/azure/listing.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"
#include "store/cloud/answer.h"

namespace varve::store::azure {
namespace {

constexpr size_t kMostAtOnce = 5000;  // the service's limit

}  // namespace

std::string address_of(const Client& client, const std::string& prefix) {
  const std::string_view path = std::string_view(prefix).substr(0, prefix.empty() ? 0 : prefix.size() - 1);
  return fmt::format("azure://{}{}{}?account={}", client.container(), path.empty() ? "" : "/", path,
                     client.account().name);
}

Pages::Pages(Client& client, const std::string& root, const std::string& prefix, bool versions)
    : client_(client),
      root_(root),
      prefix_(root + prefix),
      doing_("listing " + address_of(client, root)),
      versions_(versions) {}

Result<Listing> Pages::next(const Context& ctx, const std::string& marker, size_t most) {
  Request request{.query = {{"restype", "container"},
                            {"comp", "list"},
                            {"maxresults", std::to_string(std::clamp<size_t>(most, 1, kMostAtOnce))}}};
  if (!prefix_.empty()) request.query.emplace_back("prefix", prefix_);
  if (!marker.empty()) request.query.emplace_back("marker", marker);
  if (versions_) request.query.emplace_back("include", "versions");
  TRY_ASSIGN(auto answer, client_.send(ctx, request, doing_));
  if (answer.status != 200) return fail(client_.failure(answer, doing_));
  if (!is_from_service(answer)) return fail(cloud::nonsense(answer, doing_, "it has no x-ms-request-id"));
  auto page = parse_listing(std::move(answer.body));
  if (!page) return fail(cloud::nonsense(answer, doing_, page.error().message));
  if (!page->next.empty() && page->next == marker)
    return fail(cloud::nonsense(answer, doing_, "its next page is the same page again"));
  TRY_OK(check_order(*page));
  std::erase_if(page->blobs, [&](Blob& blob) {
    if (!blob.name.starts_with(prefix_)) return true;
    blob.name.erase(0, root_.size());
    return !check_key(blob.name);
  });
  return page;
}

// In an account with a hierarchical namespace '/' sorts before everything else; what relies on the order of
// keys would overlook objects there.
Result<> Pages::check_order(const Listing& page) {
  for (size_t i = 1; i < page.blobs.size(); ++i) {
    if (page.blobs[i - 1].name < page.blobs[i].name) continue;
    if (versions_ && page.blobs[i - 1].name == page.blobs[i].name) continue;
    return fail(
        Code::kUnsupported,
        fmt::format("{}: {} comes before {}, which is not the order of names", doing_,
                    printable(page.blobs[i - 1].name), printable(page.blobs[i].name)),
        "an account with a hierarchical namespace (Data Lake Storage) cannot hold a repository: use one "
        "without");
  }
  return {};
}

}  // namespace varve::store::azure
