#include "backup/engines.h"

#include <algorithm>
#include <fmt/format.h>

namespace varve::backup {

Result<std::vector<Engine::View>> Engine::views(const repo::RepositoryPtr&, const Context&,
                                                const std::map<std::string, EpochLog>& epochs,
                                                const std::vector<repo::Manifest>& backups) const {
  std::vector<View> out;
  for (const auto& [name, log] : epochs) {
    View view{log, {}};
    for (const repo::Manifest& m : backups) {
      if (m.epoch == name && place_of(m)) view.bases.push_back(&m);
    }
    std::sort(view.bases.begin(), view.bases.end(),
              [](const auto* a, const auto* b) { return *anchor_of(*a) < *anchor_of(*b); });
    out.push_back(std::move(view));
  }
  return out;
}

Result<TablePreview> Engine::preview_tables(const repo::RepositoryPtr& repo, const Context& ctx,
                                            const SourceState& state, const TableOptions& options) const {
  TablePreview out;
  TRY_ASSIGN(out.restore, preview(repo, ctx, state, options.point, options.backup));
  for (const std::string& name : options.tables) out.tables.push_back({name, std::nullopt, 0});
  return out;
}

bool Engine::goes_on_from(std::string_view, const std::vector<std::string>&) const {
  return false;
}

const std::vector<const Engine*>& engines() {
  static const std::vector<const Engine*> all = {&sqlite::engine(), &postgres::engine()};
  return all;
}

const Engine* find_engine(std::string_view name) {
  for (const Engine* e : engines()) {
    if (e->name() == name) return e;
  }
  return nullptr;
}

const Engine* engine_of_epoch(std::string_view epoch) {
  for (const Engine* e : engines()) {
    if (e->is_epoch(epoch)) return e;
  }
  return nullptr;
}

std::optional<Engine::Anchor> place_of(const repo::Manifest& m) {
  const Engine* engine = m.epoch.empty() ? nullptr : find_engine(m.engine);
  return engine ? engine->anchor(m) : std::nullopt;
}

Result<const Engine*> need_engine(std::string_view name) {
  if (const Engine* e = find_engine(name)) return e;
  return fail(Code::kUnsupported, fmt::format("this version knows no engine \"{}\"", name),
              "a newer version of varve may");
}

Result<Source> source_from_address(const std::string& address) {
  for (const Engine* e : engines()) {
    if (e->is_address(address)) return e->source(address);
  }
  return fail(Code::kUsage, fmt::format("{}: is not the address of a database", address),
              "SQLite: sqlite:/srv/app/app.db, or sqlite:/srv/app/*.db for several; PostgreSQL: "
              "\"postgres:host=/run/postgresql "
              "port=5432\"");
}

bool is_address(const std::string& text) {
  for (const Engine* e : engines()) {
    if (e->is_address(text)) return true;
  }
  return false;
}

Result<std::vector<engine::Problem>> probe(const Context& ctx, const Source& source) {
  TRY_ASSIGN(const Engine* e, need_engine(source.engine));
  return e->probe(ctx, source);
}

Result<repo::Manifest> run_backup(repo::RepositoryPtr repo, const Context& ctx, const Source& source,
                                  const BackupOptions& options, Progress& progress) {
  TRY_ASSIGN(const Engine* e, need_engine(source.engine));
  return e->backup(repo, ctx, source, options, progress);
}

Result<FollowStatus> follow(repo::RepositoryPtr repo, const Context& ctx, const Source& source,
                            const FollowOptions& options,
                            const std::function<void(const FollowStatus&)>& report) {
  TRY_ASSIGN(const Engine* e, need_engine(source.engine));
  return e->follow(repo, ctx, source, options, report);
}

Result<> for_each_event(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                        const HistoryQuery& query,
                        const std::function<Result<>(const engine::Event&)>& callback) {
  if (state.backups.manifests.empty()) return {};
  TRY_ASSIGN(const Engine* e, need_engine(state.engine));
  return e->for_each_event(repo, ctx, state, query, callback);
}

namespace {

struct Stored {
  SourceState state;
  const Engine* engine = nullptr;
};
Result<Stored> load(const repo::RepositoryPtr& repo, const Context& ctx, const std::string& source) {
  Stored out;
  TRY_ASSIGN(out.state, load_source(*repo, ctx, source));
  TRY_OK(ensure_backups(out.state));
  TRY_ASSIGN(out.engine, need_engine(out.state.engine));
  return out;
}

}  // namespace

Result<RestorePreview> preview_restore(repo::RepositoryPtr repo, const Context& ctx,
                                       const std::string& source, const Point& point,
                                       const std::optional<std::string>& backup) {
  TRY_ASSIGN(const Stored stored, load(repo, ctx, source));
  return stored.engine->preview(repo, ctx, stored.state, point, backup);
}

Result<RestoreReport> run_restore(repo::RepositoryPtr repo, const Context& ctx, const std::string& source,
                                  const RestoreOptions& options, Progress& progress) {
  TRY_ASSIGN(const Stored stored, load(repo, ctx, source));
  return stored.engine->restore(repo, ctx, stored.state, options, progress);
}

Result<bool> extracts_databases(repo::RepositoryPtr repo, const Context& ctx, const std::string& source) {
  TRY_ASSIGN(const Stored stored, load(repo, ctx, source));
  return stored.engine->extracts_databases();
}

Result<TablePreview> preview_tables(repo::RepositoryPtr repo, const Context& ctx, const std::string& source,
                                    const TableOptions& options) {
  TRY_ASSIGN(const Stored stored, load(repo, ctx, source));
  return stored.engine->preview_tables(repo, ctx, stored.state, options);
}

Result<TableReport> restore_tables(repo::RepositoryPtr repo, const Context& ctx, const std::string& source,
                                   const TableOptions& options, Progress& progress) {
  TRY_ASSIGN(const Stored stored, load(repo, ctx, source));
  return stored.engine->restore_tables(repo, ctx, stored.state, options, progress);
}

}  // namespace varve::backup
