#include <algorithm>
#include <fmt/format.h>

#include "backup/copy_run.h"
#include "backup/verify_findings.h"
#include "repo/key_object.h"
#include "repo/retention.h"

namespace varve::backup {
namespace {

constexpr unsigned kReaders = 8;
constexpr size_t kManifestsAtOnce = 100;  // confirmed together
constexpr uint64_t kManifestBytes = 32u << 20;
constexpr uint64_t kMostManifest = uint64_t{1} << 30;
constexpr auto kConfirm = std::chrono::seconds(120);  // as a commit's
constexpr size_t kMostAffected = 1000;

}  // namespace

Result<> CopyRun::copy_packs() {
  failed_packs_.clear();
  if (survey_.manifests.empty() && !options_.deep) return {};
  if (keyed()) TRY_OK(find_needed());
  return copy_prefix(
      "copying packs", "packs/",
      [&](CopyItem& item, const store::ObjectInfo* at_target) {
        const auto id = repo::pack_from_key(item.key);
        if (!id) return false;
        if (!keyed()) return true;
        Needed* needed = find(*id);
        if (needed == nullptr) return at_target != nullptr && options_.deep;
        item.checksum = needed->checksum;
        // What is compared and found wanting is taken back below.
        if (at_target != nullptr && at_target->size == needed->size) needed->there = true;
        if (at_target != nullptr && options_.retain)
          needed->extend = now() - at_target->modified > repo::retention_slack(*options_.retain);
        return true;
      },
      [&](const CopyItem& item, Transfer::Outcome outcome) {
        const auto id = repo::pack_from_key(item.key);
        Needed* needed = id ? find(*id) : nullptr;
        if (needed != nullptr) needed->there = outcome == Transfer::Outcome::kThere;
        if (outcome == Transfer::Outcome::kProblem && !item.compare) failed_packs_.push_back(item.key);
      });
}

// What new backups need and was copied long ago is locked for longer, as a commit does.
Result<> CopyRun::extend_locks() {
  if (!options_.retain || options_.dry_run || survey_.manifests.empty()) return {};
  std::vector<store::Key> keys;
  for (const Needed& n : needed_)
    if (n.there && n.extend) keys.push_back(repo::pack_key(n.id));
  TRY_OK(
      store::for_each(*to_, ctx_, std::string(repo::kKeyPrefix), [&](const store::ObjectInfo& o) -> Result<> {
        keys.push_back(o.key);
        return {};
      }));
  if (!report_.created) keys.emplace_back(repo::kConfigKey);
  if (!keyed())
    report_.notes.push_back("without a key the locks of packs that were copied before are not extended");
  return in_parallel(ctx_, kReaders, keys.size(), [&](const Context& ctx, size_t i) {
    return to_->extend_retention(ctx, keys[i], locked_until(*options_.retain));
  });
}

CopyRun::Needed* CopyRun::find(const repo::PackId& id) {
  const auto at = std::lower_bound(needed_.begin(), needed_.end(), id,
                                   [](const Needed& n, const repo::PackId& wanted) { return n.id < wanted; });
  return at == needed_.end() || at->id != id ? nullptr : &*at;
}

// Reads the manifests that are to be copied; those that cannot be, are told and left.
Result<> CopyRun::find_needed() {
  needed_.clear();
  distinct_ = 0;
  std::mutex mutex;
  auto& all = survey_.manifests;
  TRY_OK(in_parallel(ctx_, kReaders, all.size(), [&](const Context& ctx, size_t i) -> Result<> {
    const auto [source, id] = backup_of(all[i].key);
    const auto m = repo::load_manifest(*options_.opened, ctx, source, id);
    std::lock_guard lock(mutex);
    if (!m) {
      TRY_OK(tell_unreadable(all[i].key, m.error()));
      all[i].key.clear();
      return {};
    }
    for (const repo::PackInfo& p : m->packs) needed_.push_back({p.id, p.size, p.checksum, false});
    // Backups share most of their packs.
    if (needed_.size() > 2 * distinct_ + 100'000) distinct();
    return {};
  }));
  distinct();
  std::erase_if(all, [](const CopyItem& item) { return item.key.empty(); });
  return {};
}

void CopyRun::distinct() {
  std::sort(needed_.begin(), needed_.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  const auto end =
      std::unique(needed_.begin(), needed_.end(), [](const auto& a, const auto& b) { return a.id == b.id; });
  needed_.erase(end, needed_.end());
  distinct_ = needed_.size();
}

Result<> CopyRun::tell_unreadable(const store::Key& key, const Error& error) {
  switch (error.code) {
    case Code::kNotFound:
      ++report_.vanished;
      return {};
    case Code::kUnreachable:
    case Code::kInterrupted:
      return fail(error);
    default:
      transfer_.problem({key,
                         error.code == Code::kDamaged ? "damaged" : "unreadable",
                         report_.from,
                         error.describe(),
                         {backup_name(key)}});
      return {};
  }
}

// A log never stands without the backup it begins with, which has its name; other backups of an epoch
// follow the pieces that lead to them, so that there is no gap.
void CopyRun::split_manifests() {
  openers_.clear();
  std::erase_if(survey_.manifests, [&](CopyItem& item) {
    if (!survey_.epochs.contains(backup_of(item.key))) return false;
    openers_.push_back(std::move(item));
    return true;
  });
}

Result<> CopyRun::copy_manifests(std::vector<CopyItem>& all) {
  if (!keyed()) TRY_OK(withhold_doubtful(all));
  for (size_t begin = 0; begin < all.size();) {
    std::vector<CopyItem> chunk;
    uint64_t bytes = 0;
    for (; begin < all.size() && chunk.size() < kManifestsAtOnce && bytes < kManifestBytes; ++begin) {
      bytes += all[begin].size;
      chunk.push_back(std::move(all[begin]));
    }
    if (keyed()) TRY_OK(keep_whole(chunk));
    TRY_OK(put_manifests(chunk));
  }
  return {};
}

// With the key: leaves those of which every pack is at the target, and the log that they need.
Result<> CopyRun::keep_whole(std::vector<CopyItem>& chunk) {
  std::vector<Result<Buffer>> bytes(chunk.size());
  TRY_OK(in_parallel(ctx_, kReaders, chunk.size(), [&](const Context& ctx, size_t i) -> Result<> {
    bytes[i] = store::get_bytes(*from_, ctx, chunk[i].key, kMostManifest);
    return {};
  }));
  std::vector<CopyItem> whole;
  for (size_t i = 0; i < chunk.size(); ++i) {
    TRY_ASSIGN(const bool keep, is_whole(chunk[i], bytes[i]));
    if (!keep) continue;
    chunk[i].content = std::move(*bytes[i]);
    whole.push_back(std::move(chunk[i]));
  }
  chunk = std::move(whole);
  return {};
}

Result<bool> CopyRun::is_whole(const CopyItem& item, const Result<Buffer>& bytes) {
  const auto plain = bytes ? options_.opened->open_object("manifest", item.key, *bytes) : bytes;
  const auto m = plain ? repo::decode_manifest(*plain) : Result<repo::Manifest>(fail(plain.error()));
  if (!m) {
    TRY_OK(tell_unreadable(item.key, m.error()));
    return false;
  }
  if (options_.dry_run) return true;
  std::vector<const repo::PackInfo*> missing;
  for (const repo::PackInfo& p : m->packs)
    if (const Needed* needed = find(p.id); needed == nullptr || !needed->there) missing.push_back(&p);
  TRY_ASSIGN(const auto log, missing_log(*m));
  if (missing.empty() && !log) return true;
  // Expired meanwhile: then its packs may be gone, too.
  TRY_ASSIGN(const bool there, store::exists(*from_, ctx_, item.key));
  report_.vanished += !there;
  if (!there) return false;
  for (const auto* p : missing) tell_missing(repo::pack_key(p->id), backup_name(item.key));
  if (log) tell_missing(*log, backup_name(item.key));
  return false;
}

void CopyRun::tell_missing(const store::Key& object, const std::string& backup) {
  for (CopyProblem& p : report_.problems) {
    if (p.object != object) continue;
    if (p.affects.size() < kMostAffected) p.affects.push_back(backup);
    return;
  }
  transfer_.problem({object, "missing", report_.from, "is missing, and a backup needs it", {backup}});
}

// Without the key it cannot be told which of them need a pack that could not be copied, or a piece of the
// log.
Result<> CopyRun::withhold_doubtful(std::vector<CopyItem>& all) {
  const size_t before = all.size();
  std::erase_if(all, [&](const CopyItem& item) {
    const auto log = failed_logs_.find(backup_of(item.key).first);
    if (failed_packs_.empty() && log == failed_logs_.end()) return false;
    tell_missing(failed_packs_.empty() ? log->second : failed_packs_.front(), backup_name(item.key));
    return true;
  });
  if (all.size() < before)
    report_.notes.push_back(fmt::format(
        "{} new backups were not copied: without the key it cannot be told which of them need the {} that "
        "could not be copied; with the key only those are left out",
        before - all.size(), failed_packs_.empty() ? "WAL" : "packs"));
  return {};
}

Result<> CopyRun::put_manifests(std::vector<CopyItem>& chunk) {
  if (chunk.empty()) return {};
  if (!options_.dry_run) TRY_OK(check_pin(ctx_));
  std::vector<store::Key> put;
  auto done = transfer("copying backups", chunk, false, [&](size_t i, Transfer::Outcome outcome) {
    if (outcome == Transfer::Outcome::kThere) put.push_back(chunk[i].key);
  });
  report_.backups += put.size();
  if (options_.dry_run) return done;
  // They count only if the pin still stands: else a collection may have begun that saw neither it nor them.
  // Whatever stopped us, this is settled.
  const Context after = Context{}.with_deadline(kConfirm);
  if (auto standing = check_pin(after); !standing) {
    Error why = std::move(standing).error();
    // Also those whose put failed: it may have arrived all the same.
    std::vector<store::Key> all;
    for (const CopyItem& item : chunk) all.push_back(item.key);
    uncount(put.size());
    if (auto removed = withdraw(after, all); !removed)
      why.context.push_back(fmt::format("and the newest backups could not be withdrawn ({}): verify {}",
                                        removed.error().describe(), report_.to));
    return fail(std::move(why));
  }
  put_.insert(put_.end(), put.begin(), put.end());
  // Locked only now, for a locked one could not be withdrawn.
  for (const store::Key& key : put)
    if (options_.retain) TRY_OK(to_->extend_retention(after, key, locked_until(*options_.retain)));
  return done;
}

Result<> CopyRun::check_pin(const Context& ctx) {
  auto standing = pin_->check_standing(ctx);
  lost_pin_ = !standing && standing.error().code == Code::kConflict;
  return standing;
}

Result<> CopyRun::withdraw(const Context& ctx, const std::vector<store::Key>& keys) {
  for (const store::Key& key : keys) TRY_OK(store::remove_one(*to_, ctx, key));
  return {};
}

void CopyRun::uncount(uint64_t manifests) {
  report_.backups -= std::min(report_.backups, manifests);
  report_.objects -= std::min(report_.objects, manifests);
}

// What its writer withdrew, or an expiry took while it was being copied, is no backup to be relied on:
// packs or pieces that we found no more may have gone with it.
Result<> CopyRun::withdraw_what_vanished() {
  std::vector<store::Key> gone;
  for (const store::Key& key : put_) {
    TRY_ASSIGN(const bool there, store::exists(*from_, ctx_, key));
    if (!there) gone.push_back(key);
  }
  put_.clear();
  report_.vanished += gone.size();
  uncount(gone.size());
  for (const store::Key& key : gone)
    if (survey_.epochs.contains(backup_of(key))) TRY_OK(withdraw_log(backup_of(key)));
  return withdraw(ctx_, gone);
}

}  // namespace varve::backup
