// Replicates a repository, or some of its sources, from one store to another. Works on objects as they are
// stored: the copy is the same repository, opens with the same keys and restores by itself. Needs no key;
// with one it checks and chooses better (docs/format/copy.md has the order of the steps, and why it is safe
// beside writers, expiry and collections at both ends).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "repo/repository.h"

namespace varve::backup {

struct CopyOptions {
  std::vector<std::string> sources = {};  // as they are called in the repository; empty: everything
  // The repository copied from, opened with a key (null: none, or none needed): then manifests are read, only
  // the packs that they need are copied, and what does not authenticate is not.
  repo::RepositoryPtr opened = nullptr;
  bool trust_store = false;  // do not read back what was put
  bool deep = false;         // compare also what both have, byte by byte
  bool repair = false;       // replace what is damaged at the copy and sound at the original
  bool dry_run = false;
  unsigned workers = 0;  // 0: four
  // For so long the target itself is to refuse the removal of what is copied (repo/retention.h). With the key
  // that holds for every pack which a backup copied now needs; without it, for what is copied now.
  std::optional<Seconds> retain = {};
  // How long to wait for a collection that is under way at the copy.
  std::chrono::seconds patience{60};
};

struct CopyProblem {
  std::string object;                     // its key
  std::string kind;                       // missing, damaged, unreadable, differs
  std::string at;                         // the address of the store whose object it is
  std::string message;                    // one sentence
  std::vector<std::string> affects = {};  // what was not copied because of it: "source/backup"
  auto operator<=>(const CopyProblem&) const = default;
};

struct CopyReport {
  std::string from, to;
  bool dry_run = false, created = false;  // created: there was no repository before
  uint64_t objects = 0, bytes = 0;        // copied (dry run: to be copied)
  uint64_t present = 0;                   // there already
  uint64_t vanished = 0;                  // went at the original while they were being copied
  uint64_t repaired = 0;
  uint64_t backups = 0;  // manifests among the objects
  std::vector<CopyProblem> problems;
  std::vector<std::string> notes;
  double seconds = 0;
};

// Problems of single objects do not fail the call: what does not depend on them is copied. kConflict: the
// target holds something else, or a collection there does not end. Whatever ends it, it may be run again and
// copies what is missing.
Result<CopyReport> copy(const Context& ctx, store::StorePtr from, store::StorePtr to,
                        const CopyOptions& options, Progress& progress);

}  // namespace varve::backup
