#include "backup/postgres/wal_spool.h"

#include <algorithm>
#include <fmt/format.h>
#include <thread>

#include "backup/postgres/timelines.h"
#include "base/task_group.h"
#include "base/text.h"
#include "codec/crc32c.h"
#include "engine/postgres/wal_reader.h"

namespace varve::backup::postgres {
namespace {

// XLOG_TBLSPC_CREATE of src/include/commands/tablespace.h; its record is the oid, then the path with a NUL.
constexpr uint8_t kTablespaceCreate = 0x00;
constexpr size_t kPathAt = sizeof(uint32_t), kChecksumAt = 20;
constexpr size_t kLongestPlain = 64 << 10;  // a path is much shorter
constexpr unsigned kMostWorkers = 4;

struct Segment {
  db::Timeline timeline = 0;
  uint64_t start = 0;
  Buffer bytes;
  uint64_t have = 0;
};

// A record that makes a tablespace.
struct Made {
  db::Timeline timeline = 0;
  uint64_t lsn = 0;
  size_t length = 0, main = 0;  // bytes: of all, of the main data at its end
};

class Spool {
 public:
  Spool(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state, const Target& target,
        const Scratch& scratch, Progress& progress)
      : ctx_(ctx),
        repo_(repo),
        state_(state),
        target_(target),
        scratch_(scratch),
        progress_(progress),
        archive_(repo, state.source),
        size_(target.data.wal_segment_size),
        timeline_(static_cast<db::Timeline>(std::strtoul(target.recovery.timeline.c_str(), nullptr, 10))) {}

  Result<> run() {
    progress_.begin("fetching the log", spool_size(target_));
    for (const char* folder : {"pg_wal", "pg_wal/archive_status"}) {
      TRY_OK(os::make_directories(scratch_.data() / folder, 0700));
      TRY_OK(scratch_.give(scratch_.data() / folder));
    }
    TRY_ASSIGN(const auto way, way_to_target());
    for (const Timelines::Stretch& s : way) TRY_OK(stretch(s));
    for (const Made& m : made_) TRY_OK(keep_inside(m));
    return {};
  }

 private:
  Result<std::vector<Timelines::Stretch>> way_to_target() {
    const std::string name = history_epoch_of(target_.data.system_id);
    EpochLog histories;
    for (const EpochLog& e : state_.epochs)
      if (e.epoch == name) histories = e;
    TRY_ASSIGN(const Timelines timelines, Timelines::load(repo_, ctx_, histories));
    for (const PieceName& p : histories.pieces) {
      const auto timeline = static_cast<db::Timeline>(p.first);
      if (timeline > timeline_) continue;
      TRY_ASSIGN(const Buffer content, archive_.history(ctx_, target_.data.system_id, timeline));
      TRY_OK(write(db::history_name(timeline), content));
    }
    std::vector<Timelines::Stretch> out;
    // The record at the target may reach into the segment after it.
    const uint64_t end = up(target_.until) + size_;
    for (Timelines::Stretch s : timelines.way_to(timeline_)) {
      s.from = std::max(s.from, target_.data.start_lsn) / size_ * size_;
      s.to = std::min(s.to, end);
      if (s.from < s.to) out.push_back(s);
    }
    return out;
  }
  uint64_t up(uint64_t lsn) const { return (lsn + size_ - 1) / size_ * size_; }

  // The segments of one timeline, as the server will read them: each whole, however much of it is this
  // timeline's.
  Result<> stretch(const Timelines::Stretch& s) {
    db::WalReader reader({.lsn = s.from, .segment_size = size_, .version = target_.data.major()});
    const unsigned workers = std::clamp(std::thread::hardware_concurrency(), 1u, kMostWorkers);
    for (uint64_t at = s.from; at < s.to;) {
      std::vector<Segment> segments;
      for (; at < s.to && segments.size() < workers; at += size_)
        segments.push_back({.timeline = s.timeline, .start = at, .bytes = {}});
      TRY_OK(fetch(segments));
      for (const Segment& segment : segments) {
        if (segment.have == 0) return {};
        // What follows on another timeline is looked at as that one's.
        const uint64_t end = std::min(segment.start + segment.bytes.size(), s.to);
        TRY_OK(look(reader, s.timeline, ByteView(segment.bytes).first(end - segment.start)));
        TRY_OK(write(db::segment_name(segment.timeline, segment.start, size_), segment.bytes));
        progress_.done_bytes += segment.bytes.size();
      }
    }
    return {};
  }

  Result<> fetch(std::vector<Segment>& segments) {
    TaskGroup group(ctx_.stop);
    for (Segment& segment : segments) {
      group.spawn([&](const std::stop_token& stop) -> Result<> {
        Context inner = ctx_;
        inner.stop = stop;
        segment.bytes.resize(size_);
        TRY_ASSIGN(segment.have, archive_.read(inner, target_.data.system_id, segment.timeline, segment.start,
                                               segment.bytes));
        progress_.stored_bytes += segment.have;
        return {};
      });
    }
    return group.wait();
  }

  Result<> look(db::WalReader& reader, db::Timeline timeline, ByteView bytes) {
    TRY_OK(reader.feed(bytes, [&](const db::WalRecord& r) -> Result<> {
      if (r.rmid == db::rmgr::kTablespace && r.operation() == kTablespaceCreate)
        made_.push_back({timeline, r.lsn, r.length, r.main_data.size()});
      return {};
    }));
    if (reader.stop() && reader.stop()->kind == db::WalStop::Kind::kUnsupported)
      return fail(Code::kUnsupported, fmt::format("the log cannot be read from {} on: {}",
                                                  db::format_lsn(reader.stop()->lsn), reader.stop()->reason));
    return {};
  }

  // Without a path the server makes the tablespace as a folder of its data directory (from the releases of
  // August 2022 on; an older one stops at that record).
  Result<> keep_inside(const Made& m) {
    if (m.length > kLongestPlain || m.main <= kPathAt || m.main > m.length - db::kRecordHeader)
      return fail(Code::kDamaged,
                  fmt::format("the record at {} makes no tablespace that can be", db::format_lsn(m.lsn)));
    std::vector<uint64_t> places;  // where each of its bytes stands
    for (uint64_t at = m.lsn; places.size() < m.length; ++at) {
      at = db::after_header(at, size_);
      places.push_back(at);
    }
    Buffer record(m.length);
    for (size_t i = 0; i < record.size(); ++i)
      TRY_OK(at(m.timeline, places[i], MutableBytes(record).subspan(i, 1), false));
    const size_t path = m.length - m.main + kPathAt;
    record[path] = std::byte{0};
    const ByteView bytes = record;
    const uint32_t checksum =
        db::record_checksum(bytes.first(db::kRecordHeader), codec::crc32c(bytes.subspan(db::kRecordHeader)));
    store_le<uint32_t>(record.data() + kChecksumAt, checksum);
    TRY_OK(at(m.timeline, places[path], MutableBytes(record).subspan(path, 1), true));
    for (size_t i = kChecksumAt; i < kChecksumAt + sizeof checksum; ++i)
      TRY_OK(at(m.timeline, places[i], MutableBytes(record).subspan(i, 1), true));
    return {};
  }
  // Within one page.
  Result<> at(db::Timeline timeline, uint64_t lsn, MutableBytes bytes, bool write) {
    const os::Path path = scratch_.data() / "pg_wal" / db::segment_name(timeline, lsn, size_);
    TRY_ASSIGN(os::File file, os::File::open(path, os::File::Mode::kReadWrite));
    return write ? file.write_at(lsn % size_, bytes) : file.read_exact_at(lsn % size_, bytes);
  }

  Result<> write(const std::string& name, ByteView bytes) {
    const os::Path path = scratch_.data() / "pg_wal" / name;
    TRY_ASSIGN(os::File file, os::File::open(path, os::File::Mode::kCreateNew, 0600));
    TRY_OK(file.write_at(0, bytes));
    TRY_OK(file.close());
    return scratch_.give(path);
  }

  const Context& ctx_;
  const repo::RepositoryPtr& repo_;
  const SourceState& state_;
  const Target& target_;
  const Scratch& scratch_;
  Progress& progress_;
  WalArchive archive_;
  const uint32_t size_;  // of a segment
  const db::Timeline timeline_;
  std::vector<Made> made_;
};

}  // namespace

uint64_t spool_size(const Target& target) {
  const uint64_t size = target.data.wal_segment_size;
  const uint64_t from = target.data.start_lsn / size * size;
  return (target.until - std::min(from, target.until) + size - 1) / size * size + size;
}

Result<> spool_wal(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                   const Target& target, const Scratch& scratch, Progress& progress) {
  return Spool(repo, ctx, state, target, scratch, progress).run();
}

}  // namespace varve::backup::postgres
