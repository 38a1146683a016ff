// The answers of S3 and STS, read from XML that nobody vouches for: sizes are bounded, and what is missing or
// makes no sense is an error (kUnreachable; the caller says of what).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"
#include "store/s3/sigv4.h"

namespace varve::store::s3 {

struct ErrorAnswer {
  std::string code, message;
  std::string region;  // where the bucket is, when that was the mistake
};
// nullopt when the body is no <Error>.
std::optional<ErrorAnswer> parse_error(ByteView body);

struct ListedObject {
  std::string key;
  uint64_t size = 0;
  Timestamp modified = {};
};
struct ListAnswer {
  std::vector<ListedObject> objects;
  std::string next;  // the continuation token; empty: the end
};
Result<ListAnswer> parse_list(ByteView body);

struct ListedVersion {
  std::string key, version;
  uint64_t size = 0;
  Timestamp modified = {};
  bool delete_marker = false;
};
struct VersionsAnswer {
  std::vector<ListedVersion> versions;  // by key; those of a key from the newest to the oldest
  bool more = false;
  std::string next_key, next_version;  // with `more`
};
Result<VersionsAnswer> parse_versions(ByteView body);

struct DeleteAnswer {
  struct One {
    std::string key, version;
    std::string code, message;  // empty: done
  };
  std::vector<One> each;
};
Result<DeleteAnswer> parse_delete(ByteView body);

Result<std::string> parse_upload_id(ByteView body);  // of CreateMultipartUpload
Result<std::string> parse_complete(ByteView body);   // the ETag of CompleteMultipartUpload

struct PendingUpload {
  std::string key, id;
  Timestamp started = {};
};
struct UploadsAnswer {
  std::vector<PendingUpload> uploads;
  bool more = false;
  std::string next_key, next_id;  // with `more`
};
Result<UploadsAnswer> parse_uploads(ByteView body);

// Whether the bucket keeps, or kept, versions.
Result<bool> parse_versioning(ByteView body);
// Whether the bucket has Object Lock.
Result<bool> parse_lock_configuration(ByteView body);

struct Retention {
  std::string mode;  // "GOVERNANCE" or "COMPLIANCE"
  Timestamp until = {};
};
Result<Retention> parse_retention(ByteView body);

struct StsAnswer {
  Credentials credentials;
  Timestamp expires = {};
};
Result<StsAnswer> parse_sts(ByteView body);                 // AssumeRole and AssumeRoleWithWebIdentity
std::optional<ErrorAnswer> parse_sts_error(ByteView body);  // nullopt when it is none

// Text for an element's content.
std::string xml_escaped(std::string_view text);

}  // namespace varve::store::s3
