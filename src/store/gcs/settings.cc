// From an address and settings to options, and what must be granted.
#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/text.h"
#include "store/gcs/gcs_store.h"
#include "store/gcs/token_request.h"

namespace varve::store {

using namespace gcs;

namespace {

constexpr std::array kSettings = {
    Setting{"credentials_file", "FILE",
            "a service account's key or another credentials file; without it, where Google's own tools look"},
    Setting{"storage_class", "NAME",
            "of new objects: STANDARD, NEARLINE, COLDLINE or ARCHIVE; without it, the bucket's"},
    Setting{"kms_key", "NAME", "encrypt new objects by this Cloud KMS key: projects/…/cryptoKeys/NAME"},
    Setting{"retention", "unlocked|locked",
            "how objects under retention are held: so that some may still release them, or nobody"},
    Setting{"keep_versions", "true|false",
            "a removal only hides: the bucket's lifecycle rules remove the versions"},
    Setting{"user_project", "NAME", "the project to be billed, for buckets whose reader pays"},
    Setting{"as_of", "TIME", "read-only: what the bucket's versions say was there at this moment"},
    Setting{"endpoint", "URL", "another address of the service (default: https://storage.googleapis.com)"},
    Setting{"ca_file", "FILE", "certificates to trust instead of the system's"},
};

constexpr size_t kMostPrefix = 400;  // names have 1024 bytes at most
constexpr std::array<std::string_view, 4> kClasses = {"STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"};

Result<> check_bucket(const std::string& name) {
  const bool good =
      name.size() >= 3 && name.size() <= 222 && std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
      });
  if (good) return {};
  return fail(Code::kUsage, fmt::format("\"{}\" is no name of a bucket", printable(name)),
              "names of buckets are lower-case letters, digits, '-', '_' and '.'");
}

// Wider than a key: others may have named it.
Result<std::string> prefix_from(const std::string& path) {
  if (path.empty()) return std::string();
  bool odd = path.size() > kMostPrefix || path.starts_with(".well-known/");
  for (const std::string_view segment : split(path, '/')) {
    odd = odd || segment.empty() || segment == "." || segment == ".." ||
          std::any_of(segment.begin(), segment.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  }
  if (!odd) return path + "/";
  return fail(Code::kUsage,
              fmt::format("\"{}\" is no prefix for objects", printable(path.substr(0, kMostPrefix))));
}

Result<std::string> endpoint_from(std::string text) {
  while (text.ends_with('/')) text.pop_back();
  const bool encrypted = text.starts_with("https://");
  const size_t host = encrypted ? 8 : 7;
  if ((!encrypted && !is_loopback_http(text)) || text.size() == host ||
      text.find_first_of("/?#@ ", host) != text.npos)
    return fail(Code::kUsage, fmt::format("the endpoint \"{}\" cannot be used", printable(text)),
                "write https://host or https://host:port, without a path; http only for this machine");
  return text;
}

}  // namespace

std::span<const Setting> gcs_settings() {
  return kSettings;
}

Result<Options> GcsStore::read_options(const Place& place) {
  const Settings& set = place.settings;
  Options out;
  TRY_OK(check_bucket(place.authority));
  out.bucket = place.authority;
  TRY_ASSIGN(out.prefix, prefix_from(place.path));
  TRY_ASSIGN(out.endpoint, endpoint_from(set.text("endpoint", out.endpoint)));
  out.storage_class = set.text("storage_class");
  std::transform(out.storage_class.begin(), out.storage_class.end(), out.storage_class.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
  if (!out.storage_class.empty() &&
      std::find(kClasses.begin(), kClasses.end(), out.storage_class) == kClasses.end())
    return fail(Code::kUsage, fmt::format("storage_class = \"{}\" is none", printable(out.storage_class)),
                fmt::format("one of {}", fmt::join(kClasses, ", ")));
  out.kms_key = set.text("kms_key");
  if (!out.kms_key.empty() &&
      (!out.kms_key.starts_with("projects/") || out.kms_key.find("/cryptoKeys/") == out.kms_key.npos))
    return fail(Code::kUsage, fmt::format("kms_key = \"{}\" is no Cloud KMS key", printable(out.kms_key)),
                "write projects/PROJECT/locations/PLACE/keyRings/RING/cryptoKeys/KEY");
  const std::string retention = set.text("retention");
  if (!retention.empty() && retention != "locked" && retention != "unlocked")
    return fail(Code::kUsage,
                fmt::format("retention = \"{}\" is neither unlocked nor locked", printable(retention)));
  if (!retention.empty()) out.lock_retention = retention == "locked";
  TRY_ASSIGN(out.keep_versions, set.flag("keep_versions", false));
  out.user_project = set.text("user_project");
  if (const std::string as_of = set.text("as_of"); !as_of.empty()) {
    auto moment = parse_rfc3339(as_of);
    if (!moment) return fail(std::move(moment).error().with_context("as_of"));
    if (*moment > now())
      return fail(Code::kUsage, fmt::format("as_of = {} is in the future", to_rfc3339(*moment)));
    out.as_of = *moment;
  }
  out.ca_file = set.text("ca_file");
  return out;
}

Result<StorePtr> GcsStore::open(const Context& ctx, const Place& place) {
  TRY_OK(ctx.check());
  TRY_ASSIGN(Options options, read_options(place));
  TRY_ASSIGN(auto source, find_credentials({place.settings.text("credentials_file"), options.ca_file}));
  return std::make_shared<GcsStore>(std::move(options), std::move(source));
}

std::string GcsStore::policy() const {
  const Options& options = api_.options();
  std::vector<std::string_view> permissions = {"storage.objects.get", "storage.objects.list"};
  if (!options.as_of)
    permissions.insert(permissions.end(), {"storage.objects.create", "storage.objects.delete"});
  permissions.push_back("storage.buckets.get");
  const auto bucket = api_.known_bucket();
  if (options.lock_retention || (bucket && bucket->object_retention))
    permissions.insert(permissions.end(), {"storage.objects.update", "storage.objects.setRetention"});
  if (options.lock_retention.value_or(false))
    permissions.push_back("storage.objects.overrideUnlockedRetention");
  return fmt::format(
      "gcloud iam roles create varve --project=PROJECT --permissions={}\n"
      "gcloud storage buckets add-iam-policy-binding gs://{} --role=projects/PROJECT/roles/varve "
      "--member=serviceAccount:NAME@PROJECT.iam.gserviceaccount.com\n",
      fmt::join(permissions, ","), options.bucket);
}

}  // namespace varve::store
