#include "repo/retention.h"

#include <algorithm>
#include <atomic>

#include "base/task_group.h"
#include "repo/key_object.h"

namespace varve::repo {
namespace {

constexpr size_t kThreads = 16;  // each waits for the store's answer

Result<> extend_all(const Repository& repo, const Context& ctx, const std::vector<store::Key>& keys,
                    Timestamp until) {
  TaskGroup group(ctx.stop);
  std::atomic<size_t> next{0};
  for (size_t i = 0; i < std::min(kThreads, keys.size()); ++i) {
    group.spawn([&](std::stop_token stop) -> Result<> {
      Context mine = ctx;
      mine.stop = stop;
      for (size_t n; (n = next++) < keys.size();) TRY_OK(repo.store().extend_retention(mine, keys[n], until));
      return {};
    });
  }
  return group.wait();
}

}  // namespace

Seconds retention_slack(Seconds retain) {
  return std::max<Seconds>(std::chrono::days(1), retain / 8);
}

Result<> extend_retention(const Repository& repo, const Context& ctx, Manifest& m,
                          std::optional<Timestamp> known) {
  if (!repo.retain()) return {};
  const Timestamp least = now() + *repo.retain();
  const Timestamp until = least + retention_slack(*repo.retain());
  // Its own packs were locked when they were put, at the earliest when it began.
  const Timestamp own = m.started + *repo.retain() + retention_slack(*repo.retain());
  const auto enough = [&](std::optional<Timestamp> locked) {
    if (!locked || *locked < least) return false;
    m.retained_until = std::min(*m.retained_until, *locked);
    return true;
  };
  m.retained_until = until;
  std::vector<store::Key> keys;
  for (const PackInfo& pack : m.packs) {
    const bool mine = writer_of(pack.id).hex() == m.writer;
    if (!enough(mine ? own : known)) keys.push_back(pack_key(pack.id));
  }
  if (!enough(known)) {
    keys.emplace_back(kConfigKey);
    TRY_OK(store::for_each(repo.store(), ctx, std::string(kKeyPrefix),
                           [&](const store::ObjectInfo& info) -> Result<> {
                             keys.push_back(info.key);
                             return {};
                           }));
  }
  auto extended = extend_all(repo, ctx, keys, until);
  if (!extended)
    return fail(std::move(extended).error().with_context(
        "while locking what the backup needs for as long as was promised"));
  return {};
}

}  // namespace varve::repo
