// What the services that speak S3 do otherwise than Amazon's own.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace varve::store::s3 {

struct Quirks {
  std::string_view name;         // as the setting `provider` has it
  std::string_view host;         // the end of its endpoints' names; empty: known by the setting only
  std::string_view region;       // where nothing else tells; "auto" always
  bool create_only = true;       // PUT and CompleteMultipartUpload honour If-None-Match: *
  bool checksums = true;         // takes x-amz-checksum-crc32c; else Content-MD5
  bool batch_delete = true;      // DeleteObjects
  bool versions = true;          // GetBucketVersioning, ListObjectVersions and versionId as S3 has them
  bool object_lock = true;       // the x-amz-object-lock-… headers
  bool virtual_host = true;      // bucket.host/key; else host/bucket/key
  std::string_view remark = {};  // for the documentation
};

std::span<const Quirks> all_quirks();

// By the setting (kUsage for a name that is not known), else by the endpoint's host; what neither tells is
// "other", of which little is taken for granted.
Result<Quirks> quirks_of(std::string_view provider, std::string_view host);

// The region in a host such as "s3.eu-west-1.amazonaws.com"; empty: not to be seen.
std::string region_in(const Quirks& quirks, std::string_view host);

}  // namespace varve::store::s3
