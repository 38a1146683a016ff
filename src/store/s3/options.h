// Everything that a store on S3 is opened with, read from the address, the settings and the environment.
#pragma once

#include <optional>

#include "base/time.h"
#include "store/place.h"
#include "store/s3/environment.h"
#include "store/s3/quirks.h"

namespace varve::store::s3 {

std::span<const Setting> s3_settings();

struct Endpoint {
  bool tls = true;
  std::string host;  // with the port, where it is not the scheme's own
  bool own = false;  // given by someone; else Amazon's, which follows the region
};

struct Options {
  std::string bucket;
  std::string prefix;  // empty, or ends in '/'
  Quirks quirks;
  Endpoint endpoint;
  bool path_style = false;
  std::string region;   // where to begin; the service may teach another
  std::string profile;  // by the setting; empty: as the environment has it
  std::string ca_file;
  std::string storage_class;
  std::string sse;  // "", "AES256" or "aws:kms"
  std::string kms_key_id;
  bool requester_pays = false;
  bool keep_versions = false;  // a removal hides, and leaves the data to the bucket's lifecycle rules
  std::optional<Timestamp> as_of;
  std::string lock_mode;  // "", "GOVERNANCE" or "COMPLIANCE"
  bool legal_hold = false;
  uint64_t part_size = uint64_t{16} << 20;
};

// Touches nothing but the two files of profiles. kUsage, with the name of the setting, for what cannot be.
Result<Options> read_options(const Place& place, const Environment& env, const Profiles& profiles);

// What may be part of a host's name: [a-z0-9-], 1 to 63 of them. For answers that name a region, too.
bool is_region(std::string_view text);

}  // namespace varve::store::s3
