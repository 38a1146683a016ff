// One run of a copy: its steps are in copy.cc, packs and manifests in copy_manifests.cc, logs in copy_log.cc.
// Part of copy.
#pragma once

#include "backup/copy_survey.h"
#include "backup/copy_target.h"
#include "backup/log_state.h"

namespace varve::backup {

// The order of the steps makes the copy a repository at every instant; docs/format/copy.md has the argument.
class CopyRun {
 public:
  CopyRun(const Context& ctx, store::StorePtr from, store::StorePtr to, const CopyOptions& options,
          CopiedConfig config, Progress& progress);
  Result<CopyReport> run();

 private:
  // A pack that a backup which is to be copied needs.
  struct Needed {
    repo::PackId id;
    uint64_t size = 0;
    codec::Checksum checksum{};
    bool there = false;   // at the target
    bool extend = false;  // … since so long ago that its lock is too short
  };

  bool keyed() const { return options_.opened != nullptr; }
  Result<> round();
  Result<> steps();
  Result<> copy_keys();
  Result<> put_config();
  Result<> transfer(
      const char* phase, std::vector<CopyItem>& items, bool ordered,
      const Transfer::Done& done = [](size_t, Transfer::Outcome) {});
  // Everything below a prefix that the target lacks, in chunks. `wanted` may leave out, and say more.
  Result<> copy_prefix(const char* phase, const std::string& prefix,
                       const std::function<bool(CopyItem&, const store::ObjectInfo* at_target)>& wanted = {},
                       const std::function<void(const CopyItem&, Transfer::Outcome)>& done = {});

  // --- packs and manifests ---
  Result<> copy_packs();
  Needed* find(const repo::PackId& id);
  Result<> find_needed();
  void distinct();
  Result<> extend_locks();
  void split_manifests();
  Result<> copy_manifests(std::vector<CopyItem>& all);
  Result<> keep_whole(std::vector<CopyItem>& chunk);
  Result<bool> is_whole(const CopyItem& item, const Result<Buffer>& bytes);
  Result<> tell_unreadable(const store::Key& key, const Error& error);
  void tell_missing(const store::Key& object, const std::string& backup);
  Result<> withhold_doubtful(std::vector<CopyItem>& all);
  Result<> put_manifests(std::vector<CopyItem>& chunk);
  Result<> check_pin(const Context& ctx);
  Result<> withdraw(const Context& ctx, const std::vector<store::Key>& keys);
  void uncount(uint64_t manifests);
  Result<> withdraw_what_vanished();

  // --- logs ---
  Result<> read_marks();
  Result<std::optional<CopyItem>> newest_mark(const EpochKey& epoch) const;
  Result<> copy_marks();
  Result<> copy_pieces();
  Result<> copy_pieces_of(const EpochKey& name);
  Result<> copy_missing_pieces(const std::string& prefix,
                               const std::function<void(const store::Key&, Transfer::Outcome)>& done);
  Result<std::optional<store::Key>> missing_log(const repo::Manifest& m);
  Result<bool> may_begin(const EpochKey& name, const CopiedEpoch& epoch);
  Result<> withdraw_log(const EpochKey& name);

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
  std::set<EpochKey> begun_;    // epochs whose base the target lacked
  std::vector<Needed> needed_;  // ascending by id; with the key
  size_t distinct_ = 0;         // of them, when last counted
  std::vector<store::Key> failed_packs_;
  std::map<std::string, store::Key> failed_logs_;          // of sources whose backups need them: a piece
  std::map<EpochKey, std::vector<PieceName>> logs_there_;  // at the target, once they are copied
  std::vector<store::Key> put_;                            // manifests, by this run
  std::set<EpochKey> put_off_;
};

}  // namespace varve::backup
