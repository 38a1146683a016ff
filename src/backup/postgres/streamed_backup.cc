#include "backup/postgres/streamed_backup.h"

#include <algorithm>
#include <fmt/format.h>

#include "backup/postgres/wal_changes.h"
#include "backup/postgres/wal_files.h"
#include "backup/store_capture.h"
#include "engine/postgres/streamed_capture.h"

namespace varve::backup::postgres {
namespace {

constexpr auto kPoll = std::chrono::milliseconds(500);
constexpr auto kGather = std::chrono::milliseconds(200);
constexpr auto kSilence = std::chrono::seconds(120);  // WAL that the server has already must come

tl::unexpected<Error> cut_off(const db::StreamEnd& end, uint64_t at) {
  if (end.removed)
    return fail(
        Code::kIncomplete,
        fmt::format("the server removed the WAL from {} on before it could be stored", db::format_lsn(at)),
        "let it keep more WAL: a free replication slot (max_replication_slots), or wal_keep_size");
  if (end.timeline_over)
    return fail(Code::kIncomplete, "the server went on with another timeline while it was backed up",
                "take another backup");
  return fail(Error(end.error).with_context("while the server sent the WAL of its backup"));
}

// The WAL from the capture's start to its stop, in pieces such as archive_command's files give. A primary has
// ended the segment of the stop by then, so it is taken whole; of a standby's last one only what is certain.
Result<> store_wal(const repo::RepositoryPtr& repo, const Context& ctx, const std::string& source,
                   db::StreamedCapture& capture) {
  const db::CaptureData& data = capture.data();
  WalArchive archive(repo, source);
  if (data.timeline > 1) {
    const auto content = capture.history(ctx);
    if (!content && content.error().code != Code::kNotFound) return fail(content.error());
    // Without one the timeline began with initdb.
    if (content) TRY_OK(archive.store_history(ctx, data.system_id, data.timeline, *content));
  }
  const uint64_t segment = data.wal_segment_size, unit = std::min(segment, kWalPiece);
  uint64_t end = data.stop_lsn;
  if (!data.from_standby) end = (end + segment - 1) / segment * segment;
  db::PieceIdentity piece;
  piece.system = data.system_id;
  piece.timeline = data.timeline;
  piece.segment_size = data.wal_segment_size;
  piece.start = data.start_lsn / segment * segment;
  TRY_ASSIGN(const auto stream, capture.wal(ctx));
  Buffer bytes;
  auto last = SteadyClock::now();
  while (piece.start < end) {
    const uint64_t want = std::min(piece.start + unit, end) - piece.start;
    TRY_ASSIGN(const db::StreamBatch batch, stream->take(ctx, want - bytes.size(), kGather, kPoll));
    append(bytes, batch.bytes);
    if (!batch.bytes.empty()) last = SteadyClock::now();
    if (bytes.size() == want) {
      TRY_OK(archive.store(ctx, piece, bytes));
      piece.start += want;
      bytes.clear();
      last = SteadyClock::now();
    } else if (batch.end) {
      return cut_off(*batch.end, piece.start + bytes.size());
    } else if (SteadyClock::now() - last > kSilence) {
      return fail(Code::kDatabase,
                  fmt::format("the server does not send its WAL from {} on, which its backup needs",
                              db::format_lsn(piece.start + bytes.size())),
                  "look in its log, and run again");
    }
  }
  return {};
}

}  // namespace

Result<repo::Manifest> streamed_backup(const repo::RepositoryPtr& repo, const Context& ctx,
                                       const Source& source, const db::ClusterSpec& spec,
                                       const BackupOptions& options, Progress& progress) {
  const OpenCapture open = [&]() -> Result<std::unique_ptr<engine::Capture>> {
    TRY_ASSIGN(auto capture, db::begin_streamed_capture(ctx, spec, {}));
    return std::unique_ptr<engine::Capture>(std::move(capture));
  };
  const MakeHooks hooks = [&](engine::Capture& opened) {
    auto& capture = static_cast<db::StreamedCapture&>(opened);
    CaptureHooks out;
    out.changes = [](const repo::Manifest&, std::vector<std::string>& warnings) {
      warnings.emplace_back(
          "everything was read and compared: over the replication protocol the server sends every page");
      return std::unique_ptr<ChangedPages>();
    };
    out.before_commit = [&](repo::Manifest& m) -> Result<> {
      progress.phase = "storing the WAL";
      TRY_OK(store_wal(repo, ctx, source.name, capture));
      TRY_OK(check_wal_of(WalArchive(repo, source.name), ctx, capture.data()));
      if (capture.has_bad_pages()) {
        TRY_ASSIGN(const auto logged, logged_pages(repo, ctx, source.name, capture.data()));
        const auto warnings = capture.settle_pages(logged);
        m.warnings.insert(m.warnings.end(), warnings.begin(), warnings.end());
        m.engine_data = capture.engine_data();
      }
      m.epoch = epoch_of(capture.data().system_id, capture.data().timeline);
      return {};
    };
    return out;
  };
  return store_captures(repo, ctx, source, options, open, hooks, progress);
}

}  // namespace varve::backup::postgres
