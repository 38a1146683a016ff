#include "backup/postgres/wal_changes.h"

#include <algorithm>
#include <fmt/format.h>

#include "backup/postgres/timelines.h"
#include "backup/postgres/wal_files.h"
#include "base/log.h"
#include "engine/postgres/page.h"
#include "engine/postgres/wal_format.h"
#include "engine/postgres/wal_join.h"
#include "engine/postgres/wal_summaries.h"

namespace varve::backup::postgres {
namespace {

class WalChanges final : public ChangedPages {
 public:
  WalChanges(std::string from, db::BlockChanges changes, uint32_t segment_pages, uint64_t start)
      : from_(std::move(from)), changes_(std::move(changes)), segment_pages_(segment_pages), start_(start) {}

  std::string from() const override { return from_; }

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
  const std::string from_;
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

// The log that leads to the capture, by the names of its pieces.
struct Way {
  EpochLog log;
  bool through_parent = false;  // false: the parent holds what was done on a branch that was left
  std::vector<Timelines::Stretch> timelines;
};

Result<Way> find_way(const repo::RepositoryPtr& repo, const Context& ctx, const std::string& source,
                     const db::ClusterCapture& capture, const repo::Manifest& parent) {
  const EpochName own{capture.control().system_id, capture.timeline()};
  TRY_ASSIGN(const auto epochs, list_log(*repo, ctx, source));
  const auto histories = epochs.find(history_epoch_of(own.system_id));
  TRY_ASSIGN(const Timelines timelines,
             Timelines::load(repo, ctx, histories == epochs.end() ? EpochLog{} : histories->second));
  const std::vector<repo::Manifest> bases = {parent};
  TimelineView view = view_of(timelines, epochs, bases, own);
  return Way{std::move(view.log), !view.bases.empty(), timelines.way_to(own.timeline)};
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

// By the server's summaries. nullopt, and `why` when it is worth telling: they do not tell.
Result<std::optional<db::BlockChanges>> by_summaries(const Context& ctx, const db::ClusterSpec& spec,
                                                     const db::ClusterCapture& capture,
                                                     const std::vector<Timelines::Stretch>& timelines,
                                                     uint64_t from, std::string& why) {
  std::vector<db::WalStretch> way;
  for (const Timelines::Stretch& s : timelines) {
    const uint64_t begin = std::max(s.from, from), end = std::min(s.to, capture.start_lsn());
    if (begin < end) way.push_back({s.timeline, begin, end});
  }
  if (way.empty()) return std::nullopt;
  auto changes = db::summarized_changes(ctx, spec, way, capture.control().page_size);
  TRY_OK(ctx.check());
  if (changes) return std::move(*changes);
  why = changes.error().describe();
  return std::nullopt;
}

// By the indexes of the pieces; nullopt, and `why`: they do not tell.
Result<std::optional<db::BlockChanges>> by_index(const repo::RepositoryPtr& repo, const Context& ctx,
                                                 const std::string& source, const db::ClusterCapture& capture,
                                                 const repo::Manifest& parent, EpochLog log, uint64_t from,
                                                 std::string& why) {
  const auto unknown = [&](std::string reason) {
    why = std::move(reason);
    return std::optional<db::BlockChanges>();
  };
  const uint64_t to = without_header(capture.start_lsn());
  const uint64_t reach = contiguous_end(log.pieces, from - 1) + 1;
  if (reach < to) {
    const auto shipped = ship(repo, ctx, source, capture, reach, to);
    if (!shipped && shipped.error().code != Code::kNotFound) return fail(shipped.error());
    if (!shipped)
      return unknown(fmt::format("the WAL from {} on is not in the repository", db::format_lsn(reach)));
    TRY_ASSIGN(Way way, find_way(repo, ctx, source, capture, parent));
    log = std::move(way.log);
  }
  const std::vector<PieceName> pieces = chain(log.pieces, from, to);
  if (pieces.empty())
    return unknown(fmt::format("the WAL from {} on is not in the repository", db::format_lsn(from)));
  return join(repo, ctx, pieces, from, capture.start_lsn(), why);
}

// What makes the backup before no base for any log; empty: nothing does.
std::string unfit(const Result<db::CaptureData>& before, const db::ControlFile& control, const Way& way) {
  if (!before) return "what the backup before says of its cluster cannot be read";
  if (before->system_id != control.system_id) return "the backup before is of another cluster";
  if (before->checksums != control.has_checksums())
    return "page checksums were switched since the backup before";
  if (!way.through_parent) return "the cluster's history does not go through the backup before";
  return {};
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
                                                    const std::string& source, const db::ClusterSpec& spec,
                                                    const db::ClusterCapture& capture,
                                                    const repo::Manifest& parent,
                                                    std::vector<std::string>& warnings) {
  const db::ControlFile& control = capture.control();
  const auto before = db::decode_capture_data(parent.engine_data);
  TRY_ASSIGN(Way way, find_way(repo, ctx, source, capture, parent));
  std::string why = unfit(before, control, way);
  if (why.empty()) {
    const auto known = [&](const char* from, db::BlockChanges changes) {
      return std::make_unique<WalChanges>(from, std::move(changes), control.segment_pages,
                                          capture.start_lsn());
    };
    TRY_ASSIGN(auto changes, by_summaries(ctx, spec, capture, way.timelines, before->start_lsn, why));
    if (changes) return known("summaries", std::move(*changes));
    if (!why.empty()) warnings.push_back("the server's WAL summaries do not tell what changed: " + why);
    TRY_ASSIGN(changes,
               by_index(repo, ctx, source, capture, parent, std::move(way.log), before->start_lsn, why));
    if (changes) return known("wal", std::move(*changes));
  }
  warnings.push_back("everything was read and compared: " + why);
  return nullptr;
}

}  // namespace varve::backup::postgres
