#include "store/azure/policy.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace varve::store::azure {

std::string policy_text(const Client& client, Needs needs) {
  using Json = nlohmann::ordered_json;
  constexpr char kContainers[] = "Microsoft.Storage/storageAccounts/blobServices/containers/";
  const auto action = [&](const char* name) { return kContainers + std::string(name); };
  Json actions = Json::array({action("blobs/read")});
  if (!needs.read_only) {
    for (const char* name :
         {"blobs/write", "blobs/add/action", "blobs/delete", "blobs/deleteBlobVersion/action"})
      actions.push_back(action(name));
  }
  if (needs.retention) actions.push_back(action("blobs/immutableStorage/runAsSuperUser/action"));
  const Json role = {{"Name", needs.read_only ? "Varve restore" : "Varve repository"},
                     {"Description", "What Varve needs in the container of its repository, and no more"},
                     {"Actions", Json::array()},
                     {"DataActions", actions},
                     {"AssignableScopes", Json::array({"/subscriptions/SUBSCRIPTION"})}};
  return fmt::format(
      "{}\n"
      "Assign it for this container alone:\n"
      "  /subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.Storage/storageAccounts/{}/"
      "blobServices/default/containers/{}\n"
      "The built-in role \"{}\" for the container includes it.\n"
      "A shared access signature needs the permissions {} for the container.\n",
      role.dump(2), client.account().name, client.container(),
      needs.read_only   ? "Storage Blob Data Reader"
      : needs.retention ? "Storage Blob Data Owner"
                        : "Storage Blob Data Contributor",
      needs.read_only   ? "rl"
      : needs.retention ? "racwdxli"
                        : "racwdxl");
}

}  // namespace varve::store::azure
