// The authorities whose certificates are trusted, read once for all connections of a client.
#pragma once

#include <curl/curl.h>
#include <memory>
#include <mutex>
#include <openssl/ssl.h>
#include <string>

#include "base/error.h"

namespace varve::net {

// Thread-safe.
class Trust {
 public:
  // ca_file: PEM, in place of the system's authorities; empty: those.
  explicit Trust(std::string ca_file) : ca_file_(std::move(ca_file)) {}

  // The handle's connections trust these, and no others. Reads them at the first call: kUsage when ca_file
  // cannot be read. Must outlive the handle's request.
  Result<> set_up(CURL* easy);

 private:
  struct Free {
    void operator()(X509_STORE* store) const { X509_STORE_free(store); }
  };
  using Store = std::unique_ptr<X509_STORE, Free>;

  Result<Store> read() const;

  const std::string ca_file_;
  std::mutex mutex_;
  Store store_;
};

}  // namespace varve::net
