#include "store/gcs/gcs_store.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "codec/crc32c.h"
#include "store/cloud/answer.h"
#include "store/gcs/upload.h"

namespace varve::store {

using namespace gcs;

namespace {

constexpr uint64_t kMostObject = uint64_t{5} << 40;  // 5 TiB
constexpr std::chrono::seconds kAskWithin{30};

ObjectInfo info_of(const Key& key, const ObjectAnswer& object) {
  return {key, object.size, object.created, object.retained_by};
}

std::string metadata(const std::string& name, uint32_t crc, const Options& options,
                     const std::optional<Timestamp>& retain_until) {
  // no-transform: the service must not unpack, and no-store: nobody between keeps a copy.
  nlohmann::json json = {{"name", name},
                         {"contentType", "application/octet-stream"},
                         {"cacheControl", "no-store, no-transform"},
                         {"crc32c", crc32c_text(crc)}};
  if (!options.storage_class.empty()) json["storageClass"] = options.storage_class;
  if (retain_until)
    json["retention"] = {{"mode", options.lock_retention.value_or(false) ? "Locked" : "Unlocked"},
                         {"retainUntilTime", to_rfc3339(*retain_until)}};
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

GcsStore::GcsStore(Options options, std::unique_ptr<TokenSource> source)
    : api_(std::move(options), std::move(source)) {}

std::string GcsStore::doing(std::string_view verb, const Key& key, std::string_view preposition) const {
  return fmt::format("{} {} {} {}", verb, printable(key), preposition, describe());
}

Result<> GcsStore::check_writable(const char* verb, const Key& key) const {
  if (!api_.options().as_of) return {};
  return fail(Code::kDenied,
              fmt::format("cannot {} {}: {} is open as of {}", verb, printable(key), describe(),
                          to_rfc3339(*api_.options().as_of)),
              "leave out as_of to change it");
}

Result<bool> GcsStore::can_retain(const Context& ctx) const {
  if (api_.options().lock_retention) return true;
  TRY_ASSIGN(const auto bucket, api_.bucket(ctx));
  return bucket && bucket->object_retention;
}

Capabilities GcsStore::capabilities() const {
  Capabilities out;
  out.max_object = kMostObject;
  out.retention = can_retain(Context{}.with_deadline(kAskWithin)).value_or(false);
  return out;
}

Result<> GcsStore::put(const Context& ctx, const Key& key, Body body, const PutOptions& options) {
  TRY_OK(ctx.check());
  TRY_OK(check_key(key));
  TRY_OK(check_writable("write", key));
  if (options.retain_until) {
    TRY_ASSIGN(const bool can, can_retain(ctx));
    if (!can)
      return fail(Code::kUnsupported, fmt::format("the bucket of {} has no object retention", describe()),
                  "docs/stores/gcs.md tells how to enable it; where varve may not see that, set retention");
    if (*options.retain_until <= now())
      return fail(Code::kUsage, fmt::format("{} cannot be retained until {}, which has passed",
                                            printable(key), to_rfc3339(*options.retain_until)));
  }
  const uint32_t crc = codec::crc32c(body);
  Upload upload;
  upload.metadata = metadata(api_.name(key), crc, api_.options(), options.retain_until);
  if (options.mode == PutMode::kCreateOnly) upload.query.add("ifGenerationMatch", "0");
  if (!api_.options().kms_key.empty()) upload.query.add("kmsKeyName", api_.options().kms_key);
  upload.body = body;
  upload.size = body_size(body);
  upload.doing = doing("putting", key, "into");
  const bool at_once = upload.size == 0 || upload.size < api_.options().resumable_from;
  TRY_ASSIGN(const ObjectAnswer object,
             at_once ? upload_at_once(api_, ctx, upload) : upload_resumable(api_, ctx, upload));
  if (object.name != api_.name(key) || object.size != upload.size || object.crc32c != crc)
    return fail(
        Error{Code::kUnreachable, fmt::format("{}: the store says that it has another body", upload.doing)}
            .with_retry(Retry::kTransient));
  return {};
}

Result<ObjectAnswer> GcsStore::look(const Context& ctx, const Key& key) {
  if (api_.options().as_of) return version_of(ctx, key);
  net::HttpRequest request;
  request.url = api_.object_url(api_.name(key), Query().add("fields", kObjectFields));
  const std::string what = doing("looking for", key);
  TRY_ASSIGN(const auto answer, api_.send(ctx, std::move(request)));
  if (answer.status != 200) return fail(api_.error_of(answer, what));
  auto object = parse_object(as_text(answer.body));
  if (!object) return fail(cloud::nonsense(answer, what, object.error().message));
  if (object->name != api_.name(key))
    return fail(cloud::nonsense(answer, what, "it speaks of another object"));
  return object;
}

Result<ObjectInfo> GcsStore::head(const Context& ctx, const Key& key) {
  TRY_OK(ctx.check());
  TRY_OK(check_key(key));
  TRY_ASSIGN(const ObjectAnswer object, look(ctx, key));
  return info_of(key, object);
}

// A body as it comes: whether it is what was asked for is known from the headers, and told before any of it.
class GcsStore::Reading {
 public:
  Reading(const Range& range, std::optional<uint64_t> generation, std::string what, const Sink& sink)
      : range_(range), generation_(generation), what_(std::move(what)), sink_(sink) {}

  bool whole() const { return range_.offset == 0 && range_.length >= kMostObject; }
  std::string header() const {
    const uint64_t most = kMostObject - range_.offset;
    if (range_.length >= most) return fmt::format("bytes={}-", range_.offset);
    return fmt::format("bytes={}-{}", range_.offset, range_.offset + range_.length - 1);
  }

  Result<> begin(const net::HttpResponse& answer) {
    if (answer.status != 200 && answer.status != 206) return {};  // what it says is read later
    const auto no = [&](std::string_view why) { return fail(cloud::nonsense(answer, what_, why)); };
    const auto generation = parse_digits(answer.header("x-goog-generation").value_or(""));
    if (!generation) return no("it names no generation of an object");
    if (generation_ && *generation != *generation_) return no("it is another version than was asked for");
    if (answer.header("x-goog-stored-content-encoding").value_or("identity") != "identity" ||
        answer.header("content-encoding").value_or("identity") != "identity")
      return no("the object is stored or sent in another encoding");
    crc_due_ = stored_crc32c(answer);
    const auto stored = parse_digits(answer.header("x-goog-stored-content-length").value_or(""));
    if (answer.status == 200) {
      if (!stored || !crc_due_) return no("it names no size and checksum of an object");
      size_ = *stored;
      due_ = range_size(range_, size_);
      if (!whole() && size_ > 0) return no("a part was asked for, and not sent as one");
    } else {
      const auto range = parse_content_range(answer.header("content-range").value_or(""));
      if (!range || (stored && *stored != range->size)) return no("it does not say which part it is");
      size_ = range->size;
      due_ = range_size(range_, size_);
      if (range->first != range_.offset || range->last - range->first + 1 != due_)
        return no("it is another part than was asked for");
    }
    check_ = due_ == size_ && crc_due_;
    return {};
  }

  Result<> take(ByteView bytes) {
    if (bytes.size() > due_ - came_) return too_much();
    came_ += bytes.size();
    if (check_) crc_ = codec::crc32c(bytes, crc_);
    return sink_(bytes);
  }

  Result<uint64_t> end() const {
    if (came_ != due_)
      return fail(
          Error{Code::kUnreachable, fmt::format("{}: {} of {} bytes came", what_, came_, due_)}.with_retry(
              Retry::kTransient));
    // Not to be tried again: the bytes are with the caller already.
    if (check_ && crc_ != *crc_due_)
      return fail(Code::kDamaged, fmt::format("{}: what came does not match its checksum", what_),
                  "read it again; if this stays, the object is damaged");
    return size_;
  }

 private:
  Result<> too_much() const {
    return fail(Code::kUnreachable,
                fmt::format("{}: more came than the {} bytes that were due", what_, due_));
  }

  const Range range_;
  const std::optional<uint64_t> generation_;
  const std::string what_;
  const Sink& sink_;
  uint64_t size_ = 0, due_ = 0, came_ = 0;
  bool check_ = false;  // all of it comes, and its checksum is known
  uint32_t crc_ = 0;
  std::optional<uint32_t> crc_due_;
};

Result<uint64_t> GcsStore::get(const Context& ctx, const Key& key, Range range, const Sink& sink) {
  TRY_OK(ctx.check());
  TRY_OK(check_key(key));
  if (range.length == 0 || range.offset >= kMostObject) {
    TRY_ASSIGN(const ObjectAnswer object, look(ctx, key));
    return object.size;
  }
  std::optional<uint64_t> generation;
  Query query;
  query.add("alt", "media");
  if (api_.options().as_of) {
    TRY_ASSIGN(const ObjectAnswer object, version_of(ctx, key));
    generation = object.generation;
    query.add("generation", fmt::format("{}", *generation));
  }
  Reading reading(range, generation, doing("reading", key), sink);
  net::HttpRequest request;
  request.url = api_.object_url(api_.name(key), std::move(query));
  if (!reading.whole()) request.headers.push_back({"Range", reading.header()});
  request.on_head = [&](const net::HttpResponse& answer) { return reading.begin(answer); };
  TRY_ASSIGN(const auto answer,
             api_.send(ctx, std::move(request), [&](ByteView bytes) { return reading.take(bytes); }));
  if (answer.status == 200 || answer.status == 206) return reading.end();
  if (answer.status == 416) {
    const auto size = parse_unsatisfied_range(answer.header("content-range").value_or(""));
    if (size && *size <= range.offset) return *size;
  } else if (answer.status != 404) {
    return fail(api_.error_of(answer, doing("reading", key)));
  }
  // Told again in the API's own words.
  TRY_ASSIGN(const ObjectAnswer object, look(ctx, key));
  if (answer.status == 416 && object.size <= range.offset) return object.size;
  return fail(cloud::nonsense(answer, doing("reading", key), "the object is there"));
}

}  // namespace varve::store
