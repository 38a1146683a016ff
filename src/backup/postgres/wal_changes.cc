#include "backup/postgres/wal_changes.h"

#include <algorithm>
#include <fmt/format.h>

#include "backup/engines.h"
#include "backup/postgres/timelines.h"
#include "backup/postgres/wal_files.h"
#include "base/log.h"
#include "engine/postgres/page.h"
#include "engine/postgres/wal_format.h"
#include "engine/postgres/wal_join.h"

namespace varve::backup::postgres {
namespace {

class WalChanges final : public ChangedPages {
 public:
  WalChanges(db::BlockChanges changes, uint32_t segment_pages, uint64_t start)
      : changes_(std::move(changes)), segment_pages_(segment_pages), start_(start) {}

  std::string from() const override { return "wal"; }

  bool knows(const engine::FileSpec& file) const override {
    const auto relation = db::relation_file(file.path);
    return relation && relation->fork != db::Fork::kFreeSpace &&
           !changes_.whole_database(relation->tablespace, relation->database);
  }

  bool changed(const engine::FileSpec& file, uint64_t page) const override {
    const auto relation = db::relation_file(file.path);
    return changes_.changed({{relation->tablespace, relation->database, relation->filenode}, relation->fork},
                            static_cast<uint32_t>(uint64_t{relation->segment} * segment_pages_ + page));
  }

  // Hint bits change without a record, and without a new LSN; what changed since the backup began is repaired
  // by the log.
  bool contradicts(ByteView parent, ByteView now) const override {
    const uint64_t lsn = db::page_lsn(now);
    return lsn < start_ && lsn != db::page_lsn(parent);
  }

 private:
  const db::BlockChanges changes_;
  const uint32_t segment_pages_;
  const uint64_t start_;
};

// Pieces, each beginning where the one before ends, from the one that holds `from` until `to` is reached.
// Empty: there are none such.
std::vector<PieceName> chain(const std::vector<PieceName>& pieces, uint64_t from, uint64_t to) {
  std::vector<PieceName> useful, out;
  for (const PieceName& p : pieces) {
    if (p.last >= from && p.first < to) useful.push_back(p);
  }
  for (const PieceName& p : in_a_row(useful)) {
    if (out.empty() ? p.first > from : p.first != out.back().last + 1) return {};
    out.push_back(p);
  }
  return !out.empty() && out.back().last + 1 >= to ? out : std::vector<PieceName>{};
}

// The log that leads to the capture, by its timeline.
Result<Engine::View> view(const repo::RepositoryPtr& repo, const Context& ctx, const std::string& source,
                          const db::ClusterCapture& capture) {
  TRY_ASSIGN(const SourceState state, load_source(*repo, ctx, source));
  std::map<std::string, EpochLog> epochs;
  for (const EpochLog& e : state.epochs) epochs[e.epoch] = e;
  const std::string name = epoch_of(capture.control().system_id, capture.timeline());
  epochs[name].epoch = name;
  TRY_ASSIGN(auto views, find_engine("postgres")->views(repo, ctx, epochs, state.backups.manifests));
  for (auto& v : views) {
    if (v.log.epoch == name) return std::move(v);
  }
  return fail(Code::kInternal, "a timeline without a view");
}

// A record that begins right after a page's header ends what is before that page.
uint64_t without_header(uint64_t lsn) {
  const uint64_t into = lsn % db::kWalPage;
  return into == db::kShortHeader || into == db::kLongHeader ? lsn - into : lsn;
}

// What nobody shipped yet of the WAL before the capture's start.
Result<> ship(const repo::RepositoryPtr& repo, const Context& ctx, const std::string& source,
              const db::ClusterCapture& capture, uint64_t from, uint64_t to) {
  WalArchive archive(repo, source);
  const uint32_t size = capture.control().wal_segment_size;
  for (uint64_t at = from / size * size; at < to; at += size) {
    const WalFile file{capture.control().system_id, capture.timeline(), size, at,
                       std::min<uint64_t>(size, to - at)};
    TRY_OK(store_segment(archive, ctx, capture.wal_directory() / db::segment_name(file.timeline, at, size),
                         file));
  }
  return {};
}

// All that the pieces, which lead from `from` to `to`, tell; nullopt, and `why`, when they do not tell all.
Result<std::optional<db::BlockChanges>> join(const repo::RepositoryPtr& repo, const Context& ctx,
                                             const std::vector<PieceName>& pieces, uint64_t from, uint64_t to,
                                             std::string& why) {
  db::WalJoiner::Options options;
  options.from = from;
  db::WalJoiner joiner(std::move(options));
  for (PieceName p : pieces) {
    TRY_OK(ctx.check());
    if (const auto name = repo::parse_log_name(repo::last_segment(p.key))) p.last = name->last;
    auto index = read_index(repo, ctx, p);
    // One that is gone was joined with others meanwhile.
    if (!index && index.error().code != Code::kDamaged && index.error().code != Code::kNotFound)
      return fail(index.error());
    const auto added = index ? joiner.add(*index) : Result<>(fail(index.error()));
    if (!added) {
      why = added.error().describe();
      return std::nullopt;
    }
  }
  if (!joiner.covers(to)) {
    why = "not all records of the WAL could be read";
  } else if (joiner.changes().broken()) {
    why = *joiner.changes().broken();
  } else {
    return std::move(joiner).take_changes();
  }
  return std::nullopt;
}

}  // namespace

Result<std::function<bool(const db::BadPage&)>> logged_pages(const repo::RepositoryPtr& repo,
                                                             const Context& ctx, const std::string& source,
                                                             const db::CaptureData& data) {
  WalArchive archive(repo, source);
  const uint64_t to = without_header(data.stop_lsn);
  TRY_ASSIGN(const auto pieces, archive.pieces(ctx, data.system_id, data.timeline, data.start_lsn, to));
  std::string why;
  TRY_ASSIGN(auto changes, join(repo, ctx, chain(pieces, data.start_lsn, to), data.start_lsn, to, why));
  if (!changes) {
    log::debug("the WAL does not tell which pages it holds: {}", why);
    return [](const db::BadPage&) { return false; };
  }
  auto shared = std::make_shared<const db::BlockChanges>(std::move(*changes));
  return [shared](const db::BadPage& page) {
    const auto file = db::relation_file(page.path);
    return file &&
           (shared->whole_database(file->tablespace, file->database) ||
            shared->changed({{file->tablespace, file->database, file->filenode}, file->fork}, page.block));
  };
}

Result<std::unique_ptr<ChangedPages>> changes_since(const repo::RepositoryPtr& repo, const Context& ctx,
                                                    const std::string& source,
                                                    const db::ClusterCapture& capture,
                                                    const repo::Manifest& parent, std::string& why) {
  const auto unknown = [&](std::string reason) {
    why = std::move(reason);
    return std::unique_ptr<ChangedPages>();
  };
  auto before = db::decode_capture_data(parent.engine_data);
  if (!before) return unknown("what the backup before says of its cluster cannot be read");
  const db::ControlFile& control = capture.control();
  if (before->system_id != control.system_id) return unknown("the backup before is of another cluster");
  if (before->checksums != control.has_checksums())
    return unknown("page checksums were switched since the backup before");
  const uint64_t from = before->start_lsn, to = without_header(capture.start_lsn());
  TRY_ASSIGN(Engine::View log, view(repo, ctx, source, capture));
  const uint64_t reach = contiguous_end(log.log.pieces, from - 1) + 1;
  if (reach < to) {
    const auto shipped = ship(repo, ctx, source, capture, reach, to);
    if (!shipped && shipped.error().code != Code::kNotFound) return fail(shipped.error());
    if (!shipped)
      return unknown(fmt::format("the WAL from {} on is not in the repository", db::format_lsn(reach)));
    TRY_ASSIGN(log, view(repo, ctx, source, capture));
  }
  const std::vector<PieceName> pieces = chain(log.log.pieces, from, to);
  if (pieces.empty())
    return unknown(fmt::format("the WAL from {} on is not in the repository", db::format_lsn(from)));
  TRY_ASSIGN(auto changes, join(repo, ctx, pieces, from, capture.start_lsn(), why));
  if (!changes) return std::unique_ptr<ChangedPages>();
  return std::unique_ptr<ChangedPages>(
      std::make_unique<WalChanges>(std::move(*changes), control.segment_pages, capture.start_lsn()));
}

}  // namespace varve::backup::postgres
