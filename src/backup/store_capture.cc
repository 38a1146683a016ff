#include "backup/store_capture.h"

#include <algorithm>
#include <fmt/format.h>
#include <sys/utsname.h>
#include <thread>

#include "base/log.h"
#include "base/task_group.h"
#include "repo/backup_writer.h"

namespace varve::backup {
namespace {

constexpr int kAttempts = 3;  // a collection that keeps taking our packs is not chance
constexpr size_t kReadBytes = 1u << 20;

std::string type_name(Type type) {
  return type == Type::kFull ? "full" : type == Type::kDifferential ? "differential" : "incremental";
}

unsigned worker_count(unsigned asked) {
  return asked ? asked : std::clamp(std::thread::hardware_concurrency(), 1u, 8u);
}

struct Choice {
  Type type = Type::kFull;
  std::string parent;
  std::vector<std::string> warnings;
};

// The newest backup to compare with, of the kind asked for. Unreadable ones are passed over, and that is
// said.
Choice choose(const repo::ManifestList& backups, const BackupOptions& options, Timestamp at) {
  Choice out;
  for (const auto& bad : backups.unreadable)
    out.warnings.push_back(fmt::format("{} is unreadable and was not built upon", bad.key));
  if (options.type == Type::kFull) return out;
  const repo::Manifest *latest = nullptr, *full = nullptr;
  for (const repo::Manifest& m : backups.manifests) {
    latest = &m;
    if (m.type == "full") full = &m;
  }
  const repo::Manifest* parent = options.type == Type::kDifferential ? full : latest;
  if (!parent) {
    if (options.type != Type::kAuto)
      out.warnings.push_back("there is no earlier backup to build on: took a full one");
    return out;
  }
  if (options.type == Type::kAuto && full && at - full->moment > options.full_every) return out;
  out.type = options.type == Type::kDifferential ? Type::kDifferential : Type::kIncremental;
  out.parent = parent->id;
  return out;
}

repo::FileAttributes attributes_of(const engine::FileSpec& f) {
  return {f.path,       static_cast<uint32_t>(f.type), f.size, f.page_size, f.mode, f.uid, f.gid, f.mtime_us,
          f.link_target};
}

// Reads one file page by page into the backup.
Result<> copy_file(const Context& ctx, engine::Capture& capture, const engine::FileSpec& spec,
                   repo::BackupWriter& writer, Progress& progress) {
  std::unique_ptr<engine::FileReader> reader;
  if (spec.type == engine::FileType::kRegular) {
    TRY_ASSIGN(reader, capture.open(spec));
    if (!reader) return {};  // it vanished, and the log knows
  }
  TRY_ASSIGN(auto file, writer.file(attributes_of(spec)));
  if (reader) {
    const size_t step = std::max<size_t>(1, kReadBytes / spec.page_size) * spec.page_size;
    Buffer buffer;
    for (uint64_t at = 0; at < spec.size;) {
      TRY_OK(ctx.check());
      buffer.resize(std::min<uint64_t>(step, spec.size - at));
      TRY_OK(reader->read(at, buffer));
      for (ByteView rest = buffer; !rest.empty();) {
        const size_t n = std::min<size_t>(spec.page_size, rest.size());
        TRY_OK(file->page(rest.first(n)));
        rest = rest.subspan(n);
      }
      at += buffer.size();
      progress.done_bytes += buffer.size();
    }
  }
  TRY_OK(file->finish());
  ++progress.done_items;
  return {};
}

Result<> copy_files(const Context& ctx, engine::Capture& capture, const std::vector<engine::FileSpec>& files,
                    repo::BackupWriter& writer, unsigned workers, Progress& progress) {
  std::atomic<size_t> next{0};
  TaskGroup group(ctx.stop);
  Context inner = ctx;
  inner.stop = group.token();
  for (size_t i = 0; i < std::min<size_t>(workers, files.size()); ++i) {
    group.spawn([&](const std::stop_token&) -> Result<> {
      for (size_t f; (f = next++) < files.size();)
        TRY_OK(copy_file(inner, capture, files[f], writer, progress));
      return {};
    });
  }
  return group.wait();
}

Result<> copy_late(const engine::LateFile& late, repo::BackupWriter& writer) {
  TRY_ASSIGN(auto file, writer.file(attributes_of(late.spec)));
  for (ByteView rest = late.content; !rest.empty();) {
    const size_t n = std::min<size_t>(late.spec.page_size, rest.size());
    TRY_OK(file->page(rest.first(n)));
    rest = rest.subspan(n);
  }
  return file->finish();
}

std::string host_name() {
  utsname u{};
  return ::uname(&u) == 0 ? u.nodename : "";
}

}  // namespace

Result<repo::Manifest> store_capture(const repo::RepositoryPtr& repo, const Context& ctx,
                                     const Source& source, engine::Capture& capture,
                                     const BackupOptions& options, const CaptureHooks& hooks,
                                     Progress& progress) {
  const Timestamp started = now();
  TRY_ASSIGN(repo::ManifestList backups, repo::load_manifests(*repo, ctx, source.name));
  const Choice choice = choose(backups, options, started);
  repo::BackupWriter::Options writer_options;
  writer_options.packs.level = options.compression_level;
  writer_options.packs.workers = worker_count(options.workers);
  TRY_ASSIGN(auto writer,
             repo::BackupWriter::begin(repo, ctx, source.name, choice.parent, writer_options, &progress));

  TRY_ASSIGN(auto files, capture.files(ctx));
  repo::Manifest m;
  for (const auto& f : files) m.size += f.size;
  progress.begin("reading", m.size, files.size());
  TRY_OK(copy_files(ctx, capture, files, *writer, worker_count(options.workers), progress));
  TRY_ASSIGN(engine::CaptureEnd end, capture.finish(ctx));
  for (const engine::LateFile& late : end.late_files) {
    m.size += late.spec.size;
    TRY_OK(copy_late(late, *writer));
  }
  progress.phase = "committing";

  const engine::CaptureInfo& info = capture.info();
  const bool full = !writer->parent();
  m.id = hooks.id.empty() ? repo::new_backup_id(started, full ? "full" : type_name(choice.type)) : hooks.id;
  m.source = source.name;
  m.engine = source.engine;
  m.type = full ? "full" : type_name(choice.type);
  m.parent = full ? "" : choice.parent;
  m.base = full ? m.id : writer->parent()->base;
  m.started = started;
  m.moment = end.moment.value_or(info.moment);
  m.start_position = info.start_position;
  m.stop_position = end.stop_position;
  m.read = m.size;
  m.changed_pages_from = full ? "everything" : "comparison";
  m.host = host_name();
  m.address = source.address;
  m.varve_version = VARVE_VERSION;
  m.database_version = info.database_version;
  m.lineage = info.lineage;
  m.engine_data = std::move(end.engine_data);
  m.catalogue = std::move(end.tables);
  m.warnings = choice.warnings;
  m.warnings.insert(m.warnings.end(), end.warnings.begin(), end.warnings.end());
  if (hooks.before_commit) TRY_OK(hooks.before_commit(m));
  return writer->commit(std::move(m));
}

Result<repo::Manifest> store_captures(const repo::RepositoryPtr& repo, const Context& ctx,
                                      const Source& source, const BackupOptions& options,
                                      const OpenCapture& open, const MakeHooks& hooks, Progress& progress) {
  BackupOptions again = options;
  for (int attempt = 1;; ++attempt) {
    TRY_ASSIGN(auto capture, open());
    auto made = store_capture(repo, ctx, source, *capture, again, hooks(*capture), progress);
    if (made || made.error().code != Code::kConflict || attempt == kAttempts) return made;
    log::warn("{}; trying again", made.error().describe());
    again.type = Type::kFull;  // builds on nothing that could be condemned
  }
}

}  // namespace varve::backup
