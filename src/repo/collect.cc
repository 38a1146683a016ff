#include "repo/collect.h"

#include <algorithm>
#include <fmt/chrono.h>

#include "base/log.h"
#include "repo/collection_plan.h"
#include "repo/copy_pin.h"
#include "repo/lease.h"
#include "repo/probe.h"

namespace varve::repo {
namespace {

constexpr auto kOldPin = std::chrono::days(7);
constexpr size_t kRemoveAtOnce = 1000;
constexpr size_t kMostProblems = 100;

struct StoredPack {
  PackId id;
  uint64_t size = 0;
};

template <typename Ids, typename Id>
bool contains(const Ids& ids, const Id& id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

class Collector {
 public:
  Collector(const Repository& repo, const Context& ctx, const CollectOptions& options, const Pin* own)
      : repo_(repo), ctx_(ctx), options_(options), own_(own) {}
  Result<CollectReport> run();

 private:
  Result<> remove_dead_pins();
  Result<> remove_ended_copies();
  Result<> refuse_if_copied_to() const;
  Result<std::vector<PinInfo>> other_pins() const;
  Result<> refuse_if_others_write(std::string_view hint) const;
  Result<> survey();
  Result<> list_packs();
  Result<> check_missing();
  Result<> carry_out(const CollectionPlan& plan);
  Result<bool> remove_packs(const std::vector<PackId>& packs, CollectionOutcome& outcome);
  Result<> remove_objects(const std::vector<std::string>& objects, CollectionOutcome& outcome);
  Result<> condemn();
  Result<> close_and_drop();
  Result<> remove_unfinished();
  Result<> drop(const CollectionPlan& plan, const std::vector<WriterId>& standing);
  bool must_wait(const CollectionPlan& plan) const;
  bool is_old(const PinInfo& pin) const { return now_ - pin.started > kOldPin; }
  const StoredPack* stored(const PackId& id) const;
  void problem(std::string text);

  const Repository& repo_;
  const Context& ctx_;
  const CollectOptions& options_;
  const Pin* own_;
  const Timestamp now_ = varve::now();
  CollectReport report_;
  std::vector<CollectionPlan> plans_;
  std::vector<StoredPack> packs_;  // ascending by id
  std::vector<PinInfo> pins_;
  PackSet live_;
};

std::vector<WriterId> writers_of(const std::vector<PinInfo>& pins) {
  std::vector<WriterId> out;
  for (const PinInfo& pin : pins) out.push_back(pin.writer);
  return out;
}

std::string describe(const PinInfo& pin) {
  return fmt::format("{} ({} of {} on host {}, process {}, since {})", pin_key(pin.writer), pin.what,
                     pin.source, pin.process.host, pin.process.pid, to_rfc3339(pin.started));
}

void Collector::problem(std::string text) {
  if (report_.problems.size() >= kMostProblems) return;
  log::warn("{}", text);
  report_.problems.push_back(std::move(text));
}

const StoredPack* Collector::stored(const PackId& id) const {
  const auto it =
      std::lower_bound(packs_.begin(), packs_.end(), id,
                       [](const StoredPack& pack, const PackId& wanted) { return pack.id < wanted; });
  return it == packs_.end() || it->id != id ? nullptr : &*it;
}

Result<std::vector<PinInfo>> Collector::other_pins() const {
  TRY_ASSIGN(std::vector<PinInfo> pins, list_pins(repo_, ctx_));
  std::erase_if(pins, [&](const PinInfo& pin) { return own_ != nullptr && pin.writer == own_->writer(); });
  return pins;
}

// A wrong guess costs a backup, not its safety: a writer whose pin went withdraws its manifest.
Result<> Collector::remove_dead_pins() {
  TRY_ASSIGN(const std::vector<PinInfo> pins, other_pins());
  for (const PinInfo& pin : pins) {
    if (os::liveness(pin.process) != os::Liveness::kDead) continue;
    if (!options_.dry_run) TRY_OK(store::remove_one(repo_.store(), ctx_, pin_key(pin.writer)));
    report_.stale_pins_removed.push_back(describe(pin));
  }
  return {};
}

// Before anything is marked: whoever lost its pin by this finds out at its next manifest, which is later than
// the marks or seen by them.
Result<> Collector::remove_ended_copies() {
  TRY_ASSIGN(const std::vector<CopyInfo> copies, list_copies(ctx_, repo_.store()));
  for (const CopyInfo& copy : copies) {
    if (!has_ended(copy, now_)) continue;
    if (!options_.dry_run) TRY_OK(store::remove_one(repo_.store(), ctx_, copy_key(copy.id)));
    report_.stale_pins_removed.push_back(varve::repo::describe(copy));
  }
  return {};
}

// A copy may put a manifest that needs any pack there is, and without the key it can read no plan.
Result<> Collector::refuse_if_copied_to() const {
  if (options_.dry_run) return {};
  TRY_ASSIGN(const std::vector<CopyInfo> copies, list_copies(ctx_, repo_.store()));
  if (copies.empty()) return {};
  return fail(Code::kConflict,
              fmt::format("this repository is being copied to: {}", varve::repo::describe(copies.front())),
              "collect when the copy has ended; one of a host that is gone ends by itself after 24 hours");
}

Result<> Collector::refuse_if_others_write(std::string_view hint) const {
  TRY_ASSIGN(const std::vector<PinInfo> pins, other_pins());
  for (const PinInfo& pin : pins) {
    if (options_.dry_run && os::liveness(pin.process) == os::Liveness::kDead) continue;
    return fail(Code::kConflict, fmt::format("work is under way: {}", describe(pin)), std::string(hint));
  }
  std::vector<std::string> sources;
  TRY_OK(store::for_each(repo_.store(), ctx_, "leases/", [&](const store::ObjectInfo& info) -> Result<> {
    const std::string_view rest = std::string_view(info.key).substr(7);
    const std::string_view source = rest.substr(0, rest.find('/'));
    if (sources.empty() || sources.back() != source) sources.emplace_back(source);
    return {};
  }));
  for (const std::string& source : sources) {
    TRY_ASSIGN(const std::optional<LeaseInfo> lease, current_lease(repo_, ctx_, source));
    if (lease && is_live(*lease, now_))
      return fail(Code::kConflict,
                  fmt::format("work is under way: {} of {} on host {}, process {}", lease->what, source,
                              lease->process.host, lease->process.pid),
                  std::string(hint));
  }
  return {};
}

// In this order: the plans, so that the marks are later than each of them; the packs before the pins, and the
// pins before the manifests, so that a pack which is in none of these lists' protection was abandoned: its
// writer's pin went before we looked, hence its manifest, if there ever was one, was there when we marked.
Result<> Collector::survey() {
  TRY_ASSIGN(plans_, list_plans(repo_, ctx_));
  TRY_OK(list_packs());
  TRY_ASSIGN(pins_, other_pins());
  TRY_OK(refuse_if_copied_to());
  for (const PinInfo& pin : pins_) {
    if (!is_old(pin)) continue;
    report_.old_pins.push_back(describe(pin));
    log::warn("work has been under way for more than 7 days, or its host is gone: {}",
              report_.old_pins.back());
  }
  TRY_ASSIGN(live_, live_packs(repo_, ctx_));
  report_.packs_live = live_.size();
  return check_missing();
}

Result<> Collector::list_packs() {
  TRY_OK(store::for_each(repo_.store(), ctx_, "packs/", [&](const store::ObjectInfo& info) -> Result<> {
    auto id = pack_from_key(info.key);
    if (id) {
      packs_.push_back({*id, info.size});
    } else {
      problem(id.error().message);
    }
    return {};
  }));
  std::sort(packs_.begin(), packs_.end(),
            [](const StoredPack& a, const StoredPack& b) { return a.id < b.id; });
  return {};
}

Result<> Collector::check_missing() {
  for (const PackId& id : live_) {
    if (stored(id) != nullptr || report_.problems.size() >= kMostProblems) continue;
    // Written since the packs were listed, most likely.
    TRY_ASSIGN(const bool there, store::exists(repo_.store(), ctx_, pack_key(id)));
    if (!there) problem(fmt::format("{}: a backup needs it, and it is not there", pack_key(id)));
  }
  return {};
}

bool Collector::must_wait(const CollectionPlan& plan) const {
  return std::any_of(pins_.begin(), pins_.end(), [&](const PinInfo& pin) {
    return !is_old(pin) && contains(plan.pins, pin.writer) &&
           os::liveness(pin.process) != os::Liveness::kDead;  // a dry run leaves those of the dead standing
  });
}

// False: some are under retention still.
Result<bool> Collector::remove_packs(const std::vector<PackId>& packs, CollectionOutcome& outcome) {
  bool all = true;
  for (size_t begin = 0; begin < packs.size(); begin += kRemoveAtOnce) {
    std::vector<store::Key> keys;
    const size_t end = std::min(packs.size(), begin + kRemoveAtOnce);
    for (size_t i = begin; i < end; ++i) keys.push_back(pack_key(packs[i]));
    TRY_OK(ctx_.check());
    TRY_OK(own_->check_standing(ctx_));
    TRY_ASSIGN(const auto results, repo_.store().remove(ctx_, keys));
    for (size_t i = 0; i < results.size(); ++i) {
      const PackId& id = packs[begin + i];
      if (!results[i].result && results[i].result.error().code == Code::kConflict) {
        ++report_.packs_retained;
        all = false;
        continue;
      }
      TRY_OK(results[i].result);
      outcome.removed.push_back(id);
      const StoredPack* pack = stored(id);
      if (pack == nullptr) continue;  // by an earlier run that did not end
      ++report_.packs_removed;
      report_.bytes_removed += pack->size;
    }
  }
  return all;
}

Result<> Collector::remove_objects(const std::vector<std::string>& objects, CollectionOutcome& outcome) {
  for (const std::string& key : objects) {
    // Whatever a plan says, nothing else may ever go by it.
    if (!key.starts_with(kProbePrefix)) return fail(Code::kDamaged, fmt::format("a plan condemns {}", key));
    TRY_OK(store::remove_one(repo_.store(), ctx_, key));
    outcome.removed_objects.push_back(key);
    ++report_.objects_removed;
  }
  return {};
}

Result<> Collector::carry_out(const CollectionPlan& plan) {
  CollectionOutcome outcome;
  outcome.id = plan.id;
  std::vector<PackId> doomed;
  for (const PackId& id : plan.packs) (live_.contains(id) ? outcome.pardoned : doomed).push_back(id);
  report_.packs_pardoned += outcome.pardoned.size();
  if (options_.dry_run) {
    for (const PackId& id : doomed) {
      const StoredPack* pack = stored(id);
      if (pack == nullptr) continue;
      ++report_.packs_removed;
      report_.bytes_removed += pack->size;
    }
    report_.objects_removed += plan.objects.size();
    return {};
  }
  TRY_ASSIGN(const bool all, remove_packs(doomed, outcome));
  TRY_OK(remove_objects(plan.objects, outcome));
  if (!all) return {};
  auto done = put_done(repo_, ctx_, outcome);
  if (!done && done.error().code != Code::kExists) return done;  // another collector's
  return {};
}

Result<> Collector::condemn() {
  PackSet already;
  std::vector<std::string> already_objects;
  for (const CollectionPlan& plan : plans_) {
    if (plan.done) continue;
    already.insert(plan.packs.begin(), plan.packs.end());
    already_objects.insert(already_objects.end(), plan.objects.begin(), plan.objects.end());
  }
  std::vector<WriterId> spared;
  for (const PinInfo& pin : pins_)
    if (!is_old(pin)) spared.push_back(pin.writer);

  CollectionPlan plan;
  for (const StoredPack& pack : packs_) {
    if (live_.contains(pack.id) || already.contains(pack.id)) continue;
    if (contains(spared, writer_of(pack.id))) {
      ++report_.packs_spared_for_pins;
      continue;
    }
    plan.packs.push_back(pack.id);
    report_.bytes_condemned += pack.size;
  }
  TRY_OK(store::for_each(repo_.store(), ctx_, std::string(kProbePrefix),
                         [&](const store::ObjectInfo& info) -> Result<> {
                           if (!contains(already_objects, info.key)) plan.objects.push_back(info.key);
                           return {};
                         }));
  report_.packs_condemned = plan.packs.size();
  if (plan.packs.empty() && plan.objects.empty()) return {};

  plan.created = varve::now();
  plan.not_before = plan.created + options_.grace;
  plan.id = fmt::format("{:%Y%m%d-%H%M%S}-{}", std::chrono::floor<Seconds>(plan.created),
                        to_hex(crypto::random_array<4>()));
  if (!options_.dry_run) {
    TRY_ASSIGN(const std::vector<PinInfo> pins, other_pins());
    plan.pins = writers_of(pins);
    TRY_OK(put_plan(repo_, ctx_, plan));
  }
  plans_.push_back(std::move(plan));
  return {};
}

Result<> Collector::drop(const CollectionPlan& plan, const std::vector<WriterId>& standing) {
  const auto stands = [&](const WriterId& writer) { return contains(standing, writer); };
  if (now_ - plan.created < options_.keep_records ||
      std::any_of(plan.closed_pins.begin(), plan.closed_pins.end(), stands))
    return {};
  // A manifest that could not be withdrawn needs what is gone: as long as it is there, no other may be built
  // on it.
  for (const PackId& id : plan.removed_packs)
    if (live_.contains(id)) return {};
  // The plan first: `done` without it means nothing, it without `done` would be carried out again.
  for (std::string_view part : {kPlanPart.name, kDonePart.name, kClosedPart.name})
    TRY_OK(store::remove_one(repo_.store(), ctx_, collection_key(plan.id, part)));
  return {};
}

// The records of a collection are kept for whoever began before it was done and is under way still.
Result<> Collector::close_and_drop() {
  TRY_ASSIGN(const std::vector<PinInfo> pins, other_pins());
  const std::vector<WriterId> standing = writers_of(pins);
  for (const CollectionPlan& plan : plans_) {
    if (!plan.done) continue;
    if (plan.closed) {
      TRY_OK(drop(plan, standing));
    } else {
      auto closed = put_closed(repo_, ctx_, plan.id, standing);
      if (!closed && closed.error().code != Code::kExists) return closed;
    }
  }
  TRY_ASSIGN(const std::vector<store::Key> leftovers, list_dropped_plans(repo_, ctx_));
  for (const store::Key& key : leftovers) TRY_OK(store::remove_one(repo_.store(), ctx_, key));
  return {};
}

// Money, not safety: whoever may not look for them collects all the same.
Result<> Collector::remove_unfinished() {
  auto removed = repo_.store().remove_unfinished(ctx_, options_.unfinished);
  if (removed) {
    report_.unfinished_removed = *removed;
    return {};
  }
  if (removed.error().code == Code::kUnsupported) return {};
  TRY_OK(ctx_.check());
  problem("what unfinished puts left could not be removed: " + removed.error().describe());
  return {};
}

Result<CollectReport> Collector::run() {
  TRY_OK(remove_dead_pins());
  TRY_OK(remove_ended_copies());
  if (options_.now)
    TRY_OK(refuse_if_others_write(
        "wait until it has ended, or collect without --now; a pin of a host that is gone for "
        "good may be removed from the store"));
  TRY_OK(survey());
  if (options_.now) {
    TRY_OK(condemn());
    // Whoever pins from here on reads the new plan; whoever pinned before is seen now, or has committed
    // already.
    TRY_OK(refuse_if_others_write("what was found is condemned, and goes at a later collection"));
    TRY_ASSIGN(live_, live_packs(repo_, ctx_));
  }
  for (const CollectionPlan& plan : plans_) {
    if (plan.done) continue;
    if (options_.now || (plan.not_before <= now_ && !must_wait(plan))) {
      TRY_OK(carry_out(plan));
      continue;
    }
    if (plan.not_before <= now_) ++report_.plans_waiting_for_pins;
    report_.next_due = plan.not_before;
  }
  if (!options_.now) {
    const size_t before = plans_.size();
    TRY_OK(condemn());
    if (plans_.size() > before) report_.next_due = plans_.back().not_before;
  }
  if (!options_.dry_run) {
    TRY_OK(close_and_drop());
    TRY_OK(remove_unfinished());
  }
  return std::move(report_);
}

}  // namespace

Result<PackSet> live_packs(const Repository& repo, const Context& ctx) {
  TRY_ASSIGN(const std::vector<std::string> sources, list_sources(repo, ctx));
  PackSet live;
  for (const std::string& source : sources) {
    TRY_OK(for_each_manifest(repo, ctx, source, [&](const std::string& id, Result<Manifest> m) -> Result<> {
      if (!m)
        return fail(std::move(m).error().with_context(
            fmt::format("so it is not known which packs backup {} of {} needs", id, source)));
      for (const PackInfo& pack : m->packs) live.insert(pack.id);
      return {};
    }));
  }
  return live;
}

Result<CollectReport> collect(const Repository& repo, const Context& ctx, const CollectOptions& options) {
  TRY_OK(repo.check_may_collect());
  if (options.dry_run) return Collector(repo, ctx, options, nullptr).run();
  // Its own pin tells others that plans it has read may still be carried out.
  // The repository outlives the pin, which lives only in this call: shared without owning.
  const std::shared_ptr<const Repository> unowned(std::shared_ptr<void>(), &repo);
  TRY_ASSIGN(Pin pin, Pin::take(unowned, ctx, "", "gc"));
  auto report = Collector(repo, ctx, options, &pin).run();
  auto released = pin.release(Context{}.with_deadline(std::chrono::seconds(20)));
  if (!released) log::warn("{} could not be removed: {}", pin_key(pin.writer()), released.error().describe());
  return report;
}

}  // namespace varve::repo
