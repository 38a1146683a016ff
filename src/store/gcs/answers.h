// What Google's servers answer, taken apart. kDamaged for what is not such an answer; the reason is one that
// may be shown.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "net/http.h"

namespace varve::store::gcs {

struct Retention {
  bool locked = false;
  Timestamp until = {};
};

// An object resource. Only what was asked for by `fields` is there.
struct ObjectAnswer {
  std::string name;
  uint64_t size = 0;
  uint64_t generation = 0, metageneration = 0;
  std::optional<uint32_t> crc32c = {};
  Timestamp created = {};
  std::optional<Timestamp> deleted = {};      // of a version that is not live any more
  std::optional<Retention> retention = {};    // its own
  std::optional<Timestamp> retained_by = {};  // its own and its bucket's, the later
};
inline constexpr std::string_view kObjectFields =
    "name,size,generation,metageneration,crc32c,timeCreated,timeDeleted,retention,retentionExpirationTime";
Result<ObjectAnswer> parse_object(std::string_view json);

struct ListAnswer {
  std::vector<ObjectAnswer> objects;
  std::string next;
};
// The names are not trusted: see check_listing().
Result<ListAnswer> parse_list(std::string_view json);
// Names begin with the prefix and ascend; of versions, equal names may follow each other.
Result<> check_listing(const ListAnswer& list, std::string_view prefix, bool versions);

struct BucketAnswer {
  bool versioning = false;
  bool object_retention = false;
};
Result<BucketAnswer> parse_bucket(std::string_view json);

struct ErrorAnswer {
  std::string reason;   // "conditionNotMet"
  std::string message;  // for people
};
// nullopt where the body is no error of the JSON API.
std::optional<ErrorAnswer> parse_error(std::string_view json);

struct TokenAnswer {
  std::string token;
  std::chrono::seconds lasts{0};
};
// Of a token endpoint, or of the metadata server.
Result<TokenAnswer> parse_token(std::string_view json);
// Of the impersonation of a service account: until when, not how long.
struct ImpersonatedAnswer {
  std::string token;
  Timestamp expires = {};
};
Result<ImpersonatedAnswer> parse_impersonated(std::string_view json);
// "invalid_grant: the description", of a token endpoint that refused; empty where it says nothing.
std::string parse_refusal(std::string_view json);

// What goes into an Authorization header: visible characters, and not too many.
bool is_token(std::string_view text);

// "crc32c=n03x6A==" among the x-goog-hash headers.
std::optional<uint32_t> stored_crc32c(const net::HttpResponse& answer);
std::string crc32c_text(uint32_t crc);
std::optional<uint32_t> parse_crc32c(std::string_view base64);

struct ContentRange {
  uint64_t first = 0, last = 0, size = 0;
};
// "bytes 0-99/1234"
std::optional<ContentRange> parse_content_range(std::string_view text);
// "bytes */1234", of an answer 416.
std::optional<uint64_t> parse_unsatisfied_range(std::string_view text);
// "bytes=0-524287", of an answer 308: how many bytes are there. nullopt for anything else.
std::optional<uint64_t> parse_received(std::string_view text);
std::optional<uint64_t> parse_digits(std::string_view text);

}  // namespace varve::store::gcs
