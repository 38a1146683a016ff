#include "backup/verify.h"

#include <algorithm>
#include <fmt/format.h>
#include <thread>
#include <unordered_set>

#include "backup/engines.h"
#include "backup/verify_backup.h"
#include "backup/verify_log.h"
#include "backup/verify_objects.h"
#include "base/text.h"
#include "repo/collect.h"
#include "repo/copy_pin.h"
#include "repo/hold.h"

// The order in which things are listed makes it safe to verify while others back up, follow, expire and
// collect: what a mark or a manifest speaks of was written before it, so it is listed after them. What was
// listed and is then gone is asked for again, and forgiven when whatever needed it is gone, too.
namespace varve::backup {
namespace {

constexpr unsigned kMostWorkers =
    4;  // each holds a frame or two; together they stay within the promise of memory

class Verifier {
 public:
  Verifier(repo::RepositoryPtr repo, const Context& ctx, const VerifyOptions& options, Progress& progress)
      : repo_(std::move(repo)), ctx_(ctx), options_(options), progress_(progress) {
    const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
    workers_ = options.workers ? options.workers : std::min(cores, kMostWorkers);
  }

  Result<VerifyReport> run() {
    progress_.begin("reading what there is", 0);
    TRY_OK(find_sources());
    for (auto& [name, log] : logs_) TRY_OK(log.look_first());
    for (auto& [name, log] : logs_) TRY_OK(read_manifests(name));
    TRY_OK(classify_unreadable());
    TRY_OK(take_inventory());
    TRY_OK(check_bytes());
    TRY_OK(check_small());
    TRY_OK(check_backups());
    for (auto& [name, log] : logs_) TRY_OK(log.check_coverage(backups_, unreadable_problems_[name], report_));
    TRY_OK(conclude());
    return std::move(report_);
  }

 private:
  bool everything() const { return options_.source.empty(); }

  Result<> find_sources() {
    std::vector<std::string> names{options_.source};
    if (everything()) {
      TRY_ASSIGN(names, repo::list_sources(*repo_, ctx_));
    } else {
      TRY_ASSIGN(const auto all, repo::list_sources(*repo_, ctx_));
      if (std::find(all.begin(), all.end(), options_.source) == all.end()) {
        const auto near = nearest(options_.source, all);
        return fail(Code::kNotFound, fmt::format("there is no backup of {}", options_.source),
                    near.empty() ? "`varve list` shows what there is"
                                 : fmt::format("did you mean {}?", near.front()));
      }
    }
    for (const std::string& name : names) {
      if (repo::check_name(name)) {
        logs_.emplace(std::piecewise_construct, std::forward_as_tuple(name),
                      std::forward_as_tuple(repo_, ctx_, name, findings_));
      }
    }
    return {};
  }

  // --- manifests ---

  Result<> read_manifests(const std::string& source) {
    return repo::for_each_manifest(*repo_, ctx_, source,
                                   [&](const std::string& id, Result<repo::Manifest> m) -> Result<> {
                                     if (!m) {
                                       unreadable_.push_back({source, id, m.error()});
                                     } else {
                                       take_in(*m);
                                     }
                                     return {};
                                   });
  }

  void take_in(const repo::Manifest& m) {
    CheckedBackup backup;
    backup.source = m.source;
    backup.id = m.id;
    backup.epoch = m.epoch;
    if (const auto place = place_of(m)) {
      backup.anchor = place->after;
      backup.first_state = place->first_state;
    }
    for (const repo::PackInfo& p : m.packs) {
      const auto [at, added] = packs_.try_emplace(p.id, p);
      if (added || (at->second.size == p.size && at->second.checksum == p.checksum)) continue;
      backup.problems.insert(findings_.add(
          repo::manifest_key(m.source, m.id),
          {"damaged", fmt::format("describes {} otherwise than another backup does", repo::pack_key(p.id))}));
    }
    backups_.push_back(std::move(backup));
  }

  struct Unreadable {
    std::string source, id;
    Error error;
  };
  Result<> classify_unreadable() {
    std::vector<std::string> siblings;
    if (!unreadable_.empty()) {
      for (const CheckedBackup& b : backups_) siblings.push_back(repo::manifest_key(b.source, b.id));
      for (const Unreadable& u : unreadable_) siblings.push_back(repo::manifest_key(u.source, u.id));
    }
    for (const Unreadable& u : unreadable_) {
      const std::string key = repo::manifest_key(u.source, u.id);
      TRY_ASSIGN(const Damage d, sealed_damage(*repo_, ctx_, "manifest", key, u.error, siblings));
      const auto id = findings_.add(key, d);
      unreadable_problems_[u.source].insert(id);
      CheckedBackup backup;
      backup.source = u.source;
      backup.id = u.id;
      backup.unreadable = true;
      backup.problems.insert(id);
      backups_.push_back(std::move(backup));
    }
    std::sort(backups_.begin(), backups_.end(), [](const CheckedBackup& a, const CheckedBackup& b) {
      return a.source != b.source ? a.source < b.source : a.id < b.id;
    });
    report_.objects += backups_.size();
    return {};
  }

  // --- what is there ---

  Result<> take_inventory() {
    if (!everything()) {
      LogChecker& log = logs_.at(options_.source);
      TRY_OK(store::for_each(repo_->store(), ctx_, repo::log_prefix(options_.source),
                             [&](const store::ObjectInfo& o) -> Result<> {
                               if (!log.add(o)) strange(o);
                               return {};
                             }));
      TRY_OK(store::for_each(repo_->store(), ctx_, repo::hold_key(options_.source, ""),
                             [&](const store::ObjectInfo& o) -> Result<> {
                               note_object(o);
                               return {};
                             }));
      return store::for_each(repo_->store(), ctx_, "packs/", [&](const store::ObjectInfo& o) -> Result<> {
        note_pack(o);
        return {};
      });
    }
    return store::for_each(repo_->store(), ctx_, "", [&](const store::ObjectInfo& o) -> Result<> {
      note_object(o);
      return {};
    });
  }

  void note_object(const store::ObjectInfo& o) {
    if (o.key.starts_with("packs/")) return note_pack(o);
    if (o.key == repo::kConfigKey || o.key.starts_with("keys/") || o.key.starts_with(repo::kCopyPrefix))
      return count(o.size);
    if (auto kind = kind_of(o.key)) {
      if (*kind == "pin") {
        if (auto writer = repo::WriterId::from_hex_text(repo::last_segment(o.key)))
          pinned_.insert(writer->hex());
      }
      count(o.size);
      return small_.push_back({o.key, *kind, o.size});
    }
    if (o.key.starts_with("sources/")) {
      const std::string source = o.key.substr(8, o.key.find('/', 8) - 8);
      if (o.key == repo::manifest_key(source, repo::last_segment(o.key))) {
        report_.bytes += o.size;  // counted as an object when it was read
        return;
      }
      auto log = logs_.find(source);
      if (log == logs_.end() && o.key.starts_with(repo::log_prefix(source)))
        return;  // a source born meanwhile
      if (log != logs_.end() && o.key.starts_with(repo::log_prefix(source)) && log->second.add(o)) return;
    }
    strange(o);
  }

  void note_pack(const store::ObjectInfo& o) {
    auto id = repo::pack_from_key(o.key);
    if (!id) return strange(o);
    stored_[*id] = o.size;
  }

  void count(uint64_t bytes) {
    ++report_.objects;
    report_.bytes += bytes;
  }
  void strange(const store::ObjectInfo& o) {
    report_.notes.push_back(
        fmt::format("{}: is no object of Varve's ({})", printable(o.key), human_size(o.size)));
  }

  // --- bytes ---

  Result<> check_bytes() {
    std::vector<const repo::PackInfo*> packs;
    for (const auto& [id, info] : packs_) packs.push_back(&info);
    std::sort(packs.begin(), packs.end(), [](const auto* a, const auto* b) { return a->id < b->id; });
    std::vector<CheckedPiece*> pieces;
    for (auto& [name, log] : logs_) {
      for (CheckedPiece* p : log.pieces()) pieces.push_back(p);
    }
    uint64_t bytes = 0;
    for (const auto* p : packs) bytes += stored_.contains(p->id) ? p->size : 0;
    for (const auto* p : pieces) bytes += p->name.size;
    report_.objects += packs.size() + pieces.size();
    report_.bytes += bytes;
    progress_.begin("verifying", bytes, packs.size() + pieces.size());

    return in_parallel(
        ctx_, workers_, packs.size() + pieces.size(), [&](const Context& ctx, size_t i) -> Result<> {
          if (i < packs.size()) {
            TRY_OK(check_one_pack(ctx, *packs[i]));
          } else {
            CheckedPiece& piece = *pieces[i - packs.size()];
            const std::string source = piece.name.key.substr(8, piece.name.key.find('/', 8) - 8);
            TRY_OK(logs_.at(source).check_piece(ctx, piece, !options_.quick, progress_));
          }
          ++progress_.done_items;
          return {};
        });
  }

  Result<> check_one_pack(const Context& ctx, const repo::PackInfo& info) {
    const std::string key = repo::pack_key(info.id);
    PackState state;
    const auto stored = stored_.find(info.id);
    if (stored == stored_.end()) {
      state.damage = Damage{"missing", "is missing from the repository"};
      state.lost = true;
    } else {
      TRY_ASSIGN(state, check_pack(*repo_, ctx, key, stored->second, info, !options_.quick, progress_));
    }
    if (!state.damage) return {};
    if (state.damage->kind == "missing") TRY_OK(ask_collections(info.id, *state.damage));
    const auto problem = findings_.add(key, *state.damage);
    std::lock_guard lock(mutex_);
    if (state.damage->kind == "missing" || state.damage->kind == "condemned") of_missing_.insert(problem);
    bad_[info.id] = {std::move(state), problem};
    return {};
  }

  // Was it removed by us?
  Result<> ask_collections(const repo::PackId& id, Damage& damage) {
    std::lock_guard lock(mutex_);
    if (!plans_) {
      auto plans = repo::list_plans(*repo_, ctx_);
      if (!plans && plans.error().code != Code::kDamaged) return fail(plans.error());
      plans_ =
          plans ? std::move(*plans) : std::vector<repo::CollectionPlan>{};  // told of as a damaged object
    }
    for (const repo::CollectionPlan& plan : *plans_) {
      if (std::find(plan.removed_packs.begin(), plan.removed_packs.end(), id) == plan.removed_packs.end())
        continue;
      damage = {"condemned",
                fmt::format("was removed by the collection {}, although a backup needs it", plan.id)};
    }
    return {};
  }

  Result<> check_small() {
    TRY_OK(check_small_objects(*repo_, ctx_, workers_, small_, findings_));
    if (!everything()) return {};
    TRY_ASSIGN(fatal_, check_way_in(*repo_, ctx_, findings_));
    return {};
  }

  // --- backups ---

  Result<> check_backups() {
    if (options_.quick && bad_.empty()) return {};
    progress_.phase = "following the page maps";
    BackupChecker checker(repo_, ctx_, bad_, findings_);
    std::vector<repo::PackInfo> packs;
    for (const auto& [id, info] : packs_) packs.push_back(info);
    checker.know(packs);
    return in_parallel(ctx_, workers_, backups_.size(), [&](const Context& ctx, size_t i) -> Result<> {
      CheckedBackup& backup = backups_[i];
      if (backup.unreadable) return {};
      auto m = repo::load_manifest(*repo_, ctx, backup.source, backup.id);
      if (!m && m.error().code == Code::kNotFound) {
        backup.vanished = true;
        return {};
      }
      if (!m) {
        const std::string key = repo::manifest_key(backup.source, backup.id);
        TRY_ASSIGN(const Damage d, damage_of(*repo_, ctx, key, m.error()));
        backup.problems.insert(findings_.add(key, d));
      } else if (options_.quick) {
        for (const repo::PackInfo& p : m->packs) {
          if (auto bad = bad_.find(p.id); bad != bad_.end()) backup.problems.insert(bad->second.problem);
        }
      } else {
        TRY_ASSIGN(auto problems, checker.check(*m));
        backup.problems.merge(problems);
      }
      return {};
    });
  }

  // --- the end ---

  Result<> conclude() {
    std::set<Findings::Id> excused;
    for (CheckedBackup& backup : backups_) {
      if (!backup.problems.empty() && !backup.vanished) {
        TRY_ASSIGN(const bool there,
                   store::exists(repo_->store(), ctx_, repo::manifest_key(backup.source, backup.id)));
        backup.vanished = !there;
      }
      if (backup.vanished) {
        excused.insert(backup.problems.begin(), backup.problems.end());
        continue;
      }
      backup.problems.insert(fatal_.begin(), fatal_.end());
      for (Findings::Id id : backup.problems) findings_.affect(id, backup.name());
      (backup.problems.empty() ? report_.restorable : report_.broken).push_back(backup.name());
    }
    for (Findings::Id id : excused) {
      if (of_missing_.contains(id)) findings_.forgive(id);
    }
    if (everything() && unreadable_.empty()) count_unreferenced();
    report_.problems = findings_.take();
    return {};
  }

  void count_unreferenced() {
    for (const auto& [id, size] : stored_) {
      if (packs_.contains(id) || pinned_.contains(repo::writer_of(id).hex())) continue;
      ++report_.unreferenced_objects;
      report_.unreferenced_bytes += size;
    }
  }

  const repo::RepositoryPtr repo_;
  const Context& ctx_;
  const VerifyOptions& options_;
  Progress& progress_;
  unsigned workers_ = 1;
  VerifyReport report_;
  Findings findings_;

  std::map<std::string, LogChecker> logs_;  // by source
  std::vector<CheckedBackup> backups_;
  std::vector<Unreadable> unreadable_;
  std::map<std::string, std::set<Findings::Id>> unreadable_problems_;         // by source
  std::unordered_map<repo::PackId, repo::PackInfo, repo::PackIdHash> packs_;  // that any manifest needs
  std::unordered_map<repo::PackId, uint64_t, repo::PackIdHash> stored_;
  std::unordered_set<std::string> pinned_;  // writers at work
  std::vector<SmallObject> small_;
  std::set<Findings::Id> fatal_;  // no backup can be restored

  std::mutex mutex_;
  BadPacks bad_;
  std::set<Findings::Id> of_missing_;  // packs that are not there
  std::optional<std::vector<repo::CollectionPlan>> plans_;
};

}  // namespace

Result<VerifyReport> verify(repo::RepositoryPtr repo, const Context& ctx, const VerifyOptions& options,
                            Progress& progress) {
  return Verifier(std::move(repo), ctx, options, progress).run();
}

}  // namespace varve::backup
