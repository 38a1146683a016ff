#include "backup/verify_findings.h"

#include <algorithm>
#include <atomic>
#include <fmt/format.h>

#include "base/task_group.h"

namespace varve::backup {

Findings::Id Findings::add(const std::string& object, const Damage& damage) {
  std::lock_guard lock(mutex_);
  auto [at, added] = known_.try_emplace({object, damage.kind, damage.message}, entries_.size());
  if (added) entries_.push_back({object, damage, {}, false});
  return at->second;
}

void Findings::affect(Id problem, const std::string& what) {
  std::lock_guard lock(mutex_);
  entries_[problem].affects.insert(what);
}

void Findings::forgive(Id problem) {
  std::lock_guard lock(mutex_);
  entries_[problem].forgiven = entries_[problem].affects.empty();
}

std::vector<VerifyProblem> Findings::take() {
  std::lock_guard lock(mutex_);
  std::vector<VerifyProblem> out;
  for (Entry& e : entries_) {
    if (e.forgiven) continue;
    out.push_back({std::move(e.object),
                   std::move(e.damage.kind),
                   std::move(e.damage.message),
                   {e.affects.begin(), e.affects.end()}});
  }
  std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.object < b.object; });
  entries_.clear();
  known_.clear();
  return out;
}

Result<Damage> damage_of(const repo::Repository& repo, const Context& ctx, const std::string& key,
                         const Error& error) {
  std::string message = error.describe();
  if (message.starts_with(key + ": ")) message.erase(0, key.size() + 2);
  switch (error.code) {
    case Code::kDamaged:
    case Code::kIncomplete:
      return Damage{"damaged", message};
    case Code::kNotFound:
      return Damage{"missing", "is missing from the repository"};
    case Code::kUnsupported:
      return Damage{"unreadable", message};
    case Code::kDenied:
    case Code::kIo: {
      // A bad sector or a wrong permission concerns one object; a lost disk or an expired credential all of
      // them.
      auto there = store::get_bytes(repo.store(), ctx, std::string(repo::kConfigKey), UINT64_MAX);
      if (!there && there.error().code != Code::kNotFound) return fail(error);
      return Damage{"unreadable", message};
    }
    default:
      return fail(error);
  }
}

Result<Damage> sealed_damage(const repo::Repository& repo, const Context& ctx, std::string_view kind,
                             const std::string& key, const Error& error,
                             const std::vector<std::string>& siblings) {
  constexpr uint64_t kMost = uint64_t{1} << 30;
  constexpr size_t kLeast = 80;  // header, tag and checksum of an empty object
  TRY_ASSIGN(Damage damage, damage_of(repo, ctx, key, error));
  if (damage.kind != "damaged") return damage;
  auto bytes = store::get_bytes(repo.store(), ctx, key, kMost);
  if (!bytes) return damage_of(repo, ctx, key, bytes.error());
  if (bytes->size() < kLeast)
    return Damage{"truncated", fmt::format("only {} bytes of it are left", bytes->size())};
  if (!repo::Repository::object_is_intact(*bytes)) return damage;
  if (repo.open_object(kind, key, *bytes)) return damage;  // it is ours, and what it says is impossible
  for (const std::string& other : siblings) {
    if (other != key && repo.open_object(kind, other, *bytes))
      return Damage{"swapped", fmt::format("holds a copy of {}", other)};
  }
  return Damage{
      "foreign",
      "is whole, but was not made by this repository under this name: it belongs elsewhere, or is forged"};
}

Result<> in_parallel(const Context& ctx, unsigned workers, size_t count,
                     const std::function<Result<>(const Context&, size_t)>& work) {
  std::atomic<size_t> next{0};
  TaskGroup group(ctx.stop);
  for (unsigned w = 0; w < workers && w < count; ++w) {
    group.spawn([&](std::stop_token stop) -> Result<> {
      Context mine = ctx;
      mine.stop = std::move(stop);
      for (size_t i; (i = next++) < count;) {
        TRY_OK(mine.check());
        TRY_OK(work(mine, i));
      }
      return {};
    });
  }
  return group.wait();
}

}  // namespace varve::backup
