#include "engine/postgres/capture.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"
#include "engine/postgres/backup_session.h"
#include "engine/postgres/capture_end.h"
#include "engine/postgres/data_directory.h"
#include "engine/postgres/file_reader.h"

namespace varve::engine::postgres {
namespace {

Error with_user_hint(Error error) {
  if (error.code == Code::kDenied)
    error.hint = "run as the user who owns the data directory: sudo -u postgres varve …";
  return error;
}

class LiveCapture : public ClusterCapture {
 public:
  LiveCapture(ClusterSpec spec, CaptureOptions options)
      : spec_(std::move(spec)), options_(std::move(options)) {}

  Result<> begin(const Context& ctx) {
    SessionOptions as_bytes;
    as_bytes.encoding = "SQL_ASCII";  // backup_label and tablespace_map must come as they are
    TRY_ASSIGN(auto session, Connection::open(ctx, spec_, as_bytes));
    TRY_ASSIGN(const ServerIdentity server, identify(ctx, *session));
    TRY_OK(find_data_directory(server));
    TRY_OK(check_data_directory(ctx, root_, server));
    data_.version = static_cast<uint32_t>(session->version());
    data_.version_text = session->version_text();
    data_.from_standby = server.in_recovery;
    major_ = session->major();
    TRY_ASSIGN(session_, BackupSession::start(ctx, std::move(session), label_line(options_.label),
                                              options_.fast_checkpoint, warnings_));
    // The checkpoint of the start is on disk now.
    TRY_ASSIGN(const ControlFileImage image, read_control_file(ctx, root_));
    control_ = image.control;
    if (control_.redo < session_->start_lsn())
      return fail(Code::kUsage,
                  fmt::format("the files of {} are older than what the server says: they are not its own",
                              printable(root_.native())),
                  "give the data directory of the server that the connection reaches");
    rules_ = {.page_size = control_.page_size,
              .segment_pages = control_.segment_pages,
              .verify = options_.verify_checksums && control_.has_checksums(),
              .start_lsn = session_->start_lsn()};
    info_ = {.engine = "postgres",
             .database_version = data_.version_text,
             .lineage = std::to_string(control_.system_id),
             .start_position = position_text(session_->start_lsn()),
             .moment = session_->started()};
    fill_data();
    return {};
  }

  const CaptureInfo& info() const override { return info_; }
  uint64_t start_lsn() const override { return data_.start_lsn; }
  uint32_t timeline() const override { return data_.timeline; }
  const ControlFile& control() const override { return control_; }
  const os::Path& data_directory() const override { return root_; }
  os::Path wal_directory() const override {
    std::error_code failed;
    os::Path real = std::filesystem::canonical(root_ / "pg_wal", failed);
    return failed ? root_ / "pg_wal" : real;
  }
  uint64_t stop_lsn() const override { return data_.stop_lsn; }
  const CaptureData& data() const override { return data_; }
  Result<bool> keeps_wal(const Context& ctx) override { return session_->keeps_wal(ctx); }
  void release() override { session_->close(); }

  Result<std::vector<FileSpec>> files(const Context& ctx) override {
    TRY_ASSIGN(DataDirectory found, walk(ctx, root_, control_, major_));
    warnings_.insert(warnings_.end(), found.warnings.begin(), found.warnings.end());
    data_.tablespaces = std::move(found.tablespaces);
    data_.mode = found.mode;
    data_.uid = found.uid;
    data_.gid = found.gid;
    read_ = std::move(found.read);
    return std::move(found.files);
  }

  Result<std::unique_ptr<FileReader>> open(const FileSpec& file) override {
    const auto at = std::ranges::lower_bound(read_, file.path, {}, &ReadFile::path);
    if (at != read_.end() && at->path == file.path) return open_bytes(at->content);
    const os::Path path = root_ / file.path;
    const auto relation = relation_file(file.path);
    auto reader = relation ? open_relation(path, file.path, *relation, rules_, pages_)
                           : open_plain(path, may_shrink(file.path));
    if (reader) return reader;
    Error error = std::move(reader).error();
    if (error.code == Code::kNotFound && may_vanish(file.path)) return std::unique_ptr<FileReader>();
    if (error.code == Code::kNotFound) error.hint = "it was there when the backup began; run again";
    return fail(with_user_hint(std::move(error)));
  }

  Result<CaptureEnd> finish(const Context& ctx) override {
    TRY_OK(ctx.check());
    TRY_OK(describe_cluster(ctx, spec_, data_, warnings_));
    // Before the stop: a standby's pg_control of later could ask for WAL beyond the stop position.
    TRY_ASSIGN(ControlFileImage image, read_control_file(ctx, root_));
    TRY_ASSIGN(const BackupStop stop, session_->stop(ctx));
    TRY_ASSIGN(const BackupLabel label, parse_backup_label(stop.label));
    if (label.start_lsn != data_.start_lsn || label.timeline != data_.timeline ||
        image.control.system_id != data_.system_id)
      return fail(Code::kDatabase, "the server's backup_label and pg_control do not belong to this backup",
                  "run again; were two servers on this data directory?");
    data_.stop_lsn = stop.lsn;
    data_.stopped = stop.moment;
    data_.checkpoint_lsn = label.checkpoint_lsn;
    data_.stop_timeline = std::max(label.timeline, image.control.min_recovery_timeline);
    settle_pages(pages_.settle(data_.stop_lsn), data_, warnings_);
    CaptureEnd end = capture_end(data_, {to_buffer(as_bytes(stop.label)),
                                         to_buffer(as_bytes(stop.tablespace_map)), std::move(image.bytes)});
    end.warnings = warnings_;
    return end;
  }

 private:
  Result<> find_data_directory(const ServerIdentity& server) {
    const os::Path given = spec_.data_directory.empty() ? server.data_directory : spec_.data_directory;
    if (given.empty())
      return fail(Code::kDatabase, "the server does not tell this role where its data directory is",
                  "GRANT pg_read_all_settings to the role, or give data_directory in the configuration");
    std::error_code failed;
    root_ = std::filesystem::canonical(given, failed);
    if (!failed) return {};
    Error error = with_user_hint(os::errno_error(failed.value(), "open the data directory", given));
    if (error.code == Code::kNotFound)
      error.hint =
          "backups read the data directory's files: run on the database's host, or give data_directory as "
          "this "
          "host sees it";
    return fail(std::move(error));
  }

  void fill_data() {
    data_.system_id = control_.system_id;
    data_.timeline = control_.timeline;
    data_.start_lsn = session_->start_lsn();
    data_.started = session_->started();
    data_.control_version = control_.control_version;
    data_.catalog_version = control_.catalog_version;
    data_.page_size = control_.page_size;
    data_.segment_pages = control_.segment_pages;
    data_.wal_segment_size = control_.wal_segment_size;
    data_.wal_page_size = control_.wal_page_size;
    data_.checksums = control_.has_checksums();
    data_.data_directory = root_;
  }

  ClusterSpec spec_;
  CaptureOptions options_;
  os::Path root_;
  int major_ = 0;
  ControlFile control_;
  CaptureInfo info_;
  CaptureData data_;
  std::vector<ReadFile> read_;
  std::vector<std::string> warnings_;
  PageRules rules_;
  PageFindings pages_;
  std::unique_ptr<BackupSession> session_;
};

}  // namespace

Result<std::unique_ptr<ClusterCapture>> begin_capture(const Context& ctx, const ClusterSpec& spec,
                                                      const CaptureOptions& options) {
  auto out = std::make_unique<LiveCapture>(spec, options);
  TRY_OK(out->begin(ctx));
  return out;
}

}  // namespace varve::engine::postgres
