#include "backup/copy.h"

#include <algorithm>
#include <fmt/format.h>

#include "backup/copy_pairs.h"
#include "backup/copy_survey.h"
#include "backup/copy_target.h"
#include "base/log.h"
#include "base/text.h"
#include "repo/key_object.h"
#include "repo/sealed_json.h"

// The order of the steps makes the copy a repository at every instant; docs/format/copy.md has the argument.
namespace varve::backup {
namespace {

constexpr size_t kChunk = 20'000;         // items known ahead of copying: some MiB, and the time left
constexpr size_t kManifestsAtOnce = 100;  // confirmed together
constexpr uint64_t kManifestBytes = 32u << 20;
constexpr auto kConfirm = std::chrono::seconds(120);  // as a commit's
constexpr int kTries = 3;                             // when a collection took us for ended
constexpr size_t kMostAffected = 1000;

// A pack that a backup which is to be copied needs.
struct Needed {
  repo::PackId id;
  uint64_t size = 0;
  codec::Checksum checksum{};
  bool there = false;  // at the target
};

class CopyRun {
 public:
  CopyRun(const Context& ctx, store::StorePtr from, store::StorePtr to, const CopyOptions& options,
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

  Result<CopyReport> run() {
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

 private:
  bool keyed() const { return options_.opened != nullptr; }

  Result<> round() {
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

  Result<> steps() {
    progress_.begin("looking at what there is", 0);
    TRY_ASSIGN(survey_, survey(ctx_, *from_, *to_, options_));
    report_.present += survey_.present;
    TRY_OK(read_marks());
    TRY_OK(copy_keys());
    TRY_OK(transfer("copying holds", survey_.holds, false));
    TRY_OK(copy_packs());
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

  // --- small objects ---

  Result<> transfer(
      const char* phase, std::vector<CopyItem>& items, bool ordered,
      const Transfer::Done& done = [](size_t, Transfer::Outcome) {}) {
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
  Result<> copy_prefix(const char* phase, const std::string& prefix, bool ordered = false,
                       const std::function<bool(CopyItem&, bool at_target)>& wanted = {},
                       const std::function<void(const CopyItem&, Transfer::Outcome)>& done = {}) {
    std::vector<CopyItem> chunk;
    const auto flush = [&] {
      auto out = transfer(phase, chunk, ordered, [&](size_t i, Transfer::Outcome outcome) {
        if (done) done(chunk[i], outcome);
      });
      chunk.clear();
      return out;
    };
    TRY_OK(for_each_pair(ctx_, *from_, to_.get(), prefix, [&](const auto* a, const auto* b) -> Result<> {
      CopyItem item{.key = a != nullptr ? a->key : b->key, .size = a != nullptr ? a->size : b->size};
      if (wanted && !wanted(item, b != nullptr)) return {};
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
  Result<> copy_keys() {
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

  // --- marks: read before the pieces that they speak of are listed, put after those ---

  Result<> read_marks() {
    marks_.clear();
    put_off_.clear();
    for (const auto& [name, epoch] : survey_.epochs) {
      if (epoch.mark.empty() || (!epoch.marks.empty() && epoch.marks.back() >= epoch.mark)) continue;
      TRY_ASSIGN(auto mark, newest_mark(name));
      if (mark) marks_.push_back(std::move(*mark));
    }
    return {};
  }

  // A follower replaces its mark every few seconds.
  Result<std::optional<CopyItem>> newest_mark(const EpochKey& epoch) const {
    const std::string prefix = repo::log_prefix(epoch.first, epoch.second) + "mark-";
    for (int tries = 0; tries < 3; ++tries) {
      store::Key key;
      TRY_OK(store::for_each(*from_, ctx_, prefix, [&](const store::ObjectInfo& o) -> Result<> {
        key = o.key;
        return {};
      }));
      if (key.empty()) return std::nullopt;
      auto bytes = store::get_bytes(*from_, ctx_, key, repo::kMaxJsonObject);
      if (bytes) return CopyItem{.key = key, .size = bytes->size(), .content = std::move(*bytes)};
      if (bytes.error().code != Code::kNotFound) return std::nullopt;  // a mark is a comfort, no more
    }
    return std::nullopt;
  }

  Result<> copy_marks() {
    std::vector<store::Key> old;
    std::erase_if(marks_, [&](const CopyItem& m) { return put_off_.contains(epoch_of(m.key)); });
    TRY_OK(transfer("copying marks", marks_, false, [&](size_t i, Transfer::Outcome outcome) {
      if (outcome != Transfer::Outcome::kThere) return;
      for (const store::Key& key : survey_.epochs.at(epoch_of(marks_[i].key)).marks)
        if (key < marks_[i].key) old.push_back(key);
    }));
    if (options_.dry_run) return {};
    for (const store::Key& key : old) TRY_OK(store::remove_one(*to_, ctx_, key));
    return {};
  }

  static EpochKey epoch_of(std::string_view log_key) {
    const auto parts = split(log_key, '/');
    return {std::string(parts[1]), std::string(parts[3])};
  }

  // --- packs ---

  Result<> copy_packs() {
    failed_packs_.clear();
    if (survey_.manifests.empty() && !options_.deep) return {};
    if (keyed()) TRY_OK(find_needed());
    return copy_prefix(
        "copying packs", "packs/", false,
        [&](CopyItem& item, bool at_target) {
          const auto id = repo::pack_from_key(item.key);
          if (!id) return false;
          if (!keyed()) return true;
          Needed* needed = find(*id);
          if (needed == nullptr) return at_target && options_.deep;
          item.checksum = needed->checksum;
          // What is compared and found wanting is taken back below.
          if (at_target && item.size == needed->size) needed->there = true;
          return true;
        },
        [&](const CopyItem& item, Transfer::Outcome outcome) {
          const auto id = repo::pack_from_key(item.key);
          Needed* needed = id ? find(*id) : nullptr;
          if (needed != nullptr) needed->there = outcome == Transfer::Outcome::kThere;
          if (outcome == Transfer::Outcome::kProblem && !item.compare) failed_packs_.push_back(item.key);
        });
  }

  Needed* find(const repo::PackId& id) {
    const auto at =
        std::lower_bound(needed_.begin(), needed_.end(), id,
                         [](const Needed& n, const repo::PackId& wanted) { return n.id < wanted; });
    return at == needed_.end() || at->id != id ? nullptr : &*at;
  }

  // Reads the manifests that are to be copied; those that cannot be, are told and left.
  Result<> find_needed() {
    needed_.clear();
    std::vector<CopyItem> readable;
    for (CopyItem& item : survey_.manifests) {
      TRY_OK(ctx_.check());
      const auto [source, id] = backup_of(item.key);
      auto m = repo::load_manifest(*options_.opened, ctx_, source, id);
      if (!m) {
        TRY_OK(tell_unreadable(item.key, m.error()));
        continue;
      }
      for (const repo::PackInfo& p : m->packs) needed_.push_back({p.id, p.size, p.checksum, false});
      // Backups share most of their packs.
      if (needed_.size() > 2 * distinct_ + 100'000) distinct();
      readable.push_back(std::move(item));
    }
    distinct();
    survey_.manifests = std::move(readable);
    return {};
  }
  void distinct() {
    std::sort(needed_.begin(), needed_.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
    const auto end = std::unique(needed_.begin(), needed_.end(),
                                 [](const auto& a, const auto& b) { return a.id == b.id; });
    needed_.erase(end, needed_.end());
    distinct_ = needed_.size();
  }

  Result<> tell_unreadable(const store::Key& key, const Error& error) {
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
  static std::string backup_name(const store::Key& manifest) {
    const auto [source, id] = backup_of(manifest);
    return source + "/" + id;
  }

  // --- manifests ---

  // A log never stands without the backup it begins with, which has its name; other backups of an epoch
  // follow the pieces that lead to them, so that there is no gap.
  void split_manifests() {
    openers_.clear();
    std::erase_if(survey_.manifests, [&](CopyItem& item) {
      if (!survey_.epochs.contains(backup_of(item.key))) return false;
      openers_.push_back(std::move(item));
      return true;
    });
  }

  Result<> copy_manifests(std::vector<CopyItem>& all) {
    if (!keyed() && !failed_packs_.empty()) return withhold(all);
    for (size_t begin = 0; begin < all.size();) {
      std::vector<CopyItem> chunk;
      uint64_t bytes = 0;
      for (; begin < all.size() && chunk.size() < kManifestsAtOnce && bytes < kManifestBytes; ++begin) {
        TRY_ASSIGN(const bool ready, may_be_put(all[begin]));
        if (!ready) continue;
        bytes += all[begin].size;
        chunk.push_back(std::move(all[begin]));
      }
      TRY_OK(put_manifests(chunk));
    }
    return {};
  }

  // With the key: whether every pack it needs is at the target.
  Result<bool> may_be_put(CopyItem& item) {
    if (!keyed()) return true;
    const auto [source, id] = backup_of(item.key);
    auto bytes = store::get_bytes(*from_, ctx_, item.key, uint64_t{1} << 30);
    if (!bytes) {
      TRY_OK(tell_unreadable(item.key, bytes.error()));
      return false;
    }
    auto plain = options_.opened->open_object("manifest", item.key, *bytes);
    auto m = plain ? repo::decode_manifest(*plain) : Result<repo::Manifest>(fail(plain.error()));
    if (!m) {
      TRY_OK(tell_unreadable(item.key, m.error()));
      return false;
    }
    std::vector<const repo::PackInfo*> missing;
    for (const repo::PackInfo& p : m->packs) {
      const Needed* needed = find(p.id);
      if (!options_.dry_run && (needed == nullptr || !needed->there)) missing.push_back(&p);
    }
    item.content = std::move(*bytes);
    if (missing.empty()) return true;
    // Expired meanwhile: then its packs may be gone, too.
    TRY_ASSIGN(const bool there, store::exists(*from_, ctx_, item.key));
    report_.vanished += !there;
    if (there)
      for (const auto* p : missing) tell_missing(repo::pack_key(p->id), backup_name(item.key));
    return false;
  }

  void tell_missing(const store::Key& pack, const std::string& backup) {
    for (CopyProblem& p : report_.problems) {
      if (p.object != pack) continue;
      if (p.affects.size() < kMostAffected) p.affects.push_back(backup);
      return;
    }
    transfer_.problem({pack, "missing", report_.from, "is missing, and a backup needs it", {backup}});
  }

  // Without the key it cannot be told which of them need a pack that could not be copied.
  Result<> withhold(const std::vector<CopyItem>& all) {
    for (const CopyItem& item : all) tell_missing(failed_packs_.front(), backup_name(item.key));
    if (!all.empty())
      report_.notes.push_back(fmt::format(
          "{} new backups were not copied: without the key it cannot be told which of them need the "
          "packs that could not be copied; with the key only those are left out",
          all.size()));
    return {};
  }

  Result<> put_manifests(std::vector<CopyItem>& chunk) {
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
      if (auto removed = withdraw(after, put); !removed)
        why.context.push_back(fmt::format("and the newest backups could not be withdrawn ({}): verify {}",
                                          removed.error().describe(), report_.to));
      return fail(std::move(why));
    }
    put_.insert(put_.end(), put.begin(), put.end());
    return done;
  }

  Result<> check_pin(const Context& ctx) {
    auto standing = pin_->check_standing(ctx);
    lost_pin_ = !standing && standing.error().code == Code::kConflict;
    return standing;
  }

  Result<> withdraw(const Context& ctx, const std::vector<store::Key>& keys) {
    for (const store::Key& key : keys) TRY_OK(store::remove_one(*to_, ctx, key));
    report_.backups -= std::min<uint64_t>(report_.backups, keys.size());
    report_.objects -= std::min<uint64_t>(report_.objects, keys.size());
    return {};
  }

  // What its writer withdrew, or an expiry took while it was being copied, is no backup to be relied on:
  // packs or pieces that we found no more may have gone with it.
  Result<> withdraw_what_vanished() {
    std::vector<store::Key> gone;
    for (const store::Key& key : put_) {
      TRY_ASSIGN(const bool there, store::exists(*from_, ctx_, key));
      if (!there) gone.push_back(key);
    }
    put_.clear();
    report_.vanished += gone.size();
    for (const store::Key& key : gone)
      if (survey_.epochs.contains(backup_of(key))) TRY_OK(withdraw_log(backup_of(key)));
    return withdraw(ctx_, gone);
  }

  // Of an epoch that went whole at the original: its log from the end backwards, before its base. Where later
  // bases of it are left, they need the log.
  Result<> withdraw_log(const EpochKey& name) {
    const std::string prefix = repo::log_prefix(name.first, name.second);
    TRY_ASSIGN(const store::ListPage left, from_->list(ctx_, prefix, "", 1));
    if (!left.objects.empty()) return {};
    std::vector<store::Key> keys;
    TRY_OK(store::for_each(*to_, ctx_, prefix, [&](const store::ObjectInfo& o) -> Result<> {
      keys.push_back(o.key);
      return {};
    }));
    for (auto key = keys.rbegin(); key != keys.rend(); ++key) TRY_OK(store::remove_one(*to_, ctx_, *key));
    return {};
  }

  // --- pieces of logs ---

  Result<> copy_pieces() {
    for (const auto& [name, epoch] : survey_.epochs) {
      if (epoch.missing == 0) continue;
      TRY_ASSIGN(const bool now, may_begin(name, epoch));
      if (!now) {
        put_off_.insert(name);
        continue;
      }
      // One after the other, so that there is never a gap; where nobody looks yet, side by side.
      TRY_OK(copy_prefix("copying the log", repo::log_prefix(name.first, name.second), !report_.created,
                         [](CopyItem& item, bool) {
                           return repo::parse_log_name(repo::last_segment(item.key)).has_value();
                         }));
    }
    return {};
  }

  // An epoch that began after the manifests were listed waits for the next run, for its base is not there
  // yet.
  Result<bool> may_begin(const EpochKey& name, const CopiedEpoch& epoch) {
    if (report_.created || epoch.begun) return true;
    const store::Key opener = repo::manifest_key(name.first, name.second);
    const auto is_opener = [&](const store::Key& key) { return key == opener; };
    if (std::any_of(put_.begin(), put_.end(), is_opener)) return true;
    TRY_ASSIGN(const bool at_target, store::exists(*to_, ctx_, opener));
    if (at_target) return true;
    TRY_ASSIGN(const bool at_source, store::exists(*from_, ctx_, opener));
    return !at_source || options_.dry_run;
  }

  // --- the end ---

  Result<> put_config() {
    if (!report_.created) return {};
    auto put = store::put_bytes(*to_, ctx_, std::string(repo::kConfigKey), as_bytes(config_.text));
    if (!put && put.error().code != Code::kExists) return fail(std::move(put).error());
    TRY_ASSIGN(const Buffer stored,
               store::get_bytes(*to_, ctx_, std::string(repo::kConfigKey), repo::kMaxJsonObject));
    if (as_text(stored) != config_.text)
      return fail(Code::kConflict, fmt::format("{} holds another varve.json than was put", report_.to));
    ++report_.objects;
    report_.bytes += stored.size();
    return {};
  }

  const Context& ctx_;
  const store::StorePtr from_, to_;
  const CopyOptions& options_;
  const CopiedConfig config_;
  Progress& progress_;
  CopyReport report_;
  Transfer transfer_;
  const repo::CopyPin* pin_ = nullptr;
  bool lost_pin_ = false;

  CopySurvey survey_;
  std::vector<CopyItem> marks_, openers_;
  std::vector<Needed> needed_;  // ascending by id; with the key
  size_t distinct_ = 0;
  std::vector<store::Key> failed_packs_;
  std::vector<store::Key> put_;  // manifests, by this run
  std::set<EpochKey> put_off_;
};

}  // namespace

Result<CopyReport> copy(const Context& ctx, store::StorePtr from, store::StorePtr to,
                        const CopyOptions& options, Progress& progress) {
  TRY_OK(crypto::init());
  TRY_ASSIGN(CopiedConfig config, read_copied_config(ctx, *from));
  return CopyRun(ctx, std::move(from), std::move(to), options, std::move(config), progress).run();
}

}  // namespace varve::backup
