#include "backup/expire.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <set>

#include "backup/log_state.h"
#include "repo/hold.h"

// In which order things go. At whatever removal we are cut off, every window that load_source() then shows
// must be recoverable, and an epoch's log must never stand without its base: that is how verify knows a lost
// manifest.
//  - A backup that other bases of its epoch outlive: its manifest first, then the pieces before the oldest
//  base that is
//    left. In between there are pieces before a base, which nobody asks for. The other way round, the window
//    would begin at a base whose log is gone.
//  - An epoch of which nothing is kept: marks, the manifests inside it, then the log from its end backwards,
//  and its
//    base last. Its window shrinks from the end until it is the one moment of its base.
namespace varve::backup {
namespace {

constexpr size_t kRemoveAtOnce = 100;

struct Epoch {
  const EpochLog* log = nullptr;
  std::vector<const repo::Manifest*> bases;  // ascending by txn
  std::vector<store::ObjectInfo> marks;      // ascending by time
  bool unclear = false;                      // a backup stands in it whose place there we cannot tell
};

class Expirer {
 public:
  Expirer(const repo::Repository& repo, const Context& ctx, const std::string& source,
          const plan::Retention& retention, Timestamp now, bool dry_run)
      : repo_(repo), ctx_(ctx), source_(source), retention_(retention), now_(now) {
    report_.dry_run = dry_run;
  }

  Result<ExpireReport> run() {
    if (!report_.dry_run) TRY_OK(repo_.check_may_collect());
    TRY_ASSIGN(state_, load_source(repo_, ctx_, source_));
    TRY_OK(refuse_unreadable());
    TRY_OK(survey());
    decide();
    keep_bases();
    for (auto& [id, line] : lines_) {
      if (!line.keep) line.reasons = {"no rule keeps it"};
    }
    if (!report_.dry_run) TRY_OK(refuse_new_holds());
    TRY_OK(remove_manifests());
    for (const auto& [name, epoch] : epochs_) TRY_OK(trim(epoch));
    for (auto& [id, line] : lines_) report_.backups.push_back(std::move(line));
    return std::move(report_);
  }

 private:
  Result<> refuse_unreadable() const {
    const auto& bad = state_.backups.unreadable;
    if (bad.empty()) return {};
    std::string names;
    for (const auto& b : bad) names += (names.empty() ? "" : ", ") + b.key;
    Error e{Code::kDamaged,
            fmt::format("nothing of {} was removed, because {} of its manifests cannot be read: {}", source_,
                        bad.size(), names)};
    e.hint = fmt::format(
        "`varve verify {}` tells what is affected; expire goes on once they are readable or gone", source_);
    e.cause = std::make_shared<const Error>(bad.front().error);
    return fail(std::move(e));
  }

  Result<> survey() {
    for (const EpochLog& log : state_.epochs) epochs_[log.epoch].log = &log;
    for (const repo::Manifest& m : state_.backups.manifests) {
      if (m.epoch.empty()) continue;
      Epoch& epoch = epochs_[m.epoch];
      if (anchor_of(m)) {
        epoch.bases.push_back(&m);
      } else {
        epoch.unclear = true;
      }
    }
    for (auto& [name, epoch] : epochs_) {
      std::sort(epoch.bases.begin(), epoch.bases.end(),
                [](const auto* a, const auto* b) { return *anchor_of(*a) < *anchor_of(*b); });
      if (epoch.bases.empty()) continue;
      if (newest_.empty() || *anchor_of(*epoch.bases.front()) > *anchor_of(*epochs_[newest_].bases.front()))
        newest_ = name;
    }
    const std::string logs = repo::log_prefix(source_);
    TRY_OK(store::for_each(repo_.store(), ctx_, logs, [&](const store::ObjectInfo& o) -> Result<> {
      const std::string rest = o.key.substr(logs.size());
      auto at = epochs_.find(rest.substr(0, rest.find('/')));
      if (at != epochs_.end() && !repo::parse_log_name(repo::last_segment(o.key)))
        at->second.marks.push_back(o);
      return {};
    }));
    return store::for_each(repo_.store(), ctx_, repo::manifest_prefix(source_),
                           [&](const store::ObjectInfo& o) -> Result<> {
                             manifest_sizes_[std::string(repo::last_segment(o.key))] = o.size;
                             return {};
                           });
  }

  // --- what stays ---

  void keep(const std::string& backup, std::string reason) {
    ExpireReport::Line& line = lines_[backup];
    line.keep = true;
    line.reasons.push_back(std::move(reason));
  }

  void decide() {
    std::vector<plan::Candidate> candidates;
    const std::set<std::string> held(state_.held.begin(), state_.held.end());
    for (const repo::Manifest& m : state_.backups.manifests) {
      candidates.push_back({m.id, m.moment, held.contains(m.id), true});
      lines_[m.id].backup = m.id;
    }
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const auto& a, const auto& b) { return a.moment < b.moment; });
    for (const plan::Decision& d : plan::decide(candidates, retention_, now_)) {
      if (!d.keep) continue;
      for (const std::string& reason : d.reasons)
        keep(d.id, reason == "newest" ? "newest good backup" : reason);
    }
  }

  // The moment at which the window begins.
  Timestamp window_start() const {
    const auto since_epoch = std::chrono::floor<Seconds>(now_.time_since_epoch());
    return *retention_.window < since_epoch ? now_ - *retention_.window : Timestamp{};
  }

  void keep_bases() {
    for (const auto& [name, epoch] : epochs_) {
      if (epoch.bases.empty()) continue;
      if (epoch.unclear) {
        for (const auto* m : epoch.bases) keep(m->id, "the log it stands in cannot be judged");
        continue;
      }
      if (retention_.window) {
        const Timestamp start = window_start();
        if (epoch.log->covered_until >= start) {
          const repo::Manifest* base = epoch.bases.front();
          for (const auto* m : epoch.bases) {
            if (m->moment <= start) base = m;
          }
          keep(base->id, fmt::format("base of the log from {}", to_rfc3339(base->moment)));
        }
      }
      // A follower goes on from the newest base of the newest epoch, perhaps at this moment.
      if (name == newest_) keep(epoch.bases.back()->id, "the log goes on from it");
    }
  }

  bool kept(const repo::Manifest& m) const { return lines_.at(m.id).keep; }
  // Of an epoch, the first from which its log can still be replayed.
  const repo::Manifest* oldest_kept(const Epoch& epoch) const {
    for (const auto* m : epoch.bases) {
      if (kept(*m)) return m;
    }
    return nullptr;
  }

  // --- what goes ---

  // Someone may have placed one while we were deciding: then everything is decided anew.
  Result<> refuse_new_holds() const {
    TRY_ASSIGN(auto holds, repo::list_holds(repo_, ctx_, source_));
    for (const auto& h : holds) {
      auto line = lines_.find(h.backup);
      if (line != lines_.end() && !line->second.keep)
        return fail(Code::kConflict,
                    fmt::format("a hold was placed on {} just now; nothing was removed", h.backup),
                    "run `varve expire` again");
    }
    return {};
  }

  struct Going {
    std::string key;
    uint64_t size = 0;
    bool gone = false;  // false after remove(): the store refuses, because of a retention lock
  };
  // In order, as far as the store keeps to it. Other refusals than a lock end it.
  Result<> remove(std::vector<Going>& all) {
    for (size_t begin = 0; begin < all.size(); begin += kRemoveAtOnce) {
      TRY_OK(ctx_.check());
      const size_t end = std::min(all.size(), begin + kRemoveAtOnce);
      std::vector<store::Key> keys;
      for (size_t i = begin; i < end; ++i) keys.push_back(all[i].key);
      if (report_.dry_run) {
        for (size_t i = begin; i < end; ++i) all[i].gone = true;
      } else {
        TRY_ASSIGN(auto results, repo_.store().remove(ctx_, keys));
        for (size_t i = begin; i < end; ++i) {
          const auto& result = results[i - begin].result;
          if (!result && result.error().code != Code::kConflict) return fail(result.error());
          all[i].gone = result.has_value();
        }
      }
      for (size_t i = begin; i < end; ++i) {
        if (all[i].gone) report_.removed_bytes += all[i].size;
      }
    }
    return {};
  }

  Result<> remove_backups(const std::vector<const repo::Manifest*>& manifests) {
    std::vector<Going> going;
    for (const auto* m : manifests)
      going.push_back({repo::manifest_key(source_, m->id), manifest_sizes_[m->id]});
    TRY_OK(remove(going));
    for (size_t i = 0; i < going.size(); ++i) {
      if (going[i].gone) {
        ++report_.removed_backups;
      } else {
        keep(manifests[i]->id, "locked by the store's retention");
        lines_[manifests[i]->id].reasons = {"locked by the store's retention"};
      }
    }
    return {};
  }

  // Except the bases of epochs of which nothing is kept: those go last.
  Result<> remove_manifests() {
    std::set<std::string> last;
    for (const auto& [name, epoch] : epochs_) {
      if (!epoch.bases.empty() && !epoch.unclear && !oldest_kept(epoch)) last.insert(epoch.bases.front()->id);
    }
    std::vector<const repo::Manifest*> now;
    for (const repo::Manifest& m : state_.backups.manifests) {
      if (!kept(m) && !last.contains(m.id)) now.push_back(&m);
    }
    return remove_backups(now);
  }

  // The log of one epoch, after the manifests. An epoch without any base is left alone: whoever lost the
  // manifest may yet bring it back.
  Result<> trim(const Epoch& epoch) {
    if (epoch.bases.empty() || epoch.unclear) return {};
    const repo::Manifest* base = oldest_kept(epoch);
    if (!base) return remove_epoch(epoch);
    std::vector<Going> going;
    for (const PieceName& p : epoch.log->pieces) {
      if (p.last <= *anchor_of(*base)) going.push_back({p.key, p.size});
    }
    TRY_OK(remove_pieces(going));
    // The newest mark says how far the log is whole; a follower at work removes its own.
    if (epoch.log->epoch == newest_ || epoch.marks.empty()) return {};
    return remove_marks({epoch.marks.begin(), epoch.marks.end() - 1});
  }

  Result<> remove_epoch(const Epoch& epoch) {
    TRY_OK(remove_marks(epoch.marks));
    std::vector<PieceName> pieces = epoch.log->pieces;
    std::sort(pieces.begin(), pieces.end(), [](const PieceName& a, const PieceName& b) {
      return a.last != b.last ? a.last > b.last : a.first < b.first;
    });
    for (size_t begin = 0; begin < pieces.size(); begin += kRemoveAtOnce) {
      std::vector<Going> going;
      for (size_t i = begin; i < std::min(pieces.size(), begin + kRemoveAtOnce); ++i)
        going.push_back({pieces[i].key, pieces[i].size});
      TRY_OK(remove_pieces(going));
      if (std::any_of(going.begin(), going.end(), [](const Going& g) { return !g.gone; })) {
        const std::string& id = epoch.bases.front()->id;
        keep(id, "base of a log locked by the store's retention");
        lines_[id].reasons = {"base of a log locked by the store's retention"};
        return {};
      }
    }
    return remove_backups({epoch.bases.front()});
  }

  Result<> remove_pieces(std::vector<Going>& going) {
    TRY_OK(remove(going));
    report_.removed_pieces += static_cast<uint64_t>(
        std::count_if(going.begin(), going.end(), [](const Going& g) { return g.gone; }));
    return {};
  }

  Result<> remove_marks(const std::vector<store::ObjectInfo>& marks) {
    std::vector<Going> going;
    for (const store::ObjectInfo& o : marks) going.push_back({o.key, o.size});
    return remove(going);
  }

  const repo::Repository& repo_;
  const Context& ctx_;
  const std::string& source_;
  const plan::Retention& retention_;
  const Timestamp now_;
  ExpireReport report_;
  SourceState state_;
  std::map<std::string, Epoch> epochs_;
  std::string newest_;                               // the epoch that a follower goes on with
  std::map<std::string, ExpireReport::Line> lines_;  // by backup
  std::map<std::string, uint64_t> manifest_sizes_;   // by backup
};

}  // namespace

Result<ExpireReport> expire(const repo::Repository& repo, const Context& ctx, const std::string& source,
                            const plan::Retention& retention, Timestamp now, bool dry_run) {
  return Expirer(repo, ctx, source, retention, now, dry_run).run();
}

}  // namespace varve::backup
