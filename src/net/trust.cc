#include "net/trust.h"

#include <fmt/format.h>
#include <openssl/err.h>

#include "base/text.h"

namespace varve::net {

// libcurl would read the system's hundred and more authorities, which takes tens of milliseconds, for each
// line, and could not be interrupted there.
Result<> Trust::set_up(CURL* easy) {
  std::lock_guard lock(mutex_);
  if (!store_) {
    TRY_ASSIGN(store_, read());
  }
  CURLcode code = curl_easy_setopt(easy, CURLOPT_CAINFO, static_cast<char*>(nullptr));
  if (code == CURLE_OK) code = curl_easy_setopt(easy, CURLOPT_CAPATH, static_cast<char*>(nullptr));
  if (code == CURLE_OK) {
    code = curl_easy_setopt(
        easy, CURLOPT_SSL_CTX_FUNCTION, +[](CURL*, void* context, void* store) {
          SSL_CTX_set1_cert_store(static_cast<SSL_CTX*>(context), static_cast<X509_STORE*>(store));
          return CURLE_OK;
        });
  }
  if (code == CURLE_OK) code = curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, store_.get());
  if (code != CURLE_OK)
    return fail(Code::kInternal, fmt::format("libcurl refused an option: {}", curl_easy_strerror(code)));
  return {};
}

Result<Trust::Store> Trust::read() const {
  Store store(X509_STORE_new());
  if (!store) return fail(Code::kInternal, "no memory for certificates");
  // A certificate that was named is trusted, whether or not it is its own issuer.
  X509_STORE_set_flags(store.get(), X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN);
  bool read = false;
  if (!ca_file_.empty()) {
    read = X509_STORE_load_file(store.get(), ca_file_.c_str()) == 1;
  } else {
    // Where libcurl would look. A system may have only one of them.
    const curl_version_info_data* library = curl_version_info(CURLVERSION_NOW);
    if (library->cainfo != nullptr) X509_STORE_load_file(store.get(), library->cainfo);
    if (library->capath != nullptr) X509_STORE_load_path(store.get(), library->capath);
    read = true;  // with none of them, what a server shows is refused, which tells more
  }
  ERR_clear_error();
  if (read) return store;
  return fail(Code::kUsage, fmt::format("the authorities in {} cannot be read", printable(ca_file_)),
              "look at ca_file: certificates in PEM, readable for this user");
}

}  // namespace varve::net
