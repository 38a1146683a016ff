#include "engine/postgres/streamed_capture.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>

#include "base/text.h"
#include "engine/postgres/backup_session.h"
#include "engine/postgres/base_backup.h"
#include "engine/postgres/capture_end.h"
#include "engine/postgres/page.h"

namespace varve::engine::postgres {
namespace {

constexpr uint64_t kLargestLate = 16u << 20;  // tablespace_map has a line for each tablespace

class LiveStream final : public StreamedCapture, public FileStream {
 public:
  LiveStream(ClusterSpec spec, CaptureOptions options)
      : spec_(std::move(spec)), options_(std::move(options)) {}

  Result<> begin(const Context& ctx) {
    TRY_ASSIGN(sql_, Connection::open(ctx, spec_));
    TRY_OK(ask_server(ctx));
    SessionOptions streaming;
    streaming.replication = true;
    TRY_ASSIGN(auto session, Connection::open(ctx, spec_, streaming));
    TRY_OK(check_same_server(ctx, *session));
    TRY_OK(keep_wal(ctx, *session));
    TRY_ASSIGN(const auto before, tablespaces(ctx));
    TRY_ASSIGN(backup_,
               BaseBackup::start(ctx, std::move(session),
                                 {label_line(options_.label), options_.fast_checkpoint, spec_.read_rate}));
    const BaseBackupHead& head = backup_->head();
    data_.start_lsn = head.start;
    data_.timeline = head.timeline;
    data_.tablespaces = head.tablespaces;
    links_left_ = data_.tablespaces;
    TRY_OK(check_tablespaces(ctx, before));
    info_ = {.engine = "postgres",
             .database_version = data_.version_text,
             .lineage = std::to_string(data_.system_id),
             .start_position = position_text(head.start),
             .moment = data_.started};
    return {};
  }

  const CaptureInfo& info() const override { return info_; }
  const CaptureData& data() const override { return data_; }
  FileStream* stream() override { return this; }
  Result<std::vector<FileSpec>> files(const Context&) override {
    return fail(Code::kInternal, "the files of a stream are listed");
  }
  Result<std::unique_ptr<FileReader>> open(const FileSpec&) override {
    return fail(Code::kInternal, "a file of a stream is opened");
  }

  uint64_t expected() const override { return backup_->head().bytes; }

  Result<std::optional<FileSpec>> next() override {
    relation_.reset();
    for (;;) {
      TRY_ASSIGN(auto entry, backup_->next());
      if (!entry) return links_left_.empty() ? std::nullopt : std::optional(next_link());
      if (entry->type == FileType::kSymlink)
        return fail(Code::kUnsupported, fmt::format("the server sent the link {}, which was not asked for",
                                                    printable(entry->path)));
      if (entry->path == "backup_label" || entry->path == "tablespace_map" || entry->path == kControlPath) {
        TRY_OK(take_late(*entry));
        continue;
      }
      if (is_left_out(entry->path)) continue;
      FileSpec spec = spec_of(*entry);
      if (entry->type == FileType::kRegular) {
        relation_ = relation_file(entry->path);
        if (relation_) spec.size -= spec.size % data_.page_size;
        at_ = 0;
        path_ = entry->path;
      }
      return spec;
    }
  }

  Result<> read(MutableBytes out) override {
    TRY_OK(backup_->read(out));
    if (relation_ && data_.checksums && options_.verify_checksums) verify(out);
    at_ += out.size();
    return {};
  }

  Result<CaptureEnd> finish(const Context& ctx) override {
    TRY_ASSIGN(const BaseBackupEnd stop, backup_->finish());
    session_ = std::move(*backup_).take_connection();
    backup_.reset();
    // Each may come twice: the server looks at everything first to know how much it is.
    for (const std::string& w : session_->take_warnings()) {
      std::string warning = "the server warned: " + w;
      if (std::ranges::find(warnings_, warning) == warnings_.end()) warnings_.push_back(std::move(warning));
    }
    for (const char* name : {"backup_label", "global/pg_control"})
      if (!late_.contains(name))
        return fail(Code::kDatabase, fmt::format("the server's base backup has no {}", name), "run again");
    TRY_ASSIGN(const BackupLabel label, parse_backup_label(as_text(late_["backup_label"])));
    auto control = parse_control_file(late_["global/pg_control"]);
    if (!control) {
      Error error = std::move(control).error();
      if (error.code == Code::kDamaged)
        error.hint = "it was being written while the server sent it: run again";
      return fail(std::move(error));
    }
    TRY_OK(check_control(*control, label));
    data_.stop_lsn = stop.stop;
    data_.checkpoint_lsn = label.checkpoint_lsn;
    data_.stop_timeline = std::max(label.timeline, control->min_recovery_timeline);
    // The server's clock after the stop: every commit before the stop has an earlier time.
    if (!sql_->is_open()) sql_.reset();
    auto stopped = sql_ ? clock(ctx) : Result<Timestamp>(fail(Code::kDatabase, "closed"));
    if (!stopped) {
      TRY_ASSIGN(sql_, Connection::open(ctx, spec_));
      stopped = clock(ctx);
    }
    if (!stopped) return fail(stopped.error());
    data_.stopped = *stopped;
    TRY_OK(describe_cluster(ctx, spec_, data_, warnings_));
    sql_.reset();
    CaptureEnd end = capture_end(data_, {std::move(late_["backup_label"]), std::move(late_["tablespace_map"]),
                                         std::move(late_["global/pg_control"])});
    end.warnings = warnings_;
    return end;
  }

  Result<Buffer> history(const Context& ctx) override {
    ReplicationSession session(std::move(session_));
    auto out = session.history(ctx, data_.timeline);
    session_ = std::move(session).take_connection();
    return out;
  }

  Result<std::unique_ptr<WalStream>> wal(const Context& ctx) override {
    StreamOptions options;
    options.timeline = data_.timeline;
    options.from = data_.start_lsn / data_.wal_segment_size * data_.wal_segment_size;
    return WalStream::start(ctx, ReplicationSession(std::move(session_)), options);
  }

  bool has_bad_pages() const override { return pages_.settle(data_.stop_lsn).count > 0; }

  std::vector<std::string> settle_pages(const Logged& logged) override {
    auto found = pages_.settle(data_.stop_lsn);
    const size_t before = found.pages.size();
    std::erase_if(found.pages, logged);
    found.count -= before - found.pages.size();
    std::vector<std::string> warnings;
    postgres::settle_pages(std::move(found), data_, warnings);
    return warnings;
  }

  Buffer engine_data() const override { return encode_capture_data(data_); }

 private:
  Result<Timestamp> clock(const Context& ctx) {
    TRY_ASSIGN(
        const Rows rows,
        sql_->query(ctx, "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint"));
    TRY_ASSIGN(const uint64_t us, rows.number(0, 0));
    return Timestamp(std::chrono::microseconds(static_cast<int64_t>(us)));
  }

  // What a local capture reads in pg_control, before its image comes as the last file of all.
  Result<> ask_server(const Context& ctx) {
    data_.version = static_cast<uint32_t>(sql_->version());
    data_.version_text = sql_->version_text();
    TRY_ASSIGN(const ServerIdentity server, identify(ctx, *sql_));
    data_.system_id = server.system_id;
    data_.from_standby = server.in_recovery;
    data_.data_directory = server.data_directory;
    TRY_ASSIGN(data_.started, clock(ctx));
    TRY_ASSIGN(const Rows rows,
               sql_->query(ctx,
                           "SELECT i.database_block_size, i.blocks_per_segment, i.wal_block_size,"
                           " i.bytes_per_wal_segment, i.data_page_checksum_version, s.pg_control_version,"
                           " s.catalog_version_no"
                           " FROM pg_catalog.pg_control_init() i, pg_catalog.pg_control_system() s"));
    uint64_t checksums = 0, page_size = 0, segment_size = 0;
    TRY_ASSIGN(page_size, rows.number(0, 0));
    TRY_ASSIGN(segment_size, rows.number(0, 3));
    TRY_ASSIGN(checksums, rows.number(0, 4));
    for (const auto& [column, field] :
         {std::pair{1, &data_.segment_pages}, std::pair{2, &data_.wal_page_size},
          std::pair{5, &data_.control_version}, std::pair{6, &data_.catalog_version}}) {
      TRY_ASSIGN(const uint64_t number, rows.number(0, static_cast<size_t>(column)));
      *field = static_cast<uint32_t>(number);
    }
    if (page_size < 1024 || page_size > 32768 || page_size % 128 != 0 || !valid_segment_size(segment_size))
      return fail(Code::kUnsupported, fmt::format("the server has pages of {} and WAL segments of {} bytes",
                                                  page_size, segment_size));
    data_.page_size = static_cast<uint32_t>(page_size);
    data_.wal_segment_size = static_cast<uint32_t>(segment_size);
    data_.checksums = checksums != 0;
    TRY_ASSIGN(const Rows mode, sql_->query(ctx, "SELECT pg_catalog.current_setting('data_directory_mode')"));
    data_.mode = static_cast<uint32_t>(std::strtoul(std::string(mode.text(0, 0)).c_str(), nullptr, 8));
    return {};
  }

  // Several hosts in the connection, or a pooler, can lead to another one.
  Result<> check_same_server(const Context& ctx, Connection& session) {
    TRY_ASSIGN(const Rows rows, session.query(ctx, "IDENTIFY_SYSTEM"));
    if (rows.size() == 1 && rows.columns() >= 1 && rows.text(0, 0) == std::to_string(data_.system_id))
      return {};
    return fail(Code::kUsage, "another cluster answers over the replication protocol than by SQL",
                "connection must lead to one server, and to it directly");
  }

  // Name by oid, but for those that lie in the data directory.
  Result<std::map<uint32_t, std::string>> tablespaces(const Context& ctx) {
    TRY_ASSIGN(const Rows rows, sql_->query(ctx,
                                            "SELECT t.oid, t.spcname FROM pg_catalog.pg_tablespace t"
                                            " WHERE t.spcname NOT IN ('pg_default', 'pg_global')"));
    std::map<uint32_t, std::string> out;
    for (size_t i = 0; i < rows.size(); ++i) {
      TRY_ASSIGN(const uint64_t oid, rows.number(i, 0));
      out[static_cast<uint32_t>(oid)] = rows.text(i, 1);
    }
    return out;
  }

  // Servers of version 15 leave one out that was made in place (allow_in_place_tablespaces), without a word.
  // One that came later is made by the log.
  Result<> check_tablespaces(const Context& ctx, std::map<uint32_t, std::string> missing) {
    for (const Tablespace& t : data_.tablespaces) missing.erase(t.oid);
    if (missing.empty()) return {};
    TRY_ASSIGN(const auto now, tablespaces(ctx));
    for (const auto& [oid, name] : missing) {
      if (now.contains(oid))
        return fail(Code::kUnsupported,
                    fmt::format("the server does not send the tablespace {}", printable(name)),
                    "was it made in place? Give it a location, or take backups with access = \"local\"");
    }
    return {};
  }

  // First the slot: from here on no checkpoint removes what the backup will need.
  Result<> keep_wal(const Context& ctx, Connection& session) {
    const std::string name = temporary_slot_name();
    const auto made = session.query(
        ctx, fmt::format("CREATE_REPLICATION_SLOT \"{}\" TEMPORARY PHYSICAL RESERVE_WAL", name));
    if (made) return {};
    TRY_OK(ctx.check());
    if (!session.is_open()) return fail(made.error());
    warnings_.push_back(no_slot_warning(made.error()));
    return {};
  }

  FileSpec spec_of(const TarEntry& entry) const {
    FileSpec out;
    out.path = entry.path;
    out.type = entry.type;
    out.size = entry.size;
    out.page_size = data_.page_size;
    out.mode = entry.mode;
    out.uid = entry.uid;
    out.gid = entry.gid;
    out.mtime_us = entry.mtime_us;
    return out;
  }

  // In a backup with a tablespace_map the server sends no links: they are as the list of tablespaces says.
  // One made in place is a folder that was sent.
  std::optional<FileSpec> next_link() {
    while (!links_left_.empty()) {
      const Tablespace t = links_left_.back();
      links_left_.pop_back();
      if (t.in_place) continue;
      FileSpec out;
      out.path = fmt::format("pg_tblspc/{}", t.oid);
      out.type = FileType::kSymlink;
      out.page_size = data_.page_size;
      out.mode = 0777;
      out.uid = data_.uid;
      out.gid = data_.gid;
      out.mtime_us = data_.started.time_since_epoch().count();
      out.link_target = t.location;
      return out;
    }
    return std::nullopt;
  }

  Result<> take_late(const TarEntry& entry) {
    if (entry.type != FileType::kRegular || entry.size > kLargestLate || late_.contains(entry.path))
      return fail(Code::kDatabase, fmt::format("the server's base backup has an impossible {}", entry.path));
    Buffer& content = late_[entry.path];
    content.resize(entry.size);
    // The server makes this one for the backup: its owner is the server's user.
    if (entry.path == "backup_label") {
      data_.uid = entry.uid;
      data_.gid = entry.gid;
    }
    return backup_->read(content);
  }

  // A page is read once: what is wrong is settled when the WAL is known.
  void verify(ByteView bytes) {
    const size_t size = data_.page_size;
    const uint64_t first = uint64_t{relation_->segment} * data_.segment_pages + at_ / size;
    for (size_t i = 0; i < bytes.size() / size; ++i) {
      const ByteView page = bytes.subspan(i * size, size);
      const auto block = static_cast<uint32_t>(first + i);
      const PageState state = verify_page(page, block, data_.start_lsn);
      if (state == PageState::kRepaired) pages_.pending({path_, block}, page_lsn(page));
      if (state == PageState::kBad) pages_.bad({path_, block});
    }
  }

  Result<> check_control(const ControlFile& control, const BackupLabel& label) const {
    if (control.system_id == data_.system_id && control.page_size == data_.page_size &&
        control.wal_segment_size == data_.wal_segment_size && control.has_checksums() == data_.checksums &&
        label.start_lsn == data_.start_lsn && label.timeline == data_.timeline)
      return {};
    return fail(Code::kDatabase, "the server's backup_label and pg_control do not belong to this backup",
                "run again; does connection lead to one server only?");
  }

  ClusterSpec spec_;
  CaptureOptions options_;
  CaptureInfo info_;
  CaptureData data_;
  std::unique_ptr<Connection> sql_;
  std::unique_ptr<BaseBackup> backup_;   // until finish()
  std::unique_ptr<Connection> session_;  // after it
  std::vector<Tablespace> links_left_;
  std::map<std::string, Buffer> late_;
  std::vector<std::string> warnings_;
  PageFindings pages_;

  // The file under way.
  std::optional<RelationFile> relation_;
  std::string path_;
  uint64_t at_ = 0;
};

}  // namespace

Result<std::unique_ptr<StreamedCapture>> begin_streamed_capture(const Context& ctx, const ClusterSpec& spec,
                                                                const CaptureOptions& options) {
  auto out = std::make_unique<LiveStream>(spec, options);
  TRY_OK(out->begin(ctx));
  return out;
}

}  // namespace varve::engine::postgres
