#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include "backup/page_writer.h"
#include "backup/sqlite/log_replay.h"
#include "backup/sqlite/staging.h"
#include "backup/sqlite/target.h"
#include "backup/sqlite/work.h"
#include "base/text.h"
#include "engine/sqlite/btree.h"
#include "engine/sqlite/source.h"
#include "repo/file_table.h"

namespace varve::backup::sqlite {

namespace {

// A database on its way back.
struct Database {
  repo::FileRecord record;
  StagedFile staged;
  uint64_t size = 0;
};

class RestoreRun {
 public:
  RestoreRun(repo::RepositoryPtr repo, const Context& ctx, const SourceState& state,
             const RestoreOptions& options, Progress& progress)
      : repo_(std::move(repo)), ctx_(ctx), state_(state), options_(options), progress_(progress) {}

  Result<RestoreReport> run() {
    const auto begun = SteadyClock::now();
    TRY_ASSIGN(Target target, find_target(repo_, ctx_, state_, options_.point, options_.backup));
    repo::SlotReaderOptions slot_options;
    slot_options.workers =
        options_.workers ? options_.workers : std::clamp(std::thread::hardware_concurrency(), 1u, 8u);
    repo::SlotReader slots(repo_, ctx_, slot_options, &progress_);
    slots.know(target.base.packs);
    repo::FileTableReader table(slots, target.base);
    TRY_OK(stage(table, target.base));
    TRY_OK(write_base(slots, table));
    TRY_OK(replay_log(target));
    for (Database& db : databases_) TRY_OK(check(db));
    for (Database& db : databases_) TRY_OK(publish(db));

    report_.source = state_.source;
    report_.backup = target.base.id;
    report_.target = options_.target;
    report_.point = target.position;
    report_.moment = target.moment;
    report_.files = databases_.size();
    report_.fetched = progress_.stored_bytes;
    report_.seconds = std::chrono::duration<double>(SteadyClock::now() - begun).count();
    return report_;
  }

 private:
  // Which files, and where each goes. Nothing is made before every place is known to be free.
  Result<> stage(repo::FileTableReader& table, const repo::Manifest& base) {
    std::vector<repo::FileRecord> files;
    std::vector<std::string> names;
    TRY_OK(table.for_each([&](const repo::FileRecord& f) -> Result<> {
      if (f.attributes.type != 0) return {};
      names.push_back(f.attributes.path);
      const auto& only = options_.databases;
      if (only.empty() || std::find(only.begin(), only.end(), f.attributes.path) != only.end())
        files.push_back(f);
      return {};
    }));
    for (const std::string& wanted : options_.databases) {
      if (std::find(names.begin(), names.end(), wanted) == names.end()) {
        const auto near = nearest(wanted, names);
        return fail(Code::kNotFound, fmt::format("backup {} has no database {}", base.id, wanted),
                    near.empty() ? "`varve show` names its files" : "did you mean " + near.front() + "?");
      }
    }
    const os::Path asked = std::filesystem::absolute(options_.target).lexically_normal();
    TRY_ASSIGN(auto there, os::status(asked));
    const bool folder = names.size() > 1 || (there && there->is_directory) || options_.target.ends_with('/');
    if (names.size() > 1 && there && !there->is_directory) return fail(target_exists(asked));
    std::vector<os::Path> places;
    for (const auto& f : files) {
      places.push_back(folder ? asked / f.attributes.path : asked);
      TRY_ASSIGN(auto exists, os::status(places.back(), false));
      if (!exists) continue;
      if (exists->is_directory)
        return fail(Code::kConflict, fmt::format("{} is a folder", places.back().string()),
                    "choose another --target");
      if (!options_.force) return fail(target_exists(places.back()));
      TRY_OK(db::ensure_unused(ctx_, places.back()));
    }
    for (size_t i = 0; i < files.size(); ++i) {
      TRY_OK(os::make_directories(places[i].parent_path(), 0755));
      TRY_ASSIGN(StagedFile staged, StagedFile::create(places[i]));
      databases_.push_back({files[i], std::move(staged), files[i].attributes.size});
    }
    return {};
  }

  Result<> write_base(repo::SlotReader& slots, repo::FileTableReader& table) {
    uint64_t total = 0;
    for (const Database& db : databases_) total += db.size;
    progress_.begin("restoring", total, databases_.size());
    report_.bytes = total;
    PageWriter pages(slots, progress_);
    for (Database& db : databases_) {
      TRY_OK(db.staged.file().truncate(db.size));
      TRY_OK(pages.add(table, db.record, db.staged.file()));
    }
    return pages.flush();
  }

  Result<> replay_log(const Target& target) {
    if (target.pieces.empty()) return {};
    progress_.begin("replaying the log", 0, target.pieces.size());
    std::map<std::string, Database*> by_name;
    for (Database& db : databases_) by_name[db.record.attributes.path] = &db;
    ReplaySink sink;
    sink.size = [&](const std::string& name, uint32_t page_size, uint64_t pages) -> Result<> {
      auto at = by_name.find(name);
      if (at == by_name.end()) return {};
      if (page_size != at->second->record.attributes.page_size)
        return fail(Code::kDamaged,
                    fmt::format("the log of {} has pages of another size than its base", name));
      at->second->size = pages * page_size;
      return at->second->staged.file().truncate(at->second->size);
    };
    sink.page = [&](const std::string& name, uint32_t page, ByteView bytes) -> Result<> {
      auto at = by_name.find(name);
      if (at == by_name.end()) return {};
      progress_.done_bytes += bytes.size();
      return at->second->staged.file().write_at(uint64_t{page - 1} * bytes.size(), bytes);
    };
    TRY_ASSIGN(report_.commits,
               replay(repo_, ctx_, target.pieces, *anchor_of(target.base), *target.until_txn, sink));
    return {};
  }

  // The last look before the file gets its name: is it the database it should be?
  Result<> check(Database& db) {
    if (db.size == 0) return {};  // a valid, empty SQLite database
    Buffer head(db::kHeaderSize);
    TRY_OK(db.staged.file().read_exact_at(0, head));
    TRY_ASSIGN(auto header, db::parse_header(head));
    if (header.page_size != db.record.attributes.page_size || db.size % header.page_size != 0)
      return fail(Code::kDamaged, fmt::format("the restored {} does not have the shape of its backup",
                                              db.record.attributes.path));
    return {};
  }

  Result<> publish(Database& db) {
    const auto& a = db.record.attributes;
    if (::fchmod(db.staged.file().fd(), a.mode & 0777) != 0)
      report_.notes.push_back("the permissions could not be restored");
    // Only root may give a file away; for others it is theirs, which is what they expect.
    if (::geteuid() == 0 && ::fchown(db.staged.file().fd(), a.uid, a.gid) != 0)
      report_.notes.push_back("the owner could not be restored");
    return db.staged.publish(options_.force, &report_.kept);
  }

  const repo::RepositoryPtr repo_;
  const Context& ctx_;
  const SourceState& state_;
  const RestoreOptions& options_;
  Progress& progress_;
  RestoreReport report_;
  std::vector<Database> databases_;
};

}  // namespace

Result<RestoreReport> restore(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                              const RestoreOptions& options, Progress& progress) {
  if (options.delta || options.standby || options.start || options.port != 0 ||
      !options.tablespaces.empty() || options.action != "promote")
    return fail(Code::kUsage,
                fmt::format("{} is of SQLite: --delta, --tablespace-map, --action, --standby, --start "
                            "and --port are for PostgreSQL",
                            state.source));
  return RestoreRun(repo, ctx, state, options, progress).run();
}

}  // namespace varve::backup::sqlite
