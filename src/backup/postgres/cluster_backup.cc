// Backups of a cluster: its files, then the WAL that makes them one state.
#include <algorithm>
#include <fmt/format.h>

#include "backup/postgres/streamed_backup.h"
#include "backup/postgres/wal_archive.h"
#include "backup/postgres/wal_changes.h"
#include "backup/postgres/wal_files.h"
#include "backup/postgres/work.h"
#include "backup/store_capture.h"
#include "base/log.h"
#include "engine/postgres/capture.h"

namespace varve::backup::postgres {
namespace {

// The WAL from the capture's start to its stop, out of pg_wal. A primary has ended the segment of the stop by
// then, so it is taken whole, as archive_command will give it; of a standby's last one only what is certain.
Result<> store_wal(const repo::RepositoryPtr& repo, const Context& ctx, const std::string& source,
                   const db::ClusterCapture& capture) {
  const db::CaptureData& data = capture.data();
  WalArchive archive(repo, source);
  const uint32_t size = data.wal_segment_size;
  for (uint64_t at = data.start_lsn / size * size; at < data.stop_lsn; at += size) {
    TRY_OK(ctx.check());
    const std::string name = db::segment_name(data.timeline, at, size);
    WalFile file;
    file.system_id = data.system_id;
    file.timeline = data.timeline;
    file.segment_size = size;
    file.start = at;
    const bool whole = !data.from_standby || at + size <= data.stop_lsn;
    file.length = whole ? size : data.stop_lsn - at;
    auto stored = store_segment(archive, ctx, capture.wal_directory() / name, file);
    if (!stored && stored.error().code == Code::kNotFound)
      return fail(Code::kIncomplete,
                  fmt::format("the server removed the WAL segment {} before it could be stored", name),
                  "let it keep more WAL: a free replication slot (max_replication_slots), or wal_keep_size");
    if (!stored) return fail(stored.error());
  }
  return {};
}

// Which timelines lead to the capture's: without it neither the parent's log nor a restore finds the way.
Result<> store_history(const repo::RepositoryPtr& repo, const Context& ctx, const std::string& source,
                       const db::ClusterCapture& capture) {
  if (capture.timeline() == 1) return {};
  auto content = os::read_file(capture.wal_directory() / db::history_name(capture.timeline()), 1 << 20);
  if (!content && content.error().code == Code::kNotFound) return {};  // a timeline that began with initdb
  if (!content) return fail(content.error());
  return WalArchive(repo, source)
      .store_history(ctx, capture.control().system_id, capture.timeline(), *content)
      .map([](const auto&) {});
}

}  // namespace

Result<repo::Manifest> backup(const repo::RepositoryPtr& repo, const Context& ctx, const Source& source,
                              const BackupOptions& options, Progress& progress) {
  TRY_ASSIGN(const db::ClusterSpec spec, spec_of(source));
  if (spec.access == db::Access::kReplication)
    return streamed_backup(repo, ctx, source, spec, options, progress);
  const OpenCapture open = [&]() -> Result<std::unique_ptr<engine::Capture>> {
    TRY_ASSIGN(auto capture, db::begin_capture(ctx, spec, {}));
    TRY_OK(store_history(repo, ctx, source.name, *capture));
    return std::unique_ptr<engine::Capture>(std::move(capture));
  };
  const MakeHooks hooks = [&](engine::Capture& opened) {
    auto& capture = static_cast<db::ClusterCapture&>(opened);
    CaptureHooks out;
    out.changes = [&](const repo::Manifest& parent, std::vector<std::string>& warnings) {
      return changes_since(repo, ctx, source.name, spec, capture, parent, warnings);
    };
    out.before_commit = [&](repo::Manifest& m) -> Result<> {
      progress.phase = "storing the WAL";
      TRY_OK(store_wal(repo, ctx, source.name, capture));
      TRY_OK(check_wal_of(WalArchive(repo, source.name), ctx, capture.data()));
      capture.release();
      m.epoch = epoch_of(capture.data().system_id, capture.data().timeline);
      return {};
    };
    return out;
  };
  return store_captures(repo, ctx, source, options, open, hooks, progress);
}

}  // namespace varve::backup::postgres
