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
  // The service refused it: the next authorize() looks for another.
  void refused(const crypto::SecretText& used) { secret_.drop(used); }
  // Whether there is one by now. For a token or the content of a file.
  Result<bool> is_other(const Context& ctx, const crypto::SecretText& used);
  // Whether a refused one may be followed by a better. `unproven`: the service does not know who asks, and
  // does not only forbid what was asked; a token says no more about the latter when it is new, a file may.
  bool may_renew(bool unproven) const { return renewable_ && (unproven || kind_ != Kind::kToken); }
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
