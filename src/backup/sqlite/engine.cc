// SQLite among the engines.
#include <fmt/format.h>

#include "backup/sqlite/log_replay.h"
#include "backup/sqlite/target.h"
#include "backup/sqlite/work.h"
#include "backup/store_capture.h"
#include "engine/sqlite/source.h"

namespace varve::backup::sqlite {
namespace {

constexpr std::string_view kScheme = "sqlite:";

class SqliteEngine final : public Engine {
 public:
  std::string_view name() const override { return "sqlite"; }

  bool is_address(std::string_view text) const override { return text.starts_with(kScheme); }

  Result<Source> source(const std::string& address) const override {
    TRY_ASSIGN(const db::SourceSpec spec, db::parse_source(address));
    const os::Path named = spec.is_glob ? spec.root.filename() : os::Path(spec.pattern).stem();
    return named_source("sqlite", named.string(), std::string(kScheme) + spec.pattern);
  }

  Result<std::vector<engine::Problem>> probe(const Context& ctx, const Source& source) const override {
    TRY_ASSIGN(const db::SourceSpec spec, db::parse_source(source.address));
    return db::probe(ctx, spec);
  }

  Result<repo::Manifest> backup(const repo::RepositoryPtr& repo, const Context& ctx, const Source& source,
                                const BackupOptions& options, Progress& progress) const override {
    TRY_ASSIGN(const db::SourceSpec spec, db::parse_source(source.address));
    // Beside a follower, the backup's place in the log makes it a base for any later moment.
    const MakeHooks hooks = [&](engine::Capture&) {
      CaptureHooks out;
      out.before_commit = [&](repo::Manifest& m) { return anchor_to_log(repo, ctx, m); };
      return out;
    };
    return store_captures(
        repo, ctx, source, options, [&] { return db::begin_capture(ctx, spec, {}); }, hooks, progress);
  }

  Result<FollowStatus> follow(const repo::RepositoryPtr& repo, const Context& ctx, const Source& source,
                              const FollowOptions& options,
                              const std::function<void(const FollowStatus&)>& report) const override {
    return sqlite::follow(repo, ctx, source, options, report);
  }

  // An epoch has the name of the backup it begins with: "20261123-143205-log-3f9a".
  bool is_epoch(std::string_view name) const override {
    return name.size() > 15 && name[8] == '-' && name[15] == '-';
  }

  std::string position(uint64_t number) const override { return fmt::format("txn:{}", number); }

  std::optional<Anchor> anchor(const repo::Manifest& m) const override {
    const auto data = db::decode_capture_data(m.engine_data);
    if (!data || !data->txn) return std::nullopt;
    return Anchor{*data->txn, *data->txn};
  }

  bool folds() const override { return true; }

  Result<bool> check_piece(const repo::RepositoryPtr& repo, const Context& ctx,
                           const PieceName& piece) const override {
    TRY_ASSIGN(const OpenPiece open, open_piece(repo, ctx, piece));
    return open.set.merged;
  }

  Result<> for_each_event(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                          const HistoryQuery& query,
                          const std::function<Result<>(const engine::Event&)>& callback) const override {
    return sqlite::for_each_event(repo, ctx, state, query, callback);
  }

  Result<RestorePreview> preview(const repo::RepositoryPtr& repo, const Context& ctx,
                                 const SourceState& state, const Point& point,
                                 const std::optional<std::string>& backup) const override {
    TRY_ASSIGN(Target target, find_target(repo, ctx, state, point, backup));
    RestorePreview out{std::move(target.base), target.moment, target.position, target.pieces.size(), 0};
    for (const PieceName& p : target.pieces) out.log_bytes += p.size;
    return out;
  }

  Result<RestoreReport> restore(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                                const RestoreOptions& options, Progress& progress) const override {
    return sqlite::restore(repo, ctx, state, options, progress);
  }

  Result<TableReport> restore_tables(const repo::RepositoryPtr& repo, const Context& ctx,
                                     const SourceState& state, const TableOptions& options,
                                     Progress& progress) const override {
    return sqlite::restore_tables(repo, ctx, state, options, progress);
  }
};

}  // namespace

const Engine& engine() {
  static const SqliteEngine instance;
  return instance;
}

}  // namespace varve::backup::sqlite
