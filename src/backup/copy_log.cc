#include <algorithm>

#include "backup/copy_pairs.h"
#include "backup/copy_run.h"
#include "backup/engines.h"
#include "base/text.h"
#include "repo/sealed_json.h"

namespace varve::backup {
namespace {

constexpr size_t kPiecesAtOnce = 20'000;
constexpr int kListings = 3;  // while pieces vanish that were listed

struct MissingPiece {
  repo::LogName name;
  CopyItem item;
};

EpochKey epoch_of(std::string_view log_key) {
  const auto parts = split(log_key, '/');
  return {std::string(parts[1]), std::string(parts[3])};
}

}  // namespace

Result<> CopyRun::read_marks() {
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
Result<std::optional<CopyItem>> CopyRun::newest_mark(const EpochKey& epoch) const {
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

Result<> CopyRun::copy_marks() {
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

Result<> CopyRun::copy_pieces() {
  failed_logs_.clear();
  logs_there_.clear();
  for (const auto& [name, epoch] : survey_.epochs) {
    if (epoch.missing == 0) continue;
    TRY_ASSIGN(const bool now, may_begin(name, epoch));
    if (!now) {
      put_off_.insert(name);
      continue;
    }
    TRY_OK(copy_pieces_of(name));
  }
  return {};
}

// A follower joins small pieces to a larger one and removes them: what is in that must not be missed.
Result<> CopyRun::copy_pieces_of(const EpochKey& name) {
  const Engine* engine = engine_of_epoch(name.second);
  const bool needed = engine != nullptr && engine->backups_need_log();
  for (int left = kListings; left > 0; --left) {
    bool vanished = false;
    TRY_OK(copy_missing_pieces(repo::log_prefix(name.first, name.second),
                               [&](const store::Key& key, Transfer::Outcome outcome) {
                                 vanished = vanished || outcome == Transfer::Outcome::kVanished;
                                 const bool last = outcome == Transfer::Outcome::kVanished && left == 1;
                                 if (needed && (last || outcome == Transfer::Outcome::kProblem))
                                   failed_logs_.emplace(name.first, key);
                               }));
    if (!vanished) break;
  }
  return {};
}

// By their ends, so that there is never a gap, and the single pieces before what was merged from them: a
// merged one alone would promise the moments between.
Result<> CopyRun::copy_missing_pieces(const std::string& prefix,
                                      const std::function<void(const store::Key&, Transfer::Outcome)>& done) {
  std::vector<MissingPiece> waiting;
  size_t enough = kPiecesAtOnce;
  const auto copy_until = [&](uint64_t end) -> Result<> {
    const auto rest = std::partition(waiting.begin(), waiting.end(),
                                     [&](const MissingPiece& p) { return p.name.last < end; });
    std::sort(waiting.begin(), rest, [](const MissingPiece& a, const MissingPiece& b) {
      return a.name.last != b.name.last ? a.name.last < b.name.last : a.name.first > b.name.first;
    });
    std::vector<CopyItem> items;
    for (auto p = waiting.begin(); p != rest; ++p) items.push_back(std::move(p->item));
    waiting.erase(waiting.begin(), rest);
    // One after the other; where nobody looks yet, side by side.
    return transfer("copying the log", items, !report_.created,
                    [&](size_t i, Transfer::Outcome outcome) { done(items[i].key, outcome); });
  };
  TRY_OK(for_each_pair(ctx_, *from_, to_.get(), prefix, [&](const auto* a, const auto* b) -> Result<> {
    if (a == nullptr || (b != nullptr && a->size == b->size && !options_.deep)) return {};
    const auto name = repo::parse_log_name(repo::last_segment(a->key));
    if (!name) return {};
    // Pieces are listed by their beginnings: what ends before this one begins is complete.
    if (waiting.size() >= enough) {
      TRY_OK(copy_until(name->first));
      enough = kPiecesAtOnce + 2 * waiting.size();
    }
    waiting.push_back({*name, {.key = a->key, .size = a->size, .compare = b != nullptr}});
    return {};
  }));
  return copy_until(UINT64_MAX);
}

// A backup that is no state by itself is one only with the log from its start to its stop: what of that the
// target lacks, by the name under which the original has it, or should.
Result<std::optional<store::Key>> CopyRun::missing_log(const repo::Manifest& m) {
  const auto place = place_of(m);
  if (!place || !find_engine(m.engine)->backups_need_log()) return std::nullopt;
  const EpochKey name{m.source, m.epoch};
  auto at = logs_there_.find(name);
  if (at == logs_there_.end()) {
    std::vector<PieceName> pieces;
    TRY_OK(store::for_each(*to_, ctx_, repo::log_prefix(m.source, m.epoch),
                           [&](const store::ObjectInfo& o) -> Result<> {
                             if (auto n = repo::parse_log_name(repo::last_segment(o.key)))
                               pieces.push_back({o.key, n->first, n->last, o.size});
                             return {};
                           }));
    at = logs_there_.emplace(name, std::move(pieces)).first;
  }
  const uint64_t end = contiguous_end(at->second, place->after);
  if (end >= place->first_state) return std::nullopt;
  const std::string prefix = repo::log_prefix(m.source, m.epoch);
  for (const CopyProblem& p : report_.problems) {
    if (!p.object.starts_with(prefix)) continue;
    const auto n = repo::parse_log_name(repo::last_segment(p.object));
    if (n && n->first <= end + 1 && n->last > end) return p.object;
  }
  return repo::log_piece_key(m.source, m.epoch, end + 1, place->first_state);
}

// An epoch that began after the manifests were listed waits for the next run, for its base is not there
// yet.
Result<bool> CopyRun::may_begin(const EpochKey& name, const CopiedEpoch& epoch) {
  if (report_.created || epoch.begun) return true;
  const store::Key opener = repo::manifest_key(name.first, name.second);
  const auto is_opener = [&](const store::Key& key) { return key == opener; };
  if (std::any_of(put_.begin(), put_.end(), is_opener)) return true;
  TRY_ASSIGN(const bool at_target, store::exists(*to_, ctx_, opener));
  if (at_target) return true;
  // One that is damaged: later backups may stand on this log, and the damage is told.
  if (keyed() && begun_.contains(name)) return true;
  TRY_ASSIGN(const bool at_source, store::exists(*from_, ctx_, opener));
  return !at_source || options_.dry_run;
}

// Of an epoch that went whole at the original: its log from the end backwards, before its base. Where later
// bases of it are left, they need the log.
Result<> CopyRun::withdraw_log(const EpochKey& name) {
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

}  // namespace varve::backup
