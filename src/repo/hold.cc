#include "repo/hold.h"

#include <fmt/format.h>

#include "base/log.h"
#include "repo/events.h"
#include "repo/format.pb.h"
#include "repo/wire.h"

namespace varve::repo {
namespace {

Result<HoldInfo> load(const Repository& repo, const Context& ctx, const store::Key& key) {
  TRY_ASSIGN(const Buffer bytes, repo.get_object(ctx, "hold", key));
  format::Hold in;
  TRY_OK(parse(in, bytes, key));
  HoldInfo out{in.backup(), in.reason(), in.user(), {}};
  TRY_ASSIGN(out.created, time_from_wire(in.created_us()));
  return out;
}

Result<> check_backup(const Repository& repo, const Context& ctx, const std::string& source,
                      const std::string& backup) {
  TRY_ASSIGN(const bool there, store::exists(repo.store(), ctx, manifest_key(source, backup)));
  if (!there) return fail(Code::kNotFound, fmt::format("{} has no backup {}", source, backup), "varve list");
  return {};
}

}  // namespace

Result<> place_hold(const Repository& repo, const Context& ctx, const std::string& source,
                    const std::string& backup, const std::string& reason) {
  TRY_OK(check_name(source));
  TRY_OK(check_name(backup));
  TRY_OK(check_backup(repo, ctx, source, backup));
  const store::Key key = hold_key(source, backup);
  format::Hold hold;
  hold.set_backup(backup);
  hold.set_created_us(to_wire(now()));
  hold.set_reason(utf8(reason));
  hold.set_user(utf8(current_user()));
  auto put = repo.put_object(ctx, "hold", key, serialize(hold));
  if (!put && put.error().code == Code::kExists)
    return fail(Code::kExists, fmt::format("backup {} of {} is held already", backup, source));
  TRY_OK(std::move(put));
  // It may have expired between the look and the hold; a person must not rely on a hold of nothing.
  auto still = check_backup(repo, ctx, source, backup);
  if (!still && still.error().code == Code::kNotFound) (void)store::remove_one(repo.store(), ctx, key);
  return still;
}

Result<> release_hold(const Repository& repo, const Context& ctx, const std::string& source,
                      const std::string& backup) {
  TRY_OK(check_name(source));
  TRY_OK(check_name(backup));
  TRY_OK(repo.check_may_collect());
  const store::Key key = hold_key(source, backup);
  TRY_ASSIGN(const bool there, store::exists(repo.store(), ctx, key));
  if (!there) return fail(Code::kNotFound, fmt::format("backup {} of {} is not held", backup, source));
  return store::remove_one(repo.store(), ctx, key);
}

Result<std::vector<HoldInfo>> list_holds(const Repository& repo, const Context& ctx,
                                         const std::string& source) {
  TRY_OK(check_name(source));
  std::vector<store::Key> keys;
  TRY_OK(store::for_each(repo.store(), ctx, hold_key(source, ""),
                         [&](const store::ObjectInfo& info) -> Result<> {
                           keys.push_back(info.key);
                           return {};
                         }));
  std::vector<HoldInfo> out;
  for (const store::Key& key : keys) {
    auto hold = load(repo, ctx, key);
    if (!hold && hold.error().code == Code::kNotFound) continue;  // released since it was listed
    if (!hold && hold.error().code != Code::kDamaged) return fail(std::move(hold).error());
    if (!hold) log::warn("a hold cannot be read, and counts all the same: {}", hold.error().describe());
    HoldInfo info = hold ? std::move(*hold) : HoldInfo{};
    info.backup = std::string(last_segment(key));
    out.push_back(std::move(info));
  }
  return out;
}

}  // namespace varve::repo
