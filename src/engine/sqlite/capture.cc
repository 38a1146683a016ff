#include "engine/sqlite/capture.h"

#include <algorithm>
#include <fmt/format.h>
#include <sqlite3.h>

#include "base/text.h"

namespace varve::engine::sqlite {
namespace {

// Databases of one source that are pinned within this time are of one moment, as far as anybody can tell.
constexpr auto kTogether = std::chrono::seconds(1);

class SnapshotFile : public FileReader {
 public:
  explicit SnapshotFile(const Snapshot& snapshot) : snapshot_(snapshot) {}
  Result<> read(uint64_t offset, MutableBytes out) override { return snapshot_.read(offset, out); }

 private:
  const Snapshot& snapshot_;
};

std::string position_of(const std::vector<std::unique_ptr<Snapshot>>& snapshots,
                        std::optional<uint64_t> txn) {
  if (txn) return fmt::format("txn:{}", *txn);
  if (snapshots.size() != 1) return fmt::format("databases:{}", snapshots.size());
  const CapturedDatabase& state = snapshots.front()->state();
  if (!state.wal_mode) return fmt::format("change:{}", state.change_counter);
  return fmt::format("wal:{:08x}{:08x}:{}", state.wal.salt1, state.wal.salt2, state.wal.frame);
}

class SnapshotCapture : public Capture {
 public:
  SnapshotCapture(std::vector<std::unique_ptr<Snapshot>> snapshots, bool several, std::optional<uint64_t> txn,
                  Timestamp moment, std::vector<std::string> warnings)
      : snapshots_(std::move(snapshots)), several_(several), txn_(txn) {
    std::ranges::sort(snapshots_, {}, [](const auto& s) { return s->state().name; });
    end_.warnings = std::move(warnings);
    info_.engine = "sqlite";
    info_.database_version = sqlite3_libversion();
    info_.start_position = position_of(snapshots_, txn_);
    info_.moment = moment;
  }

  const CaptureInfo& info() const override { return info_; }

  Result<std::vector<FileSpec>> files(const Context& ctx) override {
    TRY_OK(ctx.check());
    std::vector<FileSpec> out;
    for (const auto& snapshot : snapshots_) {
      const os::FileStatus& status = snapshot->status();
      FileSpec file;
      file.path = snapshot->state().name;
      file.size = snapshot->size();
      file.page_size = snapshot->state().page_size;
      file.mode = status.mode & 07777;
      file.uid = status.uid;
      file.gid = status.gid;
      file.mtime_us = status.mtime_us;
      out.push_back(std::move(file));
    }
    return out;
  }

  Result<std::unique_ptr<FileReader>> open(const FileSpec& file) override {
    for (const auto& snapshot : snapshots_) {
      if (snapshot->state().name == file.path) return std::make_unique<SnapshotFile>(*snapshot);
    }
    return fail(Code::kInternal, fmt::format("no file {} in this capture", printable(file.path)));
  }

  Result<CaptureEnd> finish(const Context& ctx) override {
    TRY_OK(ctx.check());
    CaptureEnd out = end_;
    CaptureData data;
    for (const auto& snapshot : snapshots_) {
      TRY_OK(snapshot->check());
      data.databases.push_back(snapshot->state());
      out.warnings.insert(out.warnings.end(), snapshot->warnings().begin(), snapshot->warnings().end());
      auto tables = snapshot->tables();
      if (!tables) {
        out.warnings.push_back(fmt::format("{}: its tables cannot be listed: {}",
                                           printable(snapshot->state().name), tables.error().describe()));
        continue;
      }
      for (std::string& table : *tables) {
        out.tables.push_back(several_ ? fmt::format("{}:{}", snapshot->state().name, table)
                                      : std::move(table));
      }
    }
    data.txn = txn_;
    out.engine_data = encode_capture_data(data);
    out.stop_position = info_.start_position;
    return out;
  }

 private:
  std::vector<std::unique_ptr<Snapshot>> snapshots_;
  bool several_;
  std::optional<uint64_t> txn_;
  CaptureInfo info_;
  CaptureEnd end_;
};

}  // namespace

std::unique_ptr<Capture> make_capture(std::vector<std::unique_ptr<Snapshot>> snapshots, bool several,
                                      std::optional<uint64_t> txn, Timestamp moment,
                                      std::vector<std::string> warnings) {
  return std::make_unique<SnapshotCapture>(std::move(snapshots), several, txn, moment, std::move(warnings));
}

Result<std::unique_ptr<Capture>> begin_capture(const Context& ctx, const SourceSpec& spec,
                                               const CaptureOptions& options) {
  std::vector<std::string> skipped, warnings;
  TRY_ASSIGN(const auto databases, find_databases(spec, &skipped));
  for (const std::string& name : skipped) {
    warnings.push_back(fmt::format("{} matches but is not a SQLite database; left out", printable(name)));
  }
  std::vector<std::unique_ptr<Snapshot>> snapshots;
  for (const DatabaseFile& database : databases) {
    TRY_ASSIGN(auto snapshot, Snapshot::take(ctx, database, options.busy_timeout));
    snapshots.push_back(std::move(snapshot));
  }
  const Timestamp first = snapshots.empty() ? now() : snapshots.front()->moment();
  const Timestamp moment = snapshots.empty() ? first : snapshots.back()->moment();
  if (moment - first > kTogether) {
    warnings.push_back(fmt::format("locks had to be waited for: the databases' states are up to {} apart",
                                   to_human(moment - first)));
  }
  return make_capture(std::move(snapshots), spec.is_glob, std::nullopt, moment, std::move(warnings));
}

}  // namespace varve::engine::sqlite
