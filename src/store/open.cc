#include "store/open.h"

#include "store/azure/azure_store.h"
#include "store/gcs/gcs_store.h"
#include "store/local/local_store.h"
#include "store/mem/mem_store.h"
#include "store/s3/s3_store.h"
#include "store/sftp/sftp_store.h"
#include "store/wrap/limit.h"
#include "store/wrap/readonly.h"
#include "store/wrap/retry.h"
#include "store/wrap/throttle.h"
#include "store/wrap/traced.h"

namespace varve::store {
namespace {

Result<StorePtr> open_driver(const Context& ctx, const Place& place, const OpenOptions& options) {
  const bool create = options.create && !options.read_only;
  if (place.scheme == "file") return LocalStore::open(place.path, create);
  if (place.scheme == "gs") return GcsStore::open(ctx, place);
  if (place.scheme == "mem") return MemStore::named(place.authority);
  if (place.scheme == "azure") return AzureStore::open(ctx, place);
  if (place.scheme == "s3") return s3::S3Store::open(ctx, place);
  if (place.scheme == "sftp") return SftpStore::open(ctx, place, create);
  return fail(Code::kUnsupported, place.scheme + ":// is not built in");
}

}  // namespace

std::span<const Setting> settings_of(std::string_view scheme) {
  if (scheme == "azure") return azure_settings();
  if (scheme == "gs") return gcs_settings();
  if (scheme == "s3") return s3::s3_settings();
  if (scheme == "sftp") return SftpStore::settings();
  return {};
}

Result<StorePtr> open_store(const Context& ctx, const std::string& address, const OpenOptions& options) {
  TRY_OK(ctx.check());
  TRY_ASSIGN(Place place, parse_place(address));
  for (const auto& [name, value] : options.settings.all())
    if (!place.settings.all().contains(name)) TRY_OK(place.settings.set(name, value));
  TRY_OK(place.settings.check(settings_of(place.scheme)));
  TRY_ASSIGN(StorePtr store, open_driver(ctx, place, options));
  if (options.limit_rate) store = with_throttle(std::move(store), options.limit_rate);
  if (place.scheme != "file") store = with_trace(std::move(store));
  store = with_retry(with_limit(std::move(store)));
  if (options.read_only) store = with_readonly(std::move(store));
  return store;
}

}  // namespace varve::store
