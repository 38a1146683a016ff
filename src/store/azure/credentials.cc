#include "store/azure/credentials.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"
#include "os/file.h"
#include "store/azure/shared_key.h"

namespace varve::store::azure {
namespace {

using crypto::SecretText;
using Kind = Credentials::Kind;

constexpr size_t kMostSecret = 16 << 10;
constexpr std::array<std::string_view, 7> kKinds = {
    "auto", "key", "sas", "client_secret", "client_certificate", "workload_identity", "managed_identity"};

Result<SecretText> checked_key(std::string_view base64) {
  auto key = crypto::from_base64(trim(base64));
  if (!key || key->empty())
    return fail(Code::kUsage, "the storage account's key is not base64",
                "copy key1 or key2 of the account, whole");
  crypto::wipe(*key);
  return SecretText(std::string(trim(base64)));
}

Result<SecretText> checked_sas(std::string_view text) {
  text = trim(text);
  if (text.starts_with('?')) text.remove_prefix(1);
  const bool fine =
      std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f && c != '#'; });
  const bool is_signed = text.starts_with("sig=") || text.find("&sig=") != text.npos;
  if (!fine || !is_signed)
    return fail(Code::kUsage, "the shared access signature is none: it has no \"sig=\"",
                "copy the token, \"sv=…&sig=…\", not the address before it");
  return SecretText(std::string(text));
}

FetchToken constant(SecretText value) {
  return [value = std::move(value)](const Context&) -> Result<Token> { return Token{value, std::nullopt}; };
}

Result<SecretText> read_checked(const std::string& file, Kind kind) {
  TRY_ASSIGN(const auto status, os::status(file));
  if (status && status->is_regular && (status->mode & 077) != 0)
    log::warn("{} can be read by others: chmod 600 {}", printable(file), printable(file));
  TRY_ASSIGN(Buffer bytes, os::read_file(file, kMostSecret));
  auto out = kind == Kind::kKey ? checked_key(as_text(bytes)) : checked_sas(as_text(bytes));
  crypto::wipe(bytes);
  if (!out) return fail(std::move(out).error().with_context("while reading " + printable(file)));
  return out;
}

FetchToken from_file(std::string file, Kind kind) {
  return [file = std::move(file), kind](const Context&) -> Result<Token> {
    TRY_ASSIGN(SecretText value, read_checked(file, kind));
    return Token{std::move(value), std::nullopt};
  };
}

// Looks in one place after the other. `kind`: what the setting `credential` asks for.
class Search {
 public:
  Search(const Settings& settings, const Account& account, const Environment& environment,
         std::shared_ptr<net::HttpClient> http)
      : settings_(settings),
        account_(account),
        environment_(environment),
        http_(std::move(http)),
        kind_(settings.text("credential", "auto")) {}

  Result<std::unique_ptr<Credentials>> run() {
    if (std::find(kKinds.begin(), kKinds.end(), kind_) == kKinds.end())
      return fail(Code::kUsage, fmt::format("there is no credential \"{}\"", printable(kind_)),
                  fmt::format("one of {}", fmt::join(kKinds, ", ")));
    if (settings_.all().contains("key_file") && settings_.all().contains("sas_file"))
      return fail(Code::kUsage, "both key_file and sas_file are set", "set one of them");
    for (const auto step : {&Search::files, &Search::connection_string, &Search::key, &Search::sas}) {
      TRY_ASSIGN(auto found, (this->*step)());
      if (found) return found;
    }
    TRY_ASSIGN(auto found, by_login());
    if (found) return found;
    if (!wants("managed_identity"))
      return fail(Code::kUsage,
                  fmt::format("the setting credential = \"{}\" is set, but nothing to use for it", kind_),
                  "docs/stores/azure.md lists where each is looked for");
    return make(Kind::kToken, "the identity of this machine", true,
                tokens_by_identity(settings_.text("client_id", environment_("AZURE_CLIENT_ID").value_or("")),
                                   environment_, kind_ == "managed_identity"));
  }

 private:
  using Found = Result<std::unique_ptr<Credentials>>;

  bool wants(std::string_view kind) const { return kind_ == "auto" || kind_ == kind; }

  std::unique_ptr<Credentials> make(Kind kind, std::string origin, bool renewable, FetchToken fetch) const {
    return std::make_unique<Credentials>(kind, account_.name, std::move(origin), renewable, std::move(fetch));
  }

  Found files() {
    for (const auto& [setting, word, kind] :
         {std::tuple{"key_file", "key", Kind::kKey}, std::tuple{"sas_file", "sas", Kind::kSas}}) {
      const std::string file = settings_.text(setting);
      if (file.empty() || !wants(word)) continue;
      TRY_OK(read_checked(file, kind));  // a mistake shows before the first request
      return make(kind, fmt::format("the {} in {}", word, printable(file)), true, from_file(file, kind));
    }
    return nullptr;
  }

  Found connection_string() {
    const auto text = environment_("AZURE_STORAGE_CONNECTION_STRING");
    if (!text || !(wants("key") || wants("sas"))) return nullptr;
    TRY_ASSIGN(const ConnectionString connection, parse_connection_string(*text));
    if (connection.account != account_.name) return nullptr;
    if (!connection.key.empty() && wants("key")) {
      TRY_ASSIGN(SecretText key, checked_key(connection.key));
      return make(Kind::kKey, "the key in $AZURE_STORAGE_CONNECTION_STRING", false, constant(std::move(key)));
    }
    if (!connection.sas.empty() && wants("sas")) {
      TRY_ASSIGN(SecretText sas, checked_sas(connection.sas));
      return make(Kind::kSas, "the signature in $AZURE_STORAGE_CONNECTION_STRING", false,
                  constant(std::move(sas)));
    }
    return nullptr;
  }

  // The variables are for the account that $AZURE_STORAGE_ACCOUNT names, where it names one.
  bool for_this_account() const {
    return environment_("AZURE_STORAGE_ACCOUNT").value_or(account_.name) == account_.name;
  }

  Found key() {
    const auto text = environment_("AZURE_STORAGE_KEY");
    if (!text || !wants("key") || !for_this_account()) return nullptr;
    TRY_ASSIGN(SecretText key, checked_key(*text));
    return make(Kind::kKey, "the key in $AZURE_STORAGE_KEY", false, constant(std::move(key)));
  }

  Found sas() {
    const auto text = environment_("AZURE_STORAGE_SAS_TOKEN");
    if (!text || !wants("sas") || !for_this_account()) return nullptr;
    TRY_ASSIGN(SecretText sas, checked_sas(*text));
    return make(Kind::kSas, "the signature in $AZURE_STORAGE_SAS_TOKEN", false, constant(std::move(sas)));
  }

  Found by_login() {
    TRY_ASSIGN(const Login login, find_login(settings_, environment_));
    if (login.tenant.empty() || login.client_id.empty()) return nullptr;
    if (const auto secret = environment_("AZURE_CLIENT_SECRET"); secret && wants("client_secret"))
      return make(Kind::kToken, "a token for the client's secret in $AZURE_CLIENT_SECRET", true,
                  tokens_by_secret(http_, login, SecretText(*secret)));
    if (const auto file = environment_("AZURE_CLIENT_CERTIFICATE_PATH"); file && wants("client_certificate"))
      return make(Kind::kToken, fmt::format("a token for the client's certificate in {}", printable(*file)),
                  true, tokens_by_certificate(http_, login, *file));
    if (const auto file = environment_("AZURE_FEDERATED_TOKEN_FILE"); file && wants("workload_identity"))
      return make(Kind::kToken, fmt::format("a token for the workload's in {}", printable(*file)), true,
                  tokens_by_federation(http_, login, *file));
    return nullptr;
  }

  const Settings& settings_;
  const Account& account_;
  const Environment& environment_;
  const std::shared_ptr<net::HttpClient> http_;
  const std::string kind_;
};

}  // namespace

Credentials::Credentials(Kind kind, std::string account, std::string origin, bool renewable, FetchToken fetch)
    : kind_(kind),
      account_(std::move(account)),
      origin_(std::move(origin)),
      renewable_(renewable),
      secret_(std::move(fetch)) {}

Result<std::unique_ptr<Credentials>> Credentials::find(const Settings& settings, const Account& account,
                                                       const Environment& environment,
                                                       std::shared_ptr<net::HttpClient> http) {
  TRY_ASSIGN(auto found, Search(settings, account, environment, std::move(http)).run());
  // Whoever reads along could use these as well; a shared key only signs.
  if (found->kind_ != Kind::kKey && !account.endpoint.starts_with("https://") &&
      !is_loopback(account.endpoint))
    return fail(Code::kUsage,
                fmt::format("{} would be sent to {} without encryption", found->origin_, account.endpoint),
                "write an endpoint with https://");
  log::debug("Azure: {} of {} by {}", account.endpoint, account.name, found->origin_);
  return found;
}

Result<SecretText> Credentials::authorize(const Context& ctx, net::HttpRequest& request) {
  TRY_ASSIGN(SecretText secret, secret_.get(ctx));
  switch (kind_) {
    case Kind::kKey: {
      TRY_ASSIGN(Buffer key, crypto::from_base64(secret.text()));
      request.headers.push_back({"Authorization", shared_key_authorization(request, account_, key)});
      crypto::wipe(key);
      break;
    }
    case Kind::kSas:
      request.url += request.url.find('?') == std::string::npos ? '?' : '&';
      request.url += secret.text();
      break;
    case Kind::kToken:
      request.headers.push_back({"Authorization", "Bearer " + std::string(secret.text())});
      break;
  }
  return secret;
}

}  // namespace varve::store::azure
