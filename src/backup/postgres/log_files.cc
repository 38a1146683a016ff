#include "backup/log_files.h"

#include <algorithm>
#include <atomic>
#include <fmt/format.h>
#include <mutex>

#include "backup/postgres/wal_aside.h"
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
// The server can neither stop nor remove WAL while it waits.
constexpr std::chrono::seconds kLongestAhead{10};

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
  const auto begun = SteadyClock::now();
  std::atomic<size_t> next{0};
  std::atomic<uint64_t> stored{0};
  std::mutex mutex;
  std::vector<WalAside::Mark> sent;
  TaskGroup group(ctx.stop);
  Context inner = ctx;
  inner.stop = group.token();
  const auto work = [&] {
    for (size_t n; SteadyClock::now() - begun < kLongestAhead && (n = next++) < ahead.size();) {
      const auto before = WalAside::mark(ahead[n]);
      const auto done = push.file(inner, ahead[n]);
      // The server will ask for it, and be told then.
      if (!done) {
        log::debug("{} was not stored ahead: {}", ahead[n].string(), done.error().describe());
        return;
      }
      if (*done == WalArchive::Stored::kNow) ++stored;
      const auto after = WalAside::mark(ahead[n]);
      const std::scoped_lock lock(mutex);
      if (before && after && *before == *after) sent.push_back(*after);
    }
  };
  for (unsigned i = 1; i < std::max(options.workers, 1u) && i <= ahead.size(); ++i)
    group.spawn([&](const std::stop_token&) -> Result<> {
      work();
      return {};
    });
  auto asked = push.file(ctx, file);
  if (asked) work();
  TRY_OK(group.wait());
  if (!asked) return fail(std::move(asked).error());
  if (!options.origin.empty() && !sent.empty()) {
    const auto noted = WalAside(file.parent_path(), options.origin).note_sent(sent);
    if (!noted) log::debug("what was stored ahead will be looked at again: {}", noted.error().describe());
  }
  report.stored = *asked == WalArchive::Stored::kNow;
  report.ahead = stored;
  return report;
}

bool was_pushed_ahead(const std::string& origin, const os::Path& file) {
  return WalAside(file.parent_path(), origin).was_sent(file);
}

namespace {

WalAside aside_of(const os::Path& target, const FetchOptions& options, uint64_t system_id) {
  return {target.parent_path(), fmt::format("{}\n{}", options.origin, system_id)};
}

// Fetches the segments after one that the server missed. It asks for one after the other: each time that it
// does so, the next call fetches twice as many, so that a recovery that ends soon brings few in vain.
class Ahead {
 public:
  Ahead(WalArchive& archive, const WalAside& aside, const db::ControlFile& cluster,
        const db::WalFileName& missed, const FetchOptions& options)
      : archive_(archive), aside_(aside), cluster_(cluster), missed_(missed) {
    const uint64_t size = cluster.wal_segment_size;
    const auto expected = aside.next();
    const bool in_a_row = expected && expected->segment == name(0);
    const uint64_t most = std::min<uint64_t>(options.ahead, kMostBytesAhead / size);
    count_ = std::min<uint64_t>(in_a_row ? std::max(kFirstAhead, 2 * expected->ahead) : kFirstAhead, most);
    workers_ = std::clamp<uint64_t>(kMostBytesAtOnce / size, 1, std::max(options.workers, 1u));
  }

  // Failures are for the call that needs the segment.
  void spawn(const Context& ctx, TaskGroup& group) {
    const auto free = os::free_space(aside_.wal_directory());
    if (!free || *free < 4 * count_ * cluster_.wal_segment_size) return;
    for (uint64_t i = 0; i < std::min(workers_, count_); ++i) {
      group.spawn([this, ctx](const std::stop_token& stop) -> Result<> {
        Context inner = ctx;
        inner.stop = stop;
        if (const auto done = work(inner); !done) log::debug("fetching ahead: {}", done.error().describe());
        return {};
      });
    }
  }
  Result<> finish() const { return aside_.expect({name(count_ + 1), static_cast<uint32_t>(count_)}); }

 private:
  std::string name(uint64_t after) const {
    return db::segment_name(missed_.timeline, missed_.start + after * cluster_.wal_segment_size,
                            cluster_.wal_segment_size);
  }
  Result<> work(const Context& ctx) {
    Buffer bytes(cluster_.wal_segment_size);
    for (uint64_t n; !ended_ && (n = ++last_) <= count_;) {
      TRY_ASSIGN(const uint64_t have, archive_.read_whole_pieces(ctx, cluster_.system_id, missed_.timeline,
                                                                 missed_.start + n * bytes.size(), bytes));
      // Of a segment that is not there whole more may come.
      if (have < bytes.size()) ended_ = true;
      if (have == bytes.size()) TRY_OK(aside_.keep(name(n), bytes));
    }
    return {};
  }

  static constexpr uint32_t kFirstAhead = 2;
  static constexpr uint64_t kMostBytesAhead = 256u << 20, kMostBytesAtOnce = 64u << 20;
  WalArchive& archive_;
  const WalAside& aside_;
  const db::ControlFile& cluster_;
  const db::WalFileName missed_;
  uint64_t count_ = 0, workers_ = 1;
  std::atomic<uint64_t> last_{0};
  std::atomic<bool> ended_{false};
};

}  // namespace

Result<bool> fetch_log_file(const repo::RepositoryPtr& repo, const Context& ctx, const std::string& source,
                            const std::string& name, const os::Path& target, const FetchOptions& options) {
  TRY_ASSIGN(const auto image, db::read_control_file(ctx, options.data_directory));
  const db::ControlFile& cluster = image.control;
  const WalAside aside = aside_of(target, options, cluster.system_id);
  const auto parsed = db::parse_wal_file_name(name, cluster.wal_segment_size);
  WalArchive archive(repo, source);
  std::optional<Ahead> ahead;
  if (!options.origin.empty() && parsed && parsed->kind == FileKind::kSegment)
    ahead.emplace(archive, aside, cluster, *parsed, options);
  TaskGroup group(ctx.stop);
  if (ahead) ahead->spawn(ctx, group);
  const auto there = fetch_file(repo, ctx, source, cluster.system_id, cluster.wal_segment_size, name, target);
  if (!there) group.request_stop();
  TRY_OK(group.wait());
  if (!there) return fail(there.error());
  // A server asks for histories where its recovery begins and ends; and for what is not there at the end.
  if (!ahead || !*there) {
    aside.forget_fetched();
  } else if (const auto noted = ahead->finish(); !noted) {
    log::debug("fetching ahead: {}", noted.error().describe());
  }
  return *there;
}

bool take_fetched_ahead(const std::string& name, const os::Path& target, const FetchOptions& options) {
  const auto image = db::read_control_file({}, options.data_directory);
  if (!image) return false;
  const auto parsed = db::parse_wal_file_name(name, image->control.wal_segment_size);
  return parsed && parsed->kind == FileKind::kSegment &&
         aside_of(target, options, image->control.system_id).take(name, target);
}

}  // namespace varve::backup
