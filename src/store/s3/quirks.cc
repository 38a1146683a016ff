#include "store/s3/quirks.h"

#include <array>
#include <fmt/format.h>
#include <vector>

#include "base/text.h"

namespace varve::store::s3 {
namespace {

// docs/stores/s3.md repeats this for people. Where a provider's word is unclear the careful value stands: MD5
// instead of a checksum that it may refuse, a look before a put instead of a condition that it may ignore.
constexpr std::array<Quirks, 11> kAll = {{
    {.name = "aws", .host = "amazonaws.com", .region = ""},
    {.name = "aws", .host = "amazonaws.com.cn", .region = ""},
    {.name = "r2",
     .host = "r2.cloudflarestorage.com",
     .region = "auto",
     .checksums = false,
     .versions = false,
     .object_lock = false,
     .remark = "no versions; locks are rules of the bucket and not of objects"},
    {.name = "b2",
     .host = "backblazeb2.com",
     .region = "",
     .create_only = false,
     .checksums = false,
     .remark = "every bucket keeps versions; conditions are refused (501)"},
    {.name = "minio", .host = "", .region = "us-east-1", .virtual_host = false},
    {.name = "ceph",
     .host = "",
     .region = "us-east-1",
     .virtual_host = false,
     .remark = "conditions since 19; older ones ignore them in versioned buckets"},
    {.name = "gcs",
     .host = "storage.googleapis.com",
     .region = "auto",
     .create_only = false,
     .checksums = false,
     .batch_delete = false,
     .versions = false,
     .object_lock = false,
     .virtual_host = false,
     .remark = "better by gs://, which has all of these"},
    {.name = "wasabi",
     .host = "wasabisys.com",
     .region = "",
     .create_only = false,
     .checksums = false,
     .remark = "what is removed is paid for until it is 90 days old"},
    {.name = "ovh", .host = "cloud.ovh.net", .region = "", .create_only = false, .checksums = false},
    {.name = "scaleway", .host = "scw.cloud", .region = "", .checksums = false},
    {.name = "other", .host = "", .region = "us-east-1", .checksums = false, .virtual_host = false},
}};

bool is_below(std::string_view host, std::string_view domain) {
  return host == domain || (host.size() > domain.size() && host.ends_with(domain) &&
                            host[host.size() - domain.size() - 1] == '.');
}

}  // namespace

std::span<const Quirks> all_quirks() {
  return kAll;
}

Result<Quirks> quirks_of(std::string_view provider, std::string_view host) {
  std::vector<std::string> names;
  for (const Quirks& q : kAll) {
    if (provider.empty() ? !q.host.empty() && is_below(host, q.host) : q.name == provider) return q;
    if (names.empty() || names.back() != q.name) names.emplace_back(q.name);
  }
  if (provider.empty()) return kAll.back();
  return fail(Code::kUsage, fmt::format("there is no provider \"{}\"", printable(provider)),
              fmt::format("provider is one of {}", fmt::join(names, ", ")));
}

std::string region_in(const Quirks& quirks, std::string_view host) {
  if (quirks.region == "auto") return "auto";
  if (quirks.host.empty() || !is_below(host, quirks.host) || host.size() <= quirks.host.size()) return {};
  // s3.REGION.host, s3.REGION.io.host, s3.dualstack.REGION.host: the last label that is no word of theirs.
  std::string out;
  for (const std::string_view label : split(host.substr(0, host.size() - quirks.host.size() - 1), '.')) {
    if (label != "s3" && label != "s3-fips" && label != "dualstack" && label != "io" &&
        label != "accelerate" && label != "perf")
      out = label;
  }
  return out;
}

}  // namespace varve::store::s3
