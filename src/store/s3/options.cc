#include "store/s3/options.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"

namespace varve::store::s3 {
namespace {

constexpr Setting kSettings[] = {
    {"region", "NAME",
     "where the bucket is, such as eu-west-1 (AWS_REGION, the profile's, or the endpoint's)"},
    {"endpoint", "URL", "another service than Amazon's: https://host, or http://host:port, unprotected"},
    {"provider", "NAME",
     "aws, r2, b2, minio, ceph, gcs, wasabi, ovh, scaleway, other (told by the endpoint)"},
    {"path_style", "true|false", "address the bucket as host/bucket and not as bucket.host"},
    {"profile", "NAME", "of ~/.aws/config and ~/.aws/credentials (AWS_PROFILE, or default)"},
    {"storage_class", "NAME", "such as STANDARD_IA; only classes that are read without a delay"},
    {"sse", "s3|kms", "encryption by the service, with its own key or one of its key store"},
    {"kms_key_id", "ID", "which key, with sse = kms"},
    {"requester_pays", "true|false", "the bucket's reader pays for requests"},
    {"keep_versions", "true|false", "a removal only hides: the bucket's lifecycle rules remove the versions"},
    {"as_of", "TIME", "read only, as a bucket with versions was at that moment (RFC 3339)"},
    {"object_lock_mode", "governance|compliance", "lock objects; the bucket must have Object Lock"},
    {"legal_hold", "true|false", "put a legal hold on every new object"},
    {"ca_file", "FILE", "certificates to trust in place of the system's (AWS_CA_BUNDLE)"},
    {"part_size", "SIZE", "of the parts in which large objects are sent; 5MiB or more, 16MiB by itself"},
};

constexpr uint64_t kLeastPart = uint64_t{5} << 20;
constexpr uint64_t kMostPart = uint64_t{1} << 30;

tl::unexpected<Error> bad(std::string_view setting, std::string_view value, std::string_view why) {
  return fail(Code::kUsage, fmt::format("{} = \"{}\": {}", setting, printable(value.substr(0, 200)), why));
}

bool all_of(std::string_view text, std::string_view more) {
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || more.find(c) != more.npos;
  });
}

Result<> check_bucket(const std::string& bucket) {
  const bool fit = bucket.size() >= 3 && bucket.size() <= 63 &&
                   all_of(bucket, "-._ABCDEFGHIJKLMNOPQRSTUVWXYZ") && bucket.front() != '.' &&
                   bucket.front() != '-' && bucket.back() != '.' && bucket.back() != '-' &&
                   bucket.find("..") == bucket.npos;
  if (fit) return {};
  return fail(Code::kUsage, fmt::format("\"{}\" is no name of a bucket", printable(bucket.substr(0, 100))),
              "buckets have 3 to 63 of a-z 0-9 - . in their name");
}

Result<std::string> read_prefix(const std::string& path) {
  if (path.empty()) return std::string();
  for (const std::string_view segment : split(path, '/')) {
    const bool odd = segment.empty() || segment == "." || segment == ".." ||
                     std::any_of(segment.begin(), segment.end(),
                                 [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
    if (odd || path.size() > 400)
      return fail(Code::kUsage,
                  fmt::format("\"{}\" is no prefix for objects", printable(path.substr(0, 400))));
  }
  return path + "/";
}

// A bucket's name that can stand before a host's under its certificate: no capitals, no dots.
bool fits_host(const std::string& bucket) {
  return all_of(bucket, "-");
}

// An IP address, or a name that only its own network knows.
bool is_address(std::string_view host) {
  if (host.starts_with('[')) return true;
  host = host.substr(0, host.find(':'));
  return host == "localhost" || host.find('.') == host.npos ||
         std::all_of(host.begin(), host.end(), [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
}

Result<Endpoint> read_endpoint(const std::string& text) {
  Endpoint out;
  out.own = true;
  out.host = to_lower(text);
  if (out.host.starts_with("http://")) {
    out.tls = false;
    out.host.erase(0, 7);
  } else if (out.host.starts_with("https://")) {
    out.host.erase(0, 8);
  }
  if (out.host.ends_with('/')) out.host.pop_back();
  const size_t colon = out.host.find(':', out.host.starts_with('[') ? out.host.find(']') : 0);
  const std::string name = out.host.substr(0, colon);
  const std::string port = colon == out.host.npos ? (out.tls ? "443" : "80") : out.host.substr(colon + 1);
  const bool is_port = !port.empty() && port.size() <= 5 &&
                       std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; }) &&
                       std::stoul(port) <= 65535;
  const bool is_name = !name.empty() && all_of(name, name.starts_with('[') ? "[]:" : "-._") &&
                       name.find("..") == name.npos && name.starts_with('[') == name.ends_with(']');
  if (!is_name || !is_port)
    return bad("endpoint", text, "it is not https://host[:port] or http://host[:port]");
  // As the Host header has it.
  if (std::stoul(port) == (out.tls ? 443 : 80)) out.host = name;
  return out;
}

std::string first_of(std::initializer_list<std::string> texts) {
  for (const std::string& text : texts)
    if (!text.empty()) return text;
  return {};
}

Result<> read_locks(const Settings& settings, Options* out) {
  const std::string mode = to_lower(settings.text("object_lock_mode"));
  if (mode == "governance") {
    out->lock_mode = "GOVERNANCE";
  } else if (mode == "compliance") {
    out->lock_mode = "COMPLIANCE";
  } else if (!mode.empty()) {
    return bad("object_lock_mode", mode, "it is governance or compliance");
  }
  TRY_ASSIGN(out->legal_hold, settings.flag("legal_hold", false));
  if (!out->quirks.object_lock && (out->legal_hold || !mode.empty()))
    return fail(Code::kUsage, fmt::format("{} has no Object Lock as S3 has it", out->quirks.name));
  TRY_ASSIGN(out->keep_versions, settings.flag("keep_versions", false));
  if (const std::string as_of = settings.text("as_of"); !as_of.empty()) {
    auto at = parse_rfc3339(as_of);
    if (!at) return fail(std::move(at).error().with_context("as_of"));
    if (!out->quirks.versions)
      return fail(Code::kUsage, fmt::format("as_of: {} keeps no versions as S3 does", out->quirks.name));
    out->as_of = *at;
  }
  return {};
}

Result<> read_storage(const Settings& settings, Options* out) {
  out->storage_class = settings.text("storage_class");
  std::string capitals;
  for (const char c : out->storage_class)
    capitals += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  out->storage_class = capitals;
  if (!all_of(to_lower(capitals), "_-"))
    return bad("storage_class", capitals, "it is a name such as STANDARD_IA");
  if (capitals == "GLACIER" || capitals == "DEEP_ARCHIVE")
    return bad("storage_class", capitals,
               "its objects cannot be read before they are brought back; GLACIER_IR can");
  const std::string sse = to_lower(settings.text("sse"));
  out->kms_key_id = settings.text("kms_key_id");
  if (sse == "s3") {
    out->sse = "AES256";
  } else if (sse == "kms") {
    out->sse = "aws:kms";
  } else if (!sse.empty()) {
    return bad("sse", sse, "it is s3 or kms");
  }
  if (!out->kms_key_id.empty() && out->sse != "aws:kms")
    return fail(Code::kUsage, "kms_key_id is set, and sse is not kms");
  if (!all_of(to_lower(out->kms_key_id), "-:/_."))
    return bad("kms_key_id", out->kms_key_id, "it is no key's name");
  TRY_ASSIGN(out->requester_pays, settings.flag("requester_pays", false));
  TRY_ASSIGN(out->part_size, settings.size("part_size", out->part_size));
  if (out->part_size < kLeastPart || out->part_size > kMostPart)
    return bad("part_size", settings.text("part_size"), "it is from 5MiB to 1GiB");
  return {};
}

}  // namespace

std::span<const Setting> s3_settings() {
  return kSettings;
}

bool is_region(std::string_view text) {
  return !text.empty() && text.size() <= 63 && all_of(text, "-") && text.front() != '-' && text.back() != '-';
}

Result<Options> read_options(const Place& place, const Environment& env, const Profiles& profiles) {
  const Settings& settings = place.settings;
  Options out;
  out.bucket = place.authority;
  TRY_OK(check_bucket(out.bucket));
  TRY_ASSIGN(out.prefix, read_prefix(place.path));
  out.profile = settings.text("profile");
  const auto profile =
      profiles.find(first_of({out.profile, env("AWS_PROFILE"), "default"})).value_or(IniSection{});
  const auto in_profile = [&](const char* name) {
    const auto at = profile.find(name);
    return at == profile.end() ? std::string() : at->second;
  };

  const std::string endpoint = first_of({settings.text("endpoint"), env("AWS_ENDPOINT_URL_S3"),
                                         env("AWS_ENDPOINT_URL"), in_profile("endpoint_url")});
  if (!endpoint.empty()) {
    TRY_ASSIGN(out.endpoint, read_endpoint(endpoint));
  }
  const std::string host_name = out.endpoint.host.substr(0, out.endpoint.host.find(':'));
  TRY_ASSIGN(out.quirks, quirks_of(settings.text("provider", endpoint.empty() ? "aws" : ""), host_name));
  if (endpoint.empty() && out.quirks.name != "aws")
    return fail(Code::kUsage, fmt::format("provider = \"{}\" needs the endpoint's address", out.quirks.name),
                "set endpoint = \"https://…\", as the provider's documentation gives it");

  out.region = first_of({settings.text("region"), region_in(out.quirks, host_name), env("AWS_REGION"),
                         env("AWS_DEFAULT_REGION"), in_profile("region"), std::string(out.quirks.region),
                         "us-east-1"});
  if (!is_region(out.region)) return bad("region", out.region, "it is no region's name");
  // A certificate for *.host does not cover a.b.host, and an address has no names below it.
  const bool has_name = fits_host(out.bucket) && (endpoint.empty() || !is_address(out.endpoint.host));
  TRY_ASSIGN(out.path_style, settings.flag("path_style", !out.quirks.virtual_host));
  out.path_style = out.path_style || !has_name;
  out.ca_file = first_of({settings.text("ca_file"), env("AWS_CA_BUNDLE"), in_profile("ca_bundle")});
  TRY_OK(read_locks(settings, &out));
  TRY_OK(read_storage(settings, &out));
  return out;
}

}  // namespace varve::store::s3
