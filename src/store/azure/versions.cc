#include "store/azure/versions.h"

#include <fmt/format.h>

#include "base/text.h"
#include "store/azure/listing.h"
#include "store/azure/policy.h"
#include "store/azure/reading.h"

namespace varve::store::azure {
namespace {

constexpr size_t kMostKnown = 1 << 14;

}  // namespace

std::string to_token(const PagePlace& place) {
  std::string out;
  if (place.best)
    out = fmt::format("{} {} {} {}", place.best->name, place.best->size,
                      place.best->modified.time_since_epoch().count(), place.best->version);
  return fmt::format("{}\n{}", out, place.marker);
}

Result<PagePlace> parse_token_of_page(std::string_view token) {
  const auto refused = [] { return fail(Code::kUsage, "the token of a page is none that was given"); };
  const size_t line = token.find('\n');
  if (line == token.npos) return refused();
  PagePlace out{std::string(token.substr(line + 1)), std::nullopt};
  if (line == 0) return out;
  const auto fields = split(token.substr(0, line), ' ');
  if (fields.size() != 4) return refused();
  const auto size = parse_number(fields[1]), modified = parse_number(fields[2]);
  if (!check_key(fields[0]) || !size || !modified) return refused();
  out.best = Blob{.name = std::string(fields[0]),
                  .size = *size,
                  .modified = Timestamp(std::chrono::microseconds(*modified)),
                  .version = std::string(fields[3])};
  return out;
}

VersionView::VersionView(std::unique_ptr<Client> client, std::string prefix, Timestamp as_of)
    : client_(std::move(client)), prefix_(std::move(prefix)), as_of_(as_of) {}

std::string VersionView::describe() const {
  return fmt::format("{}&as_of={}", address_of(*client_, prefix_), to_rfc3339(as_of_));
}

std::string VersionView::policy() const {
  return policy_text(*client_, {.read_only = true});
}

tl::unexpected<Error> VersionView::refuse() const {
  return fail(Code::kDenied, fmt::format("{} is the past: nothing can be changed in it", describe()),
              "leave the setting as_of out to write");
}

Result<> VersionView::put(const Context&, const Key&, Body, const PutOptions&) {
  return refuse();
}

Result<std::vector<RemoveResult>> VersionView::remove(const Context&, std::span<const Key>) {
  return refuse();
}

Result<> VersionView::extend_retention(const Context&, const Key&, Timestamp) {
  return refuse();
}

// A blob from before the account kept versions has none; its date is when it was written.
bool VersionView::was_there(const Blob& blob) const {
  if (blob.version.empty()) return blob.modified <= as_of_;
  const auto written = parse_version(blob.version);
  return written && *written <= as_of_;
}

void VersionView::remember(const Blob& blob) {
  std::lock_guard lock(mutex_);
  if (known_.size() >= kMostKnown) known_.clear();
  known_[blob.name] = blob;
}

Result<Blob> VersionView::find(const Context& ctx, const Key& key) {
  TRY_OK(check_key(key));
  TRY_OK(ctx.check());
  {
    std::lock_guard lock(mutex_);
    if (const auto it = known_.find(key); it != known_.end()) return it->second;
  }
  // Its versions come first of all that begin so.
  Pages pages(*client_, prefix_, key, /*versions=*/true);
  std::optional<Blob> best;
  Listing page;
  bool more = true;
  do {
    TRY_ASSIGN(page, pages.next(ctx, page.next, 1000));
    for (const Blob& blob : page.blobs) {
      more = more && blob.name == key;
      if (more && was_there(blob) && (!best || best->version < blob.version)) best = blob;
    }
  } while (more && !page.next.empty());
  if (!best) return fail(Code::kNotFound, fmt::format("there was no {} in {}", key, describe()));
  remember(*best);
  return *best;
}

Result<uint64_t> VersionView::get(const Context& ctx, const Key& key, Range range, const Sink& sink) {
  TRY_ASSIGN(const Blob blob, find(ctx, key));
  return read(*client_, ctx, {prefix_ + key, blob.version}, range, sink,
              fmt::format("reading {} from {}", key, describe()));
}

Result<ObjectInfo> VersionView::head(const Context& ctx, const Key& key) {
  TRY_ASSIGN(const Blob blob, find(ctx, key));
  TRY_ASSIGN(const BlobInfo info, look(*client_, ctx, {prefix_ + key, blob.version},
                                       fmt::format("asking for {} in {}", key, describe())));
  return ObjectInfo{
      .key = key, .size = info.size, .modified = info.modified, .retain_until = info.retain_until};
}

Result<ListPage> VersionView::list(const Context& ctx, const std::string& prefix, const std::string& token,
                                   size_t most) {
  TRY_OK(ctx.check());
  PagePlace place;
  if (!token.empty()) {
    TRY_ASSIGN(place, parse_token_of_page(token));
  }
  Pages pages(*client_, prefix_, prefix, /*versions=*/true);
  ListPage out;
  const size_t room = std::max<size_t>(most, 1);
  const auto give = [&] {
    if (!place.best) return;
    remember(*place.best);
    out.objects.push_back({.key = place.best->name,
                           .size = place.best->size,
                           .modified = place.best->modified,
                           .retain_until = {}});
    place.best.reset();
  };
  // An entry completes one object at most: the one before it. The last is complete at the end of the listing,
  // and comes alone where the page is full by then.
  bool at_end = place.best && place.marker.empty();
  while (!at_end && out.objects.empty()) {
    TRY_ASSIGN(const Listing page, pages.next(ctx, place.marker, room));
    for (const Blob& blob : page.blobs) {
      if (place.best && place.best->name != blob.name) give();
      if (was_there(blob) && (!place.best || place.best->version < blob.version)) place.best = blob;
    }
    place.marker = page.next;
    at_end = place.marker.empty();
  }
  if (at_end && out.objects.size() < room) give();
  if (!at_end || place.best) out.next = to_token(place);
  return out;
}

}  // namespace varve::store::azure
