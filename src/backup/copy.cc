#include "backup/copy.h"

#include <algorithm>
#include <fmt/format.h>

#include "backup/copy_pairs.h"
#include "backup/copy_run.h"
#include "base/log.h"
#include "repo/key_object.h"
#include "repo/sealed_json.h"

namespace varve::backup {
namespace {

constexpr size_t kChunk = 20'000;  // items known ahead of copying: some MiB, and the time left
constexpr int kTries = 3;          // when a collection took us for ended

}  // namespace

CopyRun::CopyRun(const Context& ctx, store::StorePtr from, store::StorePtr to, const CopyOptions& options,
                 CopiedConfig config, Progress& progress)
    : ctx_(ctx),
      from_(std::move(from)),
      to_(std::move(to)),
      options_(options),
      config_(std::move(config)),
      progress_(progress),
      transfer_(from_, to_, config_.config, options, progress, report_) {
  report_.from = from_->describe();
  report_.to = to_->describe();
  report_.dry_run = options.dry_run;
}

Result<CopyReport> CopyRun::run() {
  const auto begun = SteadyClock::now();
  for (int tries = 1;; ++tries) {
    auto done = round();
    if (done) break;
    const bool again = lost_pin_ && tries < kTries && !ctx_.stop.stop_requested();
    if (!again) return fail(std::move(done).error());
    log::warn("{}; beginning anew", done.error().describe());
  }
  std::sort(report_.problems.begin(), report_.problems.end());
  report_.problems.erase(std::unique(report_.problems.begin(), report_.problems.end()),
                         report_.problems.end());
  report_.seconds = std::chrono::duration<double>(SteadyClock::now() - begun).count();
  return std::move(report_);
}

Result<> CopyRun::round() {
  lost_pin_ = false;
  report_.problems.clear();
  report_.present = 0;
  TRY_ASSIGN(const bool there, check_target(ctx_, *to_, config_, options_.repair && !options_.dry_run));
  report_.created = !there;
  if (options_.dry_run) return steps();
  TRY_ASSIGN(repo::CopyPin pin, pin_target(ctx_, from_, to_, config_.config.id, options_));
  pin_ = &pin;
  auto done = steps();
  pin_ = nullptr;
  // While there is no repository, the pin tells whose the objects are that lie there already.
  if (!done && report_.created) return done;
  auto released = pin.release(Context{}.with_deadline(std::chrono::seconds(20)));
  if (!released)
    log::warn("{} could not be removed: {}", repo::copy_key(pin.info().id), released.error().describe());
  return done;
}

Result<> CopyRun::steps() {
  progress_.begin("looking at what there is", 0);
  TRY_ASSIGN(survey_, survey(ctx_, *from_, *to_, options_));
  report_.present += survey_.present;
  begun_.clear();
  for (const CopyItem& m : survey_.manifests)
    if (survey_.epochs.contains(backup_of(m.key))) begun_.insert(backup_of(m.key));
  TRY_OK(read_marks());
  TRY_OK(copy_keys());
  TRY_OK(transfer("copying holds", survey_.holds, false));
  TRY_OK(copy_packs());
  TRY_OK(extend_locks());
  split_manifests();
  TRY_OK(copy_manifests(openers_));
  TRY_OK(copy_pieces());
  TRY_OK(copy_manifests(survey_.manifests));
  TRY_OK(transfer("comparing backups", survey_.doubtful, false));
  TRY_OK(copy_marks());
  TRY_OK(copy_prefix("copying events", "events/"));
  TRY_OK(withdraw_what_vanished());
  return options_.dry_run ? Result<>() : put_config();
}

Result<> CopyRun::transfer(const char* phase, std::vector<CopyItem>& items, bool ordered,
                           const Transfer::Done& done) {
  if (items.empty()) return {};
  uint64_t bytes = 0;
  for (const CopyItem& i : items) bytes += i.size;
  if (options_.dry_run) {
    for (size_t i = 0; i < items.size(); ++i) {
      if (!items[i].compare) {
        ++report_.objects;
        report_.bytes += items[i].size;
      }
      done(i, Transfer::Outcome::kThere);
    }
    return {};
  }
  progress_.begin(phase, bytes, items.size());
  return transfer_.run(ctx_, items, ordered, [&](size_t i, Transfer::Outcome outcome) {
    report_.vanished += outcome == Transfer::Outcome::kVanished;
    done(i, outcome);
  });
}

// Everything below a prefix that the target lacks, in chunks. `wanted` may leave out, and say more.
Result<> CopyRun::copy_prefix(const char* phase, const std::string& prefix,
                              const std::function<bool(CopyItem&, const store::ObjectInfo*)>& wanted,
                              const std::function<void(const CopyItem&, Transfer::Outcome)>& done) {
  std::vector<CopyItem> chunk;
  const auto flush = [&] {
    auto out = transfer(phase, chunk, false, [&](size_t i, Transfer::Outcome outcome) {
      if (done) done(chunk[i], outcome);
    });
    chunk.clear();
    return out;
  };
  TRY_OK(for_each_pair(ctx_, *from_, to_.get(), prefix, [&](const auto* a, const auto* b) -> Result<> {
    CopyItem item{.key = a != nullptr ? a->key : b->key, .size = a != nullptr ? a->size : b->size};
    if (wanted && !wanted(item, b)) return {};
    if (a == nullptr) return {};
    if (b != nullptr && a->size == b->size && !options_.deep) {
      ++report_.present;
      return {};
    }
    item.compare = b != nullptr;
    chunk.push_back(std::move(item));
    return chunk.size() < kChunk ? Result<>() : flush();
  }));
  return flush();
}

// Those of this repository: an init that did not end may have left others.
Result<> CopyRun::copy_keys() {
  std::vector<CopyItem> items;
  TRY_OK(for_each_pair(ctx_, *from_, to_.get(), std::string(repo::kKeyPrefix),
                       [&](const auto* a, const auto* b) -> Result<> {
                         if (a == nullptr) return {};
                         CopyItem item{.key = a->key, .size = a->size, .compare = b != nullptr};
                         if (item.compare && !options_.deep && a->size == b->size) {
                           ++report_.present;
                           return {};
                         }
                         items.push_back(std::move(item));
                         return {};
                       }));
  for (CopyItem& item : items) {
    auto bytes = store::get_bytes(*from_, ctx_, item.key, repo::kMaxJsonObject);
    if (!bytes) continue;  // told when it is copied
    const auto key = repo::parse_key_object(repo::last_segment(item.key), as_text(*bytes));
    if (key && key->repository != config_.config.id) item.key.clear();
  }
  std::erase_if(items, [](const CopyItem& i) { return i.key.empty(); });
  return transfer("copying keys", items, false);
}

Result<> CopyRun::put_config() {
  if (!report_.created) return {};
  store::PutOptions how;
  if (options_.retain) how.retain_until = locked_until(*options_.retain);
  auto put = store::put_bytes(*to_, ctx_, std::string(repo::kConfigKey), as_bytes(config_.text), how);
  if (!put && put.error().code != Code::kExists) return fail(std::move(put).error());
  TRY_ASSIGN(const Buffer stored,
             store::get_bytes(*to_, ctx_, std::string(repo::kConfigKey), repo::kMaxJsonObject));
  if (as_text(stored) != config_.text)
    return fail(Code::kConflict, fmt::format("{} holds another varve.json than was put", report_.to));
  ++report_.objects;
  report_.bytes += stored.size();
  return {};
}

Result<CopyReport> copy(const Context& ctx, store::StorePtr from, store::StorePtr to,
                        const CopyOptions& options, Progress& progress) {
  TRY_OK(crypto::init());
  if (options.retain && !to->capabilities().retention)
    return fail(Code::kUnsupported,
                fmt::format("{} cannot keep objects from being removed, and retain = is set", to->describe()),
                "use a bucket with Object Lock (docs/stores/), or take out retain");
  TRY_ASSIGN(CopiedConfig config, read_copied_config(ctx, *from));
  return CopyRun(ctx, std::move(from), std::move(to), options, std::move(config), progress).run();
}

}  // namespace varve::backup
