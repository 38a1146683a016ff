// A source's log: every piece whole, and nothing missing between a base and the log's end. Part of
// verify.
#pragma once

#include "backup/log_state.h"
#include "backup/verify_findings.h"

namespace varve::backup {

// One backup of a verification.
struct CheckedBackup {
  std::string source, id, epoch;
  std::optional<uint64_t> anchor;  // its place in the epoch's log, and …
  uint64_t first_state = 0;        // … up to where it needs that log itself
  bool unreadable = false;         // its manifest
  bool vanished = false;           // expired while we looked
  std::set<Findings::Id> problems;
  std::string name() const { return source + "/" + id; }
};

struct CheckedPiece {
  PieceName name;
  bool folds = false;   // others, by their names: without it nothing is lost
  bool merged = false;  // by its content
  bool vanished = false;
  std::optional<Findings::Id> problem;
  bool usable = true;  // problem or not
};

struct CheckedEpoch {
  bool seen_before_manifests = false;  // so that its base, too, must have been there when those were listed
  uint64_t marked = 0;                 // a mark says that the log reached this far
  std::vector<CheckedPiece> pieces;    // as in EpochLog
};

class LogChecker {
 public:
  LogChecker(repo::RepositoryPtr repo, const Context& ctx, std::string source, Findings& findings)
      : repo_(std::move(repo)), ctx_(ctx), source_(std::move(source)), findings_(findings) {}

  // Before the manifests are listed: the marks, and which epochs there are. What a mark or a backup says of
  // the log is then true of the pieces listed after them.
  Result<> look_first();
  // After: one object of the log. False: it is neither piece nor mark.
  bool add(const store::ObjectInfo& object);
  // All pieces, to be checked in any order by any thread.
  std::vector<CheckedPiece*> pieces();
  Result<> check_piece(const Context& ctx, CheckedPiece& piece, bool decode, Progress& progress);
  // Last: gaps, and what damaged pieces and bases make unreachable. `unreadable`: problems of manifests that
  // cannot be read. Adds what nobody needs to the counters.
  Result<> check_coverage(std::vector<CheckedBackup>& backups, const std::set<Findings::Id>& unreadable,
                          VerifyReport& report);

 private:
  Result<bool> check_content(const Context& ctx, const PieceName& piece) const;
  Result<> read_mark(const std::string& key, const std::vector<std::string>& all);
  Result<> check_epoch(const std::string& name, CheckedEpoch& epoch, std::vector<CheckedBackup*> bases,
                       VerifyReport& report);
  Result<> tell_baseless(const std::string& name, const CheckedEpoch& epoch,
                         const std::set<Findings::Id>& unreadable);
  Result<> look_for_joined(const std::string& name, CheckedEpoch& epoch);
  Result<bool> drop_vanished(std::vector<CheckedBackup*>& bases);

  const repo::RepositoryPtr repo_;
  const Context& ctx_;
  const std::string source_;
  Findings& findings_;
  std::map<std::string, CheckedEpoch> epochs_;
};

}  // namespace varve::backup
