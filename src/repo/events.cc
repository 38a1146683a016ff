#include "repo/events.h"

#include <algorithm>
#include <fmt/chrono.h>
#include <pwd.h>
#include <unistd.h>

#include "base/log.h"
#include "os/process.h"
#include "repo/format.pb.h"
#include "repo/wire.h"

namespace varve::repo {
namespace {

constexpr std::string_view kPrefix = "events/";
// Longer ago than this, one listing of everything is quicker than one of each day.
constexpr auto kDayByDay = std::chrono::days(62);

std::string day_of(Timestamp t) {
  return fmt::format("{:%Y-%m-%d}", std::chrono::floor<Seconds>(t));
}

Buffer encode(const AuditEvent& e) {
  format::AuditEvent out;
  out.set_time_us(to_wire(e.time));
  out.set_what(utf8(e.what));
  out.set_source(utf8(e.source));
  out.set_backup(utf8(e.backup));
  out.set_user(utf8(e.user));
  out.set_host(utf8(e.host));
  out.set_outcome(utf8(e.outcome));
  out.set_detail(utf8(e.detail));
  out.set_varve_version(utf8(e.varve_version));
  return serialize(out);
}

Result<AuditEvent> load(const Repository& repo, const Context& ctx, const store::Key& key) {
  TRY_ASSIGN(const Buffer bytes, repo.get_object(ctx, "event", key));
  format::AuditEvent in;
  TRY_OK(parse(in, bytes, key));
  AuditEvent out{{},        in.what(),    in.source(), in.backup(),       in.user(),
                 in.host(), in.outcome(), in.detail(), in.varve_version()};
  TRY_ASSIGN(out.time, time_from_wire(in.time_us()));
  return out;
}

Result<std::vector<store::Key>> keys_since(const Repository& repo, const Context& ctx, Timestamp since) {
  std::vector<store::Key> out;
  const std::string first_day = day_of(since);
  const auto collect = [&](const store::ObjectInfo& info) -> Result<> {
    if (std::string_view(info.key).substr(kPrefix.size()) >= first_day) out.push_back(info.key);
    return {};
  };
  const Timestamp end = now() + std::chrono::days(1);  // another host's clock may be ahead of ours
  if (end - since > kDayByDay) {
    TRY_OK(store::for_each(repo.store(), ctx, std::string(kPrefix), collect));
    return out;
  }
  for (Timestamp day = std::chrono::floor<std::chrono::days>(since); day <= end; day += std::chrono::days(1))
    TRY_OK(store::for_each(repo.store(), ctx, event_key(day, ""), collect));
  return out;
}

}  // namespace

std::string current_user() {
  passwd entry{};
  passwd* found = nullptr;
  std::array<char, 4096> room;
  if (::getpwuid_r(::geteuid(), &entry, room.data(), room.size(), &found) == 0 && found != nullptr)
    return found->pw_name;
  return fmt::format("uid {}", ::geteuid());
}

void record_event(const Repository& repo, const Context& ctx, AuditEvent event) {
  event.time = now();
  event.user = current_user();
  event.host = os::self_identity().host;
  event.varve_version = VARVE_VERSION;
  // Not the caller's stop or deadline: that a backup was interrupted is worth telling, too.
  Context mine = Context{}.with_deadline(std::chrono::seconds(20));
  mine.trace = ctx.trace;
  const auto since_midnight = event.time - std::chrono::floor<std::chrono::days>(event.time);
  const store::Key key = event_key(
      event.time, fmt::format("{:012}-{}", since_midnight.count(), to_hex(crypto::random_array<4>())));
  auto stored = repo.put_object(mine, "event", key, encode(event), repo.lasting());
  if (!stored) log::warn("the audit trail lacks this {}: {}", event.what, stored.error().describe());
}

Result<std::vector<AuditEvent>> list_events(const Repository& repo, const Context& ctx, Timestamp since) {
  TRY_ASSIGN(const std::vector<store::Key> keys, keys_since(repo, ctx, since));
  std::vector<AuditEvent> out;
  for (const store::Key& key : keys) {
    auto event = load(repo, ctx, key);
    if (event) {
      if (event->time >= since) out.push_back(std::move(*event));
    } else if (event.error().code == Code::kDamaged) {
      log::warn("an event of the audit trail cannot be read: {}", event.error().describe());
    } else {
      return fail(std::move(event).error());
    }
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const AuditEvent& a, const AuditEvent& b) { return a.time < b.time; });
  return out;
}

}  // namespace varve::repo
