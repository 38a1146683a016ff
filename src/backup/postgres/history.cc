// What happened to a cluster, told by the indexes of its log's pieces: nothing of the WAL itself is read.
#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <set>
#include <unordered_map>

#include "backup/postgres/timelines.h"
#include "backup/postgres/work.h"
#include "base/text.h"
#include "engine/postgres/capture_data.h"
#include "engine/postgres/wal_join.h"

namespace varve::backup::postgres {
namespace {

constexpr std::string_view kSystemSchemas[] = {"pg_catalog", "information_schema", "pg_toast"};

// A relation as the catalogues of the backups know it.
struct Named {
  std::string database, name;  // "shop", "public.orders"
  char kind = 'r';
  bool system = false;
  std::string full() const { return database + "." + name; }
};

// Names by the file that holds a relation. A file's number is given to another relation only after a long
// time: the newest backup that knows it is right.
class Names {
 public:
  explicit Names(const std::vector<repo::Manifest>& backups) {
    for (const repo::Manifest& m : backups) {
      const auto data = db::decode_capture_data(m.engine_data);
      if (data) add(*data);
    }
  }
  const Named* find(const db::RelFile& file) const {
    const auto at = by_file_.find(key(file.database, file.relation));
    return at == by_file_.end() ? nullptr : &at->second;
  }
  const Named* find(const db::TruncatedTable& table) const {
    const auto at = by_oid_.find(key(table.database, table.relation));
    return at == by_oid_.end() ? nullptr : &at->second;
  }
  std::string database(uint32_t oid) const {
    const auto at = databases_.find(oid);
    return at == databases_.end() ? fmt::format("database {}", oid) : at->second;
  }

 private:
  static uint64_t key(uint32_t database, uint32_t number) { return uint64_t{database} << 32 | number; }

  void add(const db::CaptureData& data) {
    for (const db::Database& d : data.databases) {
      databases_[d.oid] = d.name;
      for (const db::Relation& r : d.relations) {
        Named named{d.name, r.schema + "." + r.name, r.kind, false};
        named.system = std::find(std::begin(kSystemSchemas), std::end(kSystemSchemas), r.schema) !=
                       std::end(kSystemSchemas);
        by_oid_[key(d.oid, r.oid)] = named;
        if (r.filenode != 0) by_file_[key(d.oid, r.filenode)] = std::move(named);
      }
    }
  }
  std::unordered_map<uint64_t, Named> by_file_, by_oid_;
  std::unordered_map<uint32_t, std::string> databases_;
};

class Teller {
 public:
  Teller(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
         const HistoryQuery& query, const std::function<Result<>(const engine::Event&)>& callback)
      : repo_(repo),
        ctx_(ctx),
        query_(query),
        callback_(callback),
        names_(state.backups.manifests),
        table_(to_lower(query.table)) {}

  // One timeline's own pieces, in order; where some are missing the telling begins anew.
  Result<> tell(const EpochLog& log) {
    uint64_t end = 0;
    begin();
    for (const PieceName& p : in_a_row(log.pieces)) {
      TRY_OK(ctx_.check());
      TRY_ASSIGN(const db::WalIndex index, read_index(repo_, ctx_, p));
      if (query_.until && index.part.first_commit.value_or(Timestamp{}) > *query_.until) break;
      if (end != 0 && p.first != end) {
        TRY_OK(emit(gap_at(index, end)));
        begin();
      }
      TRY_OK(joiner_->add(index));
      TRY_OK(std::exchange(failed_, {}));
      end = p.last + 1;
    }
    return {};
  }

 private:
  void begin() {
    db::WalJoiner::Options options;
    options.changes = false;
    options.commit = [this](const db::Commit& c) { take(commit(c)); };
    options.event = [this](const db::WalEvent& e) { take(event(e)); };
    joiner_.emplace(std::move(options));
  }
  void take(Result<> done) {
    if (failed_ && !done) failed_ = std::move(done);
  }

  engine::Event gap_at(const db::WalIndex& index, uint64_t lsn) const {
    engine::Event e;
    e.time = index.part.first_commit.value_or(Timestamp{});
    e.position = "lsn:" + db::format_lsn(lsn);
    e.kind = "gap";
    return e;
  }

  bool wanted(const Named& named) const {
    if (table_.empty()) return true;
    const std::string name = to_lower(named.name), full = to_lower(named.full());
    return table_ == name || table_ == full || table_ == name.substr(name.find('.') + 1);
  }
  static bool is_table(const Named& named) {
    return std::string_view("rpmS").find(named.kind) != std::string_view::npos;
  }

  // Made after a backup, and gone before the next.
  Named unknown_table(const db::RelFile& file) const {
    return {names_.database(file.database), fmt::format("file {}", file.relation), 'r', false};
  }

  // What people call a change: not that of a catalogue, an index or a TOAST table.
  Result<> commit(const db::Commit& c) {
    engine::Event e;
    e.time = c.time;
    e.position = "lsn:" + db::format_lsn(c.lsn);
    e.xid = std::to_string(c.xid);
    bool told = false, of_catalogue = false, into_unknown = false;
    const auto tell = [&](const Named& named, const char* kind, std::optional<uint64_t> rows) -> Result<> {
      told = true;
      if (!wanted(named)) return {};
      e.kind = kind;
      e.table = named.full();
      e.rows = rows;
      return emit(e);
    };
    for (const db::RowCounts& r : c.work.rows) {
      const Named* named = names_.find(r.table);
      if (named && named->system) {
        of_catalogue = of_catalogue || (named->name == "pg_catalog.pg_class" && r.deleted > 0);
        continue;
      }
      if (!named) {
        into_unknown = into_unknown || r.inserted > 0;
        const Named unknown = unknown_table(r.table);
        if (r.table.relation < kFirstNormalOid) continue;  // a catalogue's, rewritten
        unknown_.insert(r.table);
        TRY_OK(changes(unknown, r, tell));
      } else if (is_table(*named)) {
        TRY_OK(changes(*named, r, tell));
      }
    }
    for (const db::TruncatedTable& t : c.work.truncated) {
      if (const Named* named = names_.find(t)) TRY_OK(tell(*named, "truncate", std::nullopt));
    }
    for (const db::RelFile& file : c.dropped) {
      const Named* named = names_.find(file);
      if (!named && of_catalogue && unknown_.contains(file))
        TRY_OK(tell(unknown_table(file), "drop_table", std::nullopt));
      if (!named || named->system || !is_table(*named)) continue;
      // Its entry in pg_class went, or it has another file now: filled with what was there, or empty.
      TRY_OK(tell(*named, of_catalogue ? "drop_table" : into_unknown ? "rewrite" : "truncate", std::nullopt));
    }
    if (told || !table_.empty()) return {};
    e.kind = "commit";
    e.table.clear();
    e.rows.reset();
    return emit(e);
  }
  template <typename Tell>
  static Result<> changes(const Named& named, const db::RowCounts& r, const Tell& tell) {
    if (r.inserted > 0) TRY_OK(tell(named, "insert", static_cast<uint64_t>(r.inserted)));
    if (r.updated > 0) TRY_OK(tell(named, "update", r.updated));
    if (r.deleted > 0) TRY_OK(tell(named, "delete", r.deleted));
    return {};
  }

  Result<> event(const db::WalEvent& w) {
    using Kind = db::WalEvent::Kind;
    engine::Event e;
    e.time = w.time.value_or(last_);
    e.position = "lsn:" + db::format_lsn(w.lsn);
    switch (w.kind) {
      case Kind::kRestorePoint:
        e.kind = "restore_point";
        e.table = w.text;
        break;
      case Kind::kDatabaseCreated:
        e.kind = "create_database";
        e.table = names_.database(w.file.database);
        break;
      case Kind::kDatabaseDropped:
        e.kind = "drop_database";
        e.table = names_.database(w.file.database);
        break;
      case Kind::kRecoveryEnd:
        e.kind = "timeline";
        e.table = fmt::format("timeline {}", w.number);
        break;
      case Kind::kFileCreated:
      case Kind::kNoFullPageWrites:
      case Kind::kBackupEnd:
        return {};
    }
    return table_.empty() ? emit(e) : Result<>{};
  }

  Result<> emit(const engine::Event& e) {
    if (e.time > Timestamp{}) last_ = e.time;
    if (query_.since && e.time < *query_.since) return {};
    if (query_.until && e.time > *query_.until) return {};
    return callback_(e);
  }

  static constexpr uint32_t kFirstNormalOid = 16384;  // FirstNormalObjectId of access/transam.h
  const repo::RepositoryPtr& repo_;
  const Context& ctx_;
  const HistoryQuery& query_;
  const std::function<Result<>(const engine::Event&)>& callback_;
  const Names names_;
  const std::string table_;
  std::set<db::RelFile> unknown_;  // files that had rows
  std::optional<db::WalJoiner> joiner_;
  Timestamp last_ = {};  // the time of what was told last: some records have none
  Result<> failed_;
};

}  // namespace

Result<> for_each_event(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                        const HistoryQuery& query,
                        const std::function<Result<>(const engine::Event&)>& callback) {
  Teller teller(repo, ctx, state, query, callback);
  for (const EpochLog& log : state.epochs) {
    const auto epoch = parse_epoch(log.epoch);
    if (epoch && epoch->timeline != 0) TRY_OK(teller.tell(log));
  }
  return {};
}

}  // namespace varve::backup::postgres
