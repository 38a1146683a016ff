// What each kind of database does in its own way: its addresses, its backups, its log, its recovery.
// Everything else in src/backup is alike for all. One implementation in a folder each.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backup/backup.h"
#include "backup/follow.h"
#include "backup/history.h"
#include "backup/restore.h"
#include "backup/source.h"

namespace varve::backup {

// Stateless; every call is thread-safe.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::string_view name() const = 0;  // "sqlite"

  // --- the database ---
  virtual bool is_address(std::string_view text) const = 0;
  virtual Result<Source> source(const std::string& address) const = 0;
  virtual Result<std::vector<engine::Problem>> probe(const Context& ctx, const Source& source) const = 0;
  virtual Result<repo::Manifest> backup(const repo::RepositoryPtr& repo, const Context& ctx,
                                        const Source& source, const BackupOptions& options,
                                        Progress& progress) const = 0;
  virtual Result<FollowStatus> follow(const repo::RepositoryPtr& repo, const Context& ctx,
                                      const Source& source, const FollowOptions& options,
                                      const std::function<void(const FollowStatus&)>& report) const = 0;

  // --- its log, as a row of positions (log_state.h) ---
  virtual bool is_epoch(std::string_view name) const = 0;  // the name of an epoch tells its engine
  virtual bool is_log(std::string_view /*epoch*/) const { return true; }  // or something kept beside it
  virtual std::string position(uint64_t number) const = 0;                // as text: "txn:42"
  // The position after which the log is replayed onto the backup, and the first at which that gives a state.
  // nullopt: it stands in no log.
  struct Anchor {
    uint64_t after = 0, first_state = 0;
  };
  virtual std::optional<Anchor> anchor(const repo::Manifest& m) const = 0;
  // Whether backups are no state without the log between the two.
  virtual bool backups_need_log() const { return false; }
  // A log with the backups it can be replayed onto, ascending by anchor. For most, each epoch is one by
  // itself.
  struct View {
    EpochLog log;
    std::vector<const repo::Manifest*> bases;
  };
  virtual Result<std::vector<View>> views(const repo::RepositoryPtr& repo, const Context& ctx,
                                          const std::map<std::string, EpochLog>& epochs,
                                          const std::vector<repo::Manifest>& backups) const;
  // Whether `epoch` can be of use without a backup that begins in it, because of those in `others`.
  virtual bool goes_on_from(std::string_view epoch, const std::vector<std::string>& others) const;
  // Whether pieces may fold others (then only the end of such a one is a state), or merely overlap.
  virtual bool folds() const = 0;
  // Reads what describes a piece's content; kDamaged when it does not fit. True: it folds others.
  virtual Result<bool> check_piece(const repo::RepositoryPtr& repo, const Context& ctx,
                                   const PieceName& piece) const = 0;
  virtual Result<> for_each_event(const repo::RepositoryPtr& repo, const Context& ctx,
                                  const SourceState& state, const HistoryQuery& query,
                                  const std::function<Result<>(const engine::Event&)>& callback) const = 0;

  // --- bringing it back ---
  virtual Result<RestorePreview> preview(const repo::RepositoryPtr& repo, const Context& ctx,
                                         const SourceState& state, const Point& point,
                                         const std::optional<std::string>& backup) const = 0;
  virtual Result<RestoreReport> restore(const repo::RepositoryPtr& repo, const Context& ctx,
                                        const SourceState& state, const RestoreOptions& options,
                                        Progress& progress) const = 0;
  // Whether one database of a source is brought back as tables are (restore_tables), not by restore().
  virtual bool extracts_databases() const { return false; }
  // Names of tables are looked at only where the engine can tell without restoring them.
  virtual Result<TablePreview> preview_tables(const repo::RepositoryPtr& repo, const Context& ctx,
                                              const SourceState& state, const TableOptions& options) const;
  virtual Result<TableReport> restore_tables(const repo::RepositoryPtr& repo, const Context& ctx,
                                             const SourceState& state, const TableOptions& options,
                                             Progress& progress) const = 0;
};

const std::vector<const Engine*>& engines();
const Engine* find_engine(std::string_view name);                 // null: unknown to this version
const Engine* engine_of_epoch(std::string_view epoch);            // null: no engine's
std::optional<Engine::Anchor> place_of(const repo::Manifest& m);  // in the log it stands in
Result<const Engine*> need_engine(std::string_view name);         // kUnsupported instead

namespace sqlite {
const Engine& engine();
}
namespace postgres {
const Engine& engine();
}

}  // namespace varve::backup
