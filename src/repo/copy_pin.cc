#include "repo/copy_pin.h"

#include <fmt/format.h>

#include "base/text.h"
#include "repo/sealed_json.h"

namespace varve::repo {
namespace {

constexpr uint64_t kFormat = 1;
constexpr auto kLongest = std::chrono::hours(24);

std::string encode(const CopyInfo& copy) {
  nlohmann::ordered_json json;
  json["format"] = kFormat;
  json["repository"] = copy.repository.hex();
  json["from"] = copy.from;
  json["host"] = copy.process.host;
  json["boot"] = copy.process.boot;
  json["pid"] = static_cast<uint64_t>(copy.process.pid);
  json["process_started"] = copy.process.started;
  json["started"] = to_rfc3339(copy.started);
  return json_with_checksum(json);
}

Result<CopyInfo> decode_members(const nlohmann::json& json) {
  CopyInfo out;
  TRY_ASSIGN(const uint64_t format, json_number(json, "format"));
  if (format != kFormat)
    return fail(Code::kUnsupported, fmt::format("was written by a newer varve (format {})", format),
                "update varve on this machine, then try again");
  TRY_ASSIGN(const std::string repository, json_text(json, "repository"));
  TRY_ASSIGN(out.repository, RepoId::from_hex_text(repository));
  TRY_ASSIGN(out.from, json_text(json, "from"));
  TRY_ASSIGN(out.process.host, json_text(json, "host"));
  TRY_ASSIGN(out.process.boot, json_text(json, "boot"));
  TRY_ASSIGN(const uint64_t pid, json_number(json, "pid"));
  out.process.pid = static_cast<int64_t>(pid);
  TRY_ASSIGN(out.process.started, json_number(json, "process_started"));
  TRY_ASSIGN(out.started, json_time(json, "started"));
  return out;
}

}  // namespace

store::Key copy_key(const WriterId& id) {
  return fmt::format("{}{}", kCopyPrefix, id.hex());
}

Result<CopyInfo> parse_copy_pin(const store::Key& key, std::string_view text) {
  const auto named = [&](Error e) {
    if (!e.message.starts_with(key)) e.message = fmt::format("{}: {}", key, e.message);
    return fail(std::move(e));
  };
  auto id = WriterId::from_hex_text(last_segment(key));
  if (!id || copy_key(*id) != key) return fail(Code::kDamaged, fmt::format("{}: is no name of a copy", key));
  auto json = parse_checked_json(text, key);
  if (!json) return named(std::move(json).error());
  auto out = decode_members(*json);
  if (!out) return named(std::move(out).error());
  out->id = *id;
  return out;
}

std::string describe(const CopyInfo& copy) {
  return fmt::format("{} (a copy from {} on host {}, process {}, since {})", copy_key(copy.id),
                     printable(copy.from), printable(copy.process.host), copy.process.pid,
                     to_rfc3339(copy.started));
}

Result<CopyPin> CopyPin::take(const Context& ctx, store::StorePtr store, const RepoId& repository,
                              std::string from) {
  CopyInfo info{{}, repository, std::move(from), os::self_identity(), std::chrono::floor<Seconds>(now())};
  crypto::random_bytes(info.id.bytes);
  TRY_OK(store::put_bytes(*store, ctx, copy_key(info.id), as_bytes(encode(info))));
  return CopyPin(std::move(store), std::move(info));
}

Result<> CopyPin::release(const Context& ctx) {
  if (released_) return {};
  TRY_OK(store::remove_one(*store_, ctx, copy_key(info_.id)));
  released_ = true;
  return {};
}

Result<> CopyPin::check_standing(const Context& ctx) const {
  TRY_ASSIGN(const bool there, store::exists(*store_, ctx, copy_key(info_.id)));
  if (there) return {};
  return fail(
      Code::kConflict,
      fmt::format("{} was removed while the copy ran: a collection at {} may have taken what it wrote",
                  copy_key(info_.id), store_->describe()),
      "run it again");
}

Result<std::vector<CopyInfo>> list_copies(const Context& ctx, store::Store& store) {
  std::vector<store::Key> keys;
  TRY_OK(
      store::for_each(store, ctx, std::string(kCopyPrefix), [&](const store::ObjectInfo& info) -> Result<> {
        keys.push_back(info.key);
        return {};
      }));
  std::vector<CopyInfo> out;
  for (const store::Key& key : keys) {
    auto bytes = store::get_bytes(store, ctx, key, kMaxJsonObject);
    if (!bytes && bytes.error().code == Code::kNotFound) continue;  // released since it was listed
    if (!bytes) return fail(std::move(bytes).error());
    TRY_ASSIGN(CopyInfo copy, parse_copy_pin(key, as_text(*bytes)));
    out.push_back(std::move(copy));
  }
  return out;
}

bool has_ended(const CopyInfo& copy, Timestamp at) {
  return os::liveness(copy.process) == os::Liveness::kDead || at - copy.started > kLongest;
}

}  // namespace varve::repo
