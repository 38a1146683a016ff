#include "store/azure/settings.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fmt/format.h>

#include "base/text.h"

namespace varve::store {

std::span<const Setting> azure_settings() {
  static constexpr std::array<Setting, 12> kSettings = {{
      {"account", "NAME", "the storage account; else $AZURE_STORAGE_ACCOUNT"},
      {"endpoint", "URL",
       "where blobs are asked for, when it is not https://NAME.blob.core.windows.net: a sovereign cloud, a "
       "private endpoint, an emulator (http://127.0.0.1:10000/NAME)"},
      {"credential", "KIND",
       "auto, key, sas, client_secret, client_certificate, workload_identity or managed_identity: the only "
       "one to use (default: auto, the first that is set)"},
      {"client_id", "ID", "which managed or workload identity, where there are several"},
      {"key_file", "FILE", "a file that holds the account's key"},
      {"sas_file", "FILE", "a file that holds a shared access signature; read again when it has run out"},
      {"ca_file", "FILE", "certificates of authorities (PEM), in place of the system's"},
      {"access_tier", "Hot|Cool|Cold", "the tier of what is written (default: the account's)"},
      {"immutability", "unlocked|locked",
       "write immutability policies for retention; needs a container with version-level immutability"},
      {"as_of", "TIME", "read the container as its versions had it then; nothing can be written"},
      {"block_size", "SIZE", "a larger object is uploaded in blocks of this size (default: 64MiB)"},
      {"parallel_blocks", "N", "how many blocks of one object are uploaded at once (default: 4)"},
  }};
  return kSettings;
}

namespace azure {
namespace {

// 3 to 24 lower-case letters and digits; emulators allow any, so only what would change a URL is refused.
bool is_account_name(std::string_view name) {
  return !name.empty() && name.size() <= 63 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

std::string_view without_scheme(std::string_view url) {
  const size_t mark = url.find("://");
  return mark == url.npos ? url : url.substr(mark + 3);
}

// From "http://host:port/account" the account is the path, from "https://account.blob.…" the first label.
std::string account_of(std::string_view endpoint) {
  const std::string_view rest = without_scheme(endpoint);
  const size_t slash = rest.find('/');
  return std::string(slash == rest.npos ? rest.substr(0, rest.find_first_of(".:")) : rest.substr(slash + 1));
}

Result<std::string> checked_endpoint(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  const std::string_view rest = without_scheme(url);
  const bool scheme = url.starts_with("https://") || url.starts_with("http://");
  const bool printable_only =
      std::all_of(url.begin(), url.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  // A query or a password in it would be a secret in a place where secrets are shown.
  if (!scheme || rest.empty() || rest.front() == '/' || !printable_only ||
      rest.find_first_of("?#@\\") != rest.npos)
    return fail(Code::kUsage, "the setting \"endpoint\" is no URL of a blob service",
                "write https://host, or http://host:port/account for an emulator");
  return url;
}

}  // namespace

Environment process_environment() {
  return [](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') return std::nullopt;
    return value;
  };
}

bool is_loopback(std::string_view url) {
  const std::string_view rest = without_scheme(url);
  const std::string_view host =
      rest.starts_with('[') ? rest.substr(0, rest.find(']') + 1) : rest.substr(0, rest.find_first_of(":/"));
  return host == "127.0.0.1" || host == "localhost" || host == "[::1]";
}

Result<ConnectionString> parse_connection_string(std::string_view text) {
  ConnectionString out;
  std::string protocol = "https", suffix = "core.windows.net";
  for (std::string_view field : split(trim(text), ';')) {
    field = trim(field);
    if (field.empty()) continue;
    const size_t equals = field.find('=');
    if (equals == field.npos)
      return fail(Code::kUsage, "the connection string for Azure Storage has a field without a value",
                  "copy it whole: AccountName=…;AccountKey=…");
    const std::string name = to_lower(field.substr(0, equals));
    const std::string value(field.substr(equals + 1));
    if (name == "accountname") out.account = value;
    if (name == "accountkey") out.key = value;
    if (name == "sharedaccesssignature") out.sas = value;
    if (name == "blobendpoint") out.endpoint = value;
    if (name == "defaultendpointsprotocol") protocol = to_lower(value);
    if (name == "endpointsuffix") suffix = value;
    if (name == "usedevelopmentstorage")
      return fail(Code::kUsage, "the connection string names the emulator's account without its key",
                  "write AccountName, AccountKey and BlobEndpoint out");
  }
  if (out.endpoint.empty() && !out.account.empty())
    out.endpoint = fmt::format("{}://{}.blob.{}", protocol, out.account, suffix);
  if (out.account.empty() && !out.endpoint.empty()) out.account = account_of(out.endpoint);
  if (out.endpoint.empty())
    return fail(Code::kUsage, "the connection string for Azure Storage names no account",
                "copy it whole: AccountName=…;AccountKey=…");
  return out;
}

Result<Account> find_account(const Settings& settings, const Environment& environment) {
  Account out{settings.text("account"), settings.text("endpoint")};
  if (const auto text = environment("AZURE_STORAGE_CONNECTION_STRING");
      text && (out.name.empty() || out.endpoint.empty())) {
    TRY_ASSIGN(const ConnectionString connection, parse_connection_string(*text));
    // One for another account says nothing about this one.
    if (out.endpoint.empty() && (out.name.empty() || out.name == connection.account))
      out = {connection.account, connection.endpoint};
  }
  if (out.name.empty()) out.name = environment("AZURE_STORAGE_ACCOUNT").value_or("");
  if (!out.endpoint.empty()) {
    TRY_ASSIGN(out.endpoint, checked_endpoint(out.endpoint));
    if (out.name.empty()) out.name = account_of(out.endpoint);
  }
  if (out.name.empty())
    return fail(Code::kUsage, "no storage account of Azure is named",
                "write azure://container/prefix?account=NAME, or set AZURE_STORAGE_ACCOUNT");
  if (!is_account_name(out.name))
    return fail(Code::kUsage, fmt::format("\"{}\" is no name of a storage account", printable(out.name)));
  if (out.endpoint.empty()) out.endpoint = fmt::format("https://{}.blob.core.windows.net", out.name);
  return out;
}

}  // namespace azure
}  // namespace varve::store
