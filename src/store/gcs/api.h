// Requests to the JSON API of Google Cloud Storage, for one bucket: addresses, authorization, what errors
// mean.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "net/http.h"
#include "store/cloud/expiring.h"
#include "store/gcs/answers.h"
#include "store/gcs/credentials.h"

namespace varve::store::gcs {

struct Options {
  std::string endpoint = "https://storage.googleapis.com";  // without a '/' at its end
  std::string bucket, prefix;                               // prefix: empty, or ends in '/'
  std::string storage_class = {}, kms_key = {}, user_project = {};
  std::optional<bool> lock_retention = {};  // the setting `retention`; nullopt: not said
  bool keep_versions = false;
  std::optional<Timestamp> as_of = {};
  std::string ca_file = {};
  uint64_t resumable_from = uint64_t{16} << 20;  // bytes of a body
};

// "name=value&…", percent-encoded.
class Query {
 public:
  Query& add(std::string_view name, std::string_view value);
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// Thread-safe.
class Api {
 public:
  Api(Options options, std::unique_ptr<TokenSource> source);

  const Options& options() const { return options_; }
  std::string describe() const;  // "gs://bucket/prefix"
  // An object's whole name, from its key.
  std::string name(std::string_view key) const { return options_.prefix + std::string(key); }

  // userProject is added to the query where it is set.
  std::string object_url(std::string_view name, Query query = {}) const;
  std::string objects_url(Query query) const;
  std::string upload_url(Query query) const;
  std::string bucket_url(Query query) const;

  // With an access token; when that is refused (401), once more with a new one.
  Result<net::HttpResponse> send(const Context& ctx, net::HttpRequest request,
                                 const net::HttpSink& sink = {});
  // Without one: an upload's session is its own proof. The URL must be one that session_is_ours() accepts.
  Result<net::HttpResponse> send_to_session(const Context& ctx, const net::HttpRequest& request);
  // The session lies with whom we asked, or with Google: bodies go nowhere else.
  bool session_is_ours(std::string_view url) const;

  // An answer that is no success.
  Error error_of(const net::HttpResponse& answer, const std::string& doing) const;

  // What is known of the bucket; asked for once. Nothing (nullopt) where we may not ask.
  Result<std::optional<BucketAnswer>> bucket(const Context& ctx);
  // The same without asking: nullopt also when nobody asked yet.
  std::optional<BucketAnswer> known_bucket() const;

 private:
  std::string with_project(std::string url, Query query) const;

  const Options options_;
  const std::shared_ptr<TokenSource> source_;
  net::HttpClient http_;
  cloud::Expiring<std::string> token_;
  mutable std::mutex mutex_;
  bool bucket_asked_ = false;
  std::optional<BucketAnswer> bucket_;
};

}  // namespace varve::store::gcs
