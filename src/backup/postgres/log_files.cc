#include "backup/log_files.h"

#include <algorithm>
#include <fmt/format.h>

#include "backup/postgres/wal_files.h"
#include "base/log.h"
#include "base/task_group.h"
#include "engine/postgres/control_file.h"

namespace varve::backup {

using namespace postgres;

namespace {

using FileKind = db::WalFileName::Kind;

constexpr uint64_t kMaxHistory = 1 << 20;
constexpr std::string_view kReady = ".ready";

// The names tell the size only to who knows the position; any valid size reads timeline and kind.
std::optional<db::WalFileName> parse_name(const std::string& name, uint32_t segment_size) {
  return db::parse_wal_file_name(name, segment_size);
}

class Push {
 public:
  Push(const repo::RepositoryPtr& repo, const std::string& source) : archive_(repo, source) {}

  Result<WalArchive::Stored> file(const Context& ctx, const os::Path& path) {
    const std::string name = path.filename().native();
    if (name.ends_with(".history")) return history(ctx, path, name);
    if (name.ends_with(".backup")) return WalArchive::Stored::kBefore;
    const auto timeline = timeline_of(name);
    if (!timeline)
      return fail(Code::kUsage, fmt::format("{}: is no name of a WAL file", name),
                  "archive_command = 'varve log push SOURCE %p'");
    TRY_ASSIGN(WalFile wal, identify_segment(path, *timeline));
    const auto parsed = parse_name(name, wal.segment_size);
    if (!parsed || parsed->start != wal.start)
      return fail(Code::kDamaged,
                  fmt::format("{}: holds another segment than its name says ({})", path.string(),
                              db::segment_name(*timeline, wal.start, wal.segment_size)));
    if (parsed->kind == FileKind::kPartial) return partial(ctx, path, wal);
    return store_segment(archive_, ctx, path, wal);
  }

 private:
  static std::optional<db::Timeline> timeline_of(const std::string& name) {
    const auto parsed = parse_name(name, 16u << 20);
    // With other sizes the last digits mean something else; the first eight are always the timeline.
    if (parsed) return parsed->timeline;
    const auto big = parse_name(name, 1u << 20);
    return big ? std::optional(big->timeline) : std::nullopt;
  }

  Result<WalArchive::Stored> history(const Context& ctx, const os::Path& path, const std::string& name) {
    const auto parsed = parse_name(name, 16u << 20);
    if (!parsed) return fail(Code::kUsage, fmt::format("{}: is no name of a history file", name));
    TRY_ASSIGN(const Buffer content, os::read_file(path, kMaxHistory));
    const os::Path data_directory = std::filesystem::absolute(path).parent_path().parent_path();
    TRY_ASSIGN(const auto control, db::read_control_file(ctx, data_directory));
    TRY_ASSIGN(const auto kept,
               archive_.store_history(ctx, control.control.system_id, parsed->timeline, content));
    return kept.stored;
  }

  // The end of a timeline that was left: what is valid of it.
  Result<WalArchive::Stored> partial(const Context& ctx, const os::Path& path, WalFile wal) {
    TRY_ASSIGN(const Buffer bytes, os::read_file(path, uint64_t{1} << 30));
    const db::WalIndex index =
        db::build_index({wal.system_id, wal.timeline, wal.start, wal.segment_size, 8192}, bytes);
    const uint64_t end = index.stop ? index.stop->lsn : index.end;
    if (end <= wal.start) return WalArchive::Stored::kBefore;
    wal.length = end - wal.start;
    return store_segment(archive_, ctx, path, wal);
  }

  WalArchive archive_;
};

// Segments that the server has ready after `name`, ascending. Their marks are only read: renaming them would
// starve another archiver.
std::vector<os::Path> ready_after(const os::Path& path, size_t most) {
  std::vector<os::Path> out;
  const os::Path folder = path.parent_path();
  const auto names = os::list_directory(folder / "archive_status");
  if (!names) return out;
  for (const std::string& ready : *names) {
    if (!ready.ends_with(kReady)) continue;
    const std::string name = ready.substr(0, ready.size() - kReady.size());
    if (name > path.filename().native() && name.find('.') == std::string::npos) out.push_back(folder / name);
    if (out.size() == most) break;
  }
  return out;
}

}  // namespace

Result<PushReport> push_log_file(const repo::RepositoryPtr& repo, const Context& ctx,
                                 const std::string& source, const os::Path& file,
                                 const PushOptions& options) {
  Push push(repo, source);
  PushReport report;
  const std::vector<os::Path> ahead = ready_after(file, options.ahead);
  std::atomic<size_t> next{0};
  std::atomic<uint64_t> stored{0};
  TaskGroup group(ctx.stop);
  Context inner = ctx;
  inner.stop = group.token();
  for (unsigned i = 1; i < std::max(options.workers, 1u) && i <= ahead.size(); ++i) {
    group.spawn([&](const std::stop_token&) -> Result<> {
      for (size_t n; (n = next++) < ahead.size();) {
        // The server will ask for each of them, and be told then.
        const auto done = push.file(inner, ahead[n]);
        if (done && *done == WalArchive::Stored::kNow) ++stored;
        if (!done) {
          log::debug("{} was not stored ahead: {}", ahead[n].string(), done.error().describe());
          return {};
        }
      }
      return {};
    });
  }
  auto asked = push.file(ctx, file);
  TRY_OK(group.wait());
  if (!asked) return fail(std::move(asked).error());
  report.stored = *asked == WalArchive::Stored::kNow;
  report.ahead = stored;
  return report;
}

Result<bool> fetch_log_file(const repo::RepositoryPtr& repo, const Context& ctx, const std::string& source,
                            const std::string& name, const os::Path& target, const os::Path& data_directory) {
  TRY_ASSIGN(const auto control, db::read_control_file(ctx, data_directory));
  return fetch_file(repo, ctx, source, control.control.system_id, control.control.wal_segment_size, name,
                    target);
}

}  // namespace varve::backup
