// What can be set for an Azure store, and what follows from it without asking anyone.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "store/place.h"

namespace varve::store {

std::span<const Setting> azure_settings();

namespace azure {

// The process's environment; tests give their own. nullopt for what is not set or empty.
using Environment = std::function<std::optional<std::string>(const char* name)>;
Environment process_environment();

// "AccountName=…;AccountKey=…;EndpointSuffix=…", as Azure's portal shows it. Fields that are not there are
// empty.
struct ConnectionString {
  std::string account, key, sas, endpoint;
};
// kUsage, never with a part of the text.
Result<ConnectionString> parse_connection_string(std::string_view text);

struct Account {
  std::string name;      // "mystorage"
  std::string endpoint;  // "https://mystorage.blob.core.windows.net", without '/' at its end
};
// The settings `account` and `endpoint` first, then $AZURE_STORAGE_CONNECTION_STRING and
// $AZURE_STORAGE_ACCOUNT.
Result<Account> find_account(const Settings& settings, const Environment& environment);

// Of this machine only: what is sent there without encryption is heard by no one else.
bool is_loopback(std::string_view url);

}  // namespace azure
}  // namespace varve::store
