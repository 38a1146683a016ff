// What a request to the blob service is authorised by, and where it comes from.
#pragma once

#include <memory>
#include <string>

#include "store/azure/tokens.h"

namespace varve::store::azure {

// Thread-safe.
class Credentials {
 public:
  // The first that is set, or the one that the setting `credential` names: key_file, sas_file,
  // $AZURE_STORAGE_CONNECTION_STRING, $AZURE_STORAGE_KEY, $AZURE_STORAGE_SAS_TOKEN, client secret, client
  // certificate, workload identity, managed identity. Nothing is asked over the network here. kUsage for
  // settings that contradict each other or name what is not there.
  static Result<std::unique_ptr<Credentials>> find(const Settings& settings, const Account& account,
                                                   const Environment& environment,
                                                   std::shared_ptr<net::HttpClient> http);

  // Adds to a request that is otherwise complete what authorises it. Returns what was used, for refused().
  Result<crypto::SecretText> authorize(const Context& ctx, net::HttpRequest& request);
  // The service refused it: the next authorize() looks for another, which is another only where it is
  // renewed.
  void refused(const crypto::SecretText& used) { secret_.drop(used); }
  // False for what never changes while the process runs.
  bool renewable() const { return renewable_; }
  // Requests carry a time that is signed.
  bool is_timed() const { return kind_ == Kind::kKey; }
  // "a token for a client's secret ($AZURE_CLIENT_SECRET)": for messages.
  const std::string& origin() const { return origin_; }

  enum class Kind { kKey, kSas, kToken };
  Credentials(Kind kind, std::string account, std::string origin, bool renewable, FetchToken fetch);

 private:
  const Kind kind_;
  const std::string account_, origin_;
  const bool renewable_;
  cloud::Expiring<crypto::SecretText> secret_;
};

}  // namespace varve::store::azure
