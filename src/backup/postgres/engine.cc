// PostgreSQL among the engines.
#include <algorithm>
#include <fmt/format.h>

#include "backup/postgres/target.h"
#include "backup/postgres/timelines.h"
#include "backup/postgres/work.h"
#include "engine/postgres/probe.h"

namespace varve::backup::postgres {

Result<db::ClusterSpec> spec_of(const Source& source) {
  TRY_ASSIGN(db::ClusterSpec spec, db::parse_source(source.address));
  spec.data_directory = source.data_directory;
  spec.access = source.replication ? db::Access::kReplication : db::Access::kLocal;
  spec.read_rate = source.read_rate;
  return spec;
}

namespace {

class PostgresEngine final : public Engine {
 public:
  std::string_view name() const override { return "postgres"; }

  bool is_address(std::string_view text) const override { return db::is_address(text); }

  Result<Source> source(const std::string& address) const override {
    TRY_ASSIGN(const db::ClusterSpec spec, db::parse_source(address));
    return named_source("postgres", db::suggested_name(spec), db::address_of(spec));
  }

  Result<std::vector<engine::Problem>> probe(const Context& ctx, const Source& source) const override {
    TRY_ASSIGN(const db::ClusterSpec spec, spec_of(source));
    return db::probe(ctx, spec);
  }

  Result<repo::Manifest> backup(const repo::RepositoryPtr& repo, const Context& ctx, const Source& source,
                                const BackupOptions& options, Progress& progress) const override {
    return postgres::backup(repo, ctx, source, options, progress);
  }

  Result<FollowStatus> follow(const repo::RepositoryPtr& repo, const Context& ctx, const Source& source,
                              const FollowOptions& options,
                              const std::function<void(const FollowStatus&)>& report) const override {
    return postgres::follow(repo, ctx, source, options, report);
  }

  bool is_epoch(std::string_view name) const override { return parse_epoch(name).has_value(); }

  bool is_log(std::string_view epoch) const override { return parse_epoch(epoch)->timeline != 0; }

  std::string position(uint64_t number) const override { return position_of(number); }

  std::optional<Anchor> anchor(const repo::Manifest& m) const override {
    const auto data = db::decode_capture_data(m.engine_data);
    if (!data || data->start_lsn == 0 || data->stop_lsn <= data->start_lsn) return std::nullopt;
    return Anchor{data->start_lsn - 1, data->stop_lsn - 1};
  }

  bool backups_need_log() const override { return true; }

  Result<std::vector<View>> views(const repo::RepositoryPtr& repo, const Context& ctx,
                                  const std::map<std::string, EpochLog>& epochs,
                                  const std::vector<repo::Manifest>& backups) const override {
    std::map<uint64_t, Timelines> clusters;
    std::vector<View> out;
    for (const auto& [name, log] : epochs) {
      const auto epoch = parse_epoch(name);
      if (!epoch || epoch->timeline == 0) continue;
      auto known = clusters.find(epoch->system_id);
      if (known == clusters.end()) {
        const auto histories = epochs.find(history_epoch_of(epoch->system_id));
        TRY_ASSIGN(Timelines timelines,
                   Timelines::load(repo, ctx, histories == epochs.end() ? EpochLog{} : histories->second));
        known = clusters.emplace(epoch->system_id, std::move(timelines)).first;
      }
      TimelineView view = view_of(known->second, epochs, backups, *epoch);
      out.push_back({std::move(view.log), std::move(view.bases)});
    }
    return out;
  }

  // Another timeline of the same cluster, and the histories of all.
  bool goes_on_from(std::string_view epoch, const std::vector<std::string>& others) const override {
    const auto name = parse_epoch(epoch);
    return name && std::any_of(others.begin(), others.end(), [&](const std::string& other) {
             const auto o = parse_epoch(other);
             return o && o->system_id == name->system_id;
           });
  }

  bool folds() const override { return false; }

  Result<bool> check_piece(const repo::RepositoryPtr& repo, const Context& ctx,
                           const PieceName& piece) const override {
    const std::string_view folder = std::string_view(piece.key).substr(0, piece.key.rfind('/'));
    if (parse_epoch(repo::last_segment(folder))->timeline != 0)
      return read_index(repo, ctx, piece).map([](const auto&) { return false; });
    TRY_ASSIGN(const Buffer content, read_history(repo, ctx, piece));
    return db::parse_history(static_cast<db::Timeline>(piece.first), as_text(content)).map([](const auto&) {
      return false;
    });
  }

  Result<> for_each_event(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                          const HistoryQuery& query,
                          const std::function<Result<>(const engine::Event&)>& callback) const override {
    return postgres::for_each_event(repo, ctx, state, query, callback);
  }

  Result<RestorePreview> preview(const repo::RepositoryPtr& repo, const Context& ctx,
                                 const SourceState& state, const Point& point,
                                 const std::optional<std::string>& backup) const override {
    TRY_ASSIGN(const Target target, find_target(repo, ctx, state, point, backup));
    return RestorePreview{*target.base, target.moment, target.position, target.pieces, target.log_bytes};
  }

  Result<RestoreReport> restore(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                                const RestoreOptions& options, Progress& progress) const override {
    return postgres::restore(repo, ctx, state, options, progress);
  }

  bool extracts_databases() const override { return true; }

  Result<TablePreview> preview_tables(const repo::RepositoryPtr& repo, const Context& ctx,
                                      const SourceState& state, const TableOptions& options) const override {
    return postgres::preview_tables(repo, ctx, state, options);
  }

  Result<TableReport> restore_tables(const repo::RepositoryPtr& repo, const Context& ctx,
                                     const SourceState& state, const TableOptions& options,
                                     Progress& progress) const override {
    return postgres::restore_tables(repo, ctx, state, options, progress);
  }
};

}  // namespace

const Engine& engine() {
  static const PostgresEngine instance;
  return instance;
}

}  // namespace varve::backup::postgres
