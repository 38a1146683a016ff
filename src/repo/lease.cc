#include "repo/lease.h"

#include <charconv>
#include <fmt/format.h>

#include "base/log.h"
#include "repo/format.pb.h"
#include "repo/wire.h"

namespace varve::repo {
namespace {

constexpr int kNumberWidth = 16;
constexpr int kTries = 5;

store::Key lease_key(const std::string& source, uint64_t number) {
  return fmt::format("{}{:0{}}", lease_prefix(source), number, kNumberWidth);
}

std::optional<uint64_t> number_of(std::string_view name) {
  uint64_t out = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), out);
  if (error != std::errc() || end != name.data() + name.size() || name.size() != kNumberWidth)
    return std::nullopt;
  return out;
}

Buffer encode(const LeaseInfo& lease) {
  format::Lease out;
  out.set_source(lease.source);
  out.set_what(utf8(lease.what));
  out.set_host(utf8(lease.process.host));
  out.set_boot(utf8(lease.process.boot));
  out.set_pid(lease.process.pid);
  out.set_process_started(lease.process.started);
  out.set_taken_us(to_wire(lease.taken));
  out.set_expires_us(to_wire(lease.expires));
  out.set_holder(lease.holder);
  return serialize(out);
}

Result<LeaseInfo> load(const Repository& repo, const Context& ctx, const std::string& source,
                       uint64_t number) {
  const store::Key key = lease_key(source, number);
  TRY_ASSIGN(const Buffer bytes, repo.get_object(ctx, "lease", key));
  format::Lease in;
  TRY_OK(parse(in, bytes, key));
  LeaseInfo lease;
  lease.number = number;
  lease.source = in.source();
  lease.what = in.what();
  lease.holder = in.holder();
  lease.process = {in.host(), in.boot(), in.pid(), in.process_started()};
  TRY_ASSIGN(lease.taken, time_from_wire(in.taken_us()));
  TRY_ASSIGN(lease.expires, time_from_wire(in.expires_us()));
  return lease;
}

// The numbers that stand, ascending.
Result<std::vector<uint64_t>> numbers(const Repository& repo, const Context& ctx, const std::string& source) {
  TRY_OK(check_name(source));
  std::vector<uint64_t> out;
  TRY_OK(store::for_each(repo.store(), ctx, lease_prefix(source),
                         [&](const store::ObjectInfo& info) -> Result<> {
                           if (auto number = number_of(last_segment(info.key))) out.push_back(*number);
                           return {};
                         }));
  return out;
}

Result<uint64_t> highest(const Repository& repo, const Context& ctx, const std::string& source) {
  TRY_ASSIGN(const std::vector<uint64_t> all, numbers(repo, ctx, source));
  return all.empty() ? 0 : all.back();
}

void remove_below(const Repository& repo, const Context& ctx, const std::string& source, uint64_t number) {
  auto all = numbers(repo, ctx, source);
  if (!all) return;  // the next renewal tries again
  for (uint64_t n : *all)
    if (n < number) (void)store::remove_one(repo.store(), ctx, lease_key(source, n));
}

tl::unexpected<Error> held(const LeaseInfo& lease) {
  return fail(
      Code::kConflict,
      fmt::format("{} of {} is under way on host {} (process {}, since {})", lease.what, lease.source,
                  lease.process.host, lease.process.pid, to_rfc3339(lease.taken)),
      fmt::format("stop it there, or wait: its lease ends at {} unless renewed", to_rfc3339(lease.expires)));
}

// Without trusting a clock: released (see release()), or of a process that is no more.
bool has_ended(const LeaseInfo& lease) {
  return lease.expires == lease.taken || os::liveness(lease.process) == os::Liveness::kDead;
}

// False: nobody holds it. A lease that cannot be read holds nobody up, for nothing's safety rests on it.
Result<bool> is_held(const Repository& repo, const Context& ctx, const std::string& source, uint64_t number,
                     std::optional<LeaseInfo>& by) {
  auto lease = load(repo, ctx, source, number);
  if (lease) {
    by = std::move(*lease);
    return is_live(*by, now());
  }
  const Code code = lease.error().code;
  if (code == Code::kDamaged)
    log::warn("taking over a lease that cannot be read: {}", lease.error().describe());
  if (code == Code::kDamaged || code == Code::kNotFound) return false;
  return fail(std::move(lease).error());
}

// Puts `info` as its number; false when another was quicker.
Result<bool> put(const Repository& repo, const Context& ctx, const LeaseInfo& info) {
  auto stored = repo.put_object(ctx, "lease", lease_key(info.source, info.number), encode(info));
  if (stored) return true;
  if (stored.error().code == Code::kExists) return false;
  return fail(std::move(stored).error());
}

}  // namespace

bool is_live(const LeaseInfo& lease, Timestamp at) {
  return lease.expires > at && os::liveness(lease.process) != os::Liveness::kDead;
}

Result<Lease> Lease::take(RepositoryPtr repo, const Context& ctx, const std::string& source,
                          const std::string& what, Seconds duration) {
  LeaseInfo mine;
  mine.source = source;
  mine.what = what;
  mine.process = os::self_identity();
  mine.holder = to_hex(crypto::random_array<16>());
  for (int i = 0; i < kTries; ++i) {
    TRY_ASSIGN(const uint64_t last, highest(*repo, ctx, source));
    bool others_have_ended = false;
    if (last > 0) {
      std::optional<LeaseInfo> by;
      TRY_ASSIGN(const bool taken, is_held(*repo, ctx, source, last, by));
      if (taken) return held(*by);
      others_have_ended = by && has_ended(*by);
    }
    mine.number = last + 1;
    mine.taken = now();
    mine.expires = mine.taken + duration;
    TRY_ASSIGN(const bool won, put(*repo, ctx, mine));
    if (!won) continue;
    // A taker that slept after looking may win a number which others have passed and removed meanwhile.
    TRY_ASSIGN(const uint64_t newest, highest(*repo, ctx, source));
    if (newest == mine.number) {
      remove_below(*repo, ctx, source, mine.number);
      return Lease(std::move(repo), std::move(mine), duration, others_have_ended);
    }
    (void)store::remove_one(repo->store(), ctx, lease_key(source, mine.number));
  }
  return fail(Code::kConflict, fmt::format("others keep taking the lease of {} at this moment", source),
              "try again");
}

Result<> Lease::renew(const Context& ctx) {
  TRY_ASSIGN(const uint64_t newest, highest(*repo_, ctx, info_.source));
  const auto lost = [&] {
    return fail(Code::kConflict,
                fmt::format("another process has taken over {} of {}: this one slept too long", info_.what,
                            info_.source));
  };
  if (newest > info_.number) return lost();
  LeaseInfo next = info_;
  next.number = info_.number + 1;
  next.expires = now() + duration_;
  TRY_ASSIGN(const bool won, put(*repo_, ctx, next));
  if (!won) return lost();
  info_ = std::move(next);
  remove_below(*repo_, ctx, info_.source, info_.number);
  return {};
}

Result<> Lease::release(const Context& ctx) {
  // A last renewal that has ended already, and stays: numbers that began anew could be won by a taker from
  // before.
  LeaseInfo end = info_;
  end.number = info_.number + 1;
  end.expires = end.taken;
  TRY_ASSIGN(const bool won, put(*repo_, ctx, end));
  if (!won) return {};  // taken over: not ours to end
  remove_below(*repo_, ctx, info_.source, end.number);
  info_ = std::move(end);
  return {};
}

Result<std::optional<LeaseInfo>> current_lease(const Repository& repo, const Context& ctx,
                                               const std::string& source) {
  for (int i = 0; i < kTries; ++i) {
    TRY_ASSIGN(const uint64_t last, highest(repo, ctx, source));
    if (last == 0) return std::nullopt;
    auto lease = load(repo, ctx, source, last);
    if (lease) return std::optional<LeaseInfo>(std::move(*lease));
    if (lease.error().code != Code::kNotFound)
      return fail(std::move(lease).error());  // else: renewed meanwhile
  }
  return fail(Code::kUnreachable, fmt::format("the lease of {} changes faster than it can be read", source));
}

}  // namespace varve::repo
