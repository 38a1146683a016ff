#include "backup/store_capture.h"

#include <algorithm>
#include <fmt/format.h>
#include <random>
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

// What to compare with. Only the newest backup is read: it names the full that it stands on, and names tell
// when backups began. Unreadable ones are passed over, and that is said.
Result<Choice> choose(const repo::Repository& repo, const Context& ctx, const std::string& source,
                      const BackupOptions& options, Timestamp at) {
  Choice out;
  if (options.type == Type::kFull) return out;
  const auto pass_over = [&](const store::Key& key) {
    out.warnings.push_back(fmt::format("{} is unreadable and was not built upon", key));
  };
  TRY_ASSIGN(const repo::NewestManifest newest, repo::newest_manifest(repo, ctx, source));
  for (const auto& bad : newest.unreadable) pass_over(bad.key);
  const bool differential = options.type == Type::kDifferential;
  if (newest.manifest) {
    const repo::Manifest& latest = *newest.manifest;
    const bool old = repo::id_second(latest.base) < repo::id_time(at - options.full_every);
    if (options.type == Type::kAuto && old) return out;
    out.parent = differential ? latest.base : latest.id;
  }
  if (differential && !out.parent.empty()) {
    const auto full = repo::load_manifest(repo, ctx, source, out.parent);
    if (!full && (full.error().code == Code::kUnreachable || full.error().code == Code::kInterrupted))
      return fail(full.error());
    if (!full && full.error().code != Code::kNotFound) pass_over(repo::manifest_key(source, out.parent));
    if (!full) out.parent.clear();
  }
  if (!out.parent.empty()) {
    out.type = differential ? Type::kDifferential : Type::kIncremental;
  } else if (options.type != Type::kAuto) {
    out.warnings.push_back("there is no earlier backup to build on: took a full one");
  }
  return out;
}

repo::FileAttributes attributes_of(const engine::FileSpec& f) {
  return {f.path,       static_cast<uint32_t>(f.type), f.size, f.page_size, f.mode, f.uid, f.gid, f.mtime_us,
          f.link_target};
}

// Whole pages.
size_t read_step(const engine::FileSpec& spec) {
  return std::max<size_t>(1, kReadBytes / spec.page_size) * spec.page_size;
}

// What follows in the file: whole pages, and at its end perhaps a short one.
Result<> add_pages(ByteView bytes, size_t page_size, repo::BackupWriter::FileWriter& file) {
  while (!bytes.empty()) {
    const size_t n = std::min(page_size, bytes.size());
    TRY_OK(file.page(bytes.first(n)));
    bytes = bytes.subspan(n);
  }
  return {};
}

// Pages called unchanged that are read and compared all the same, in all.
constexpr uint64_t kSamples = 200;

// Copies the files of one capture.
class FilesCopy {
 public:
  FilesCopy(const Context& ctx, engine::Capture& capture, const std::vector<engine::FileSpec>& files,
            repo::BackupWriter& writer, const ChangedPages* changes, Progress& progress)
      : ctx_(ctx), capture_(capture), files_(files), writer_(writer), changes_(changes), progress_(progress) {
    uint64_t pages = 1;
    for (const auto& f : files) pages += f.page_size ? f.size / f.page_size : 0;
    sample_every_ = std::max<uint64_t>(1, pages / kSamples);
  }

  Result<> run(unsigned workers) {
    std::atomic<size_t> next{0};
    TaskGroup group(ctx_.stop);
    Context inner = ctx_;
    inner.stop = group.token();
    for (size_t i = 0; i < std::min<size_t>(workers, files_.size()); ++i) {
      group.spawn([&](const std::stop_token&) -> Result<> {
        std::minstd_rand random(std::random_device{}());
        for (size_t f; (f = next++) < files_.size();) TRY_OK(copy(inner, files_[f], random));
        return {};
      });
    }
    return group.wait();
  }
  uint64_t read() const { return read_; }
  // A sample contradicted what is said to be unchanged: run() failed by that, or would have.
  bool contradicted() const { return contradicted_; }

 private:
  using File = repo::BackupWriter::FileWriter;

  Result<> copy(const Context& ctx, const engine::FileSpec& spec, std::minstd_rand& random) {
    std::unique_ptr<engine::FileReader> reader;
    if (spec.type == engine::FileType::kRegular) {
      TRY_ASSIGN(reader, capture_.open(spec));
      if (!reader) return {};  // it vanished, and the log knows
    }
    TRY_ASSIGN(auto file, writer_.file(attributes_of(spec)));
    if (reader) {
      const bool known = changes_ && file->parent_pages() > 0 && changes_->knows(spec);
      TRY_OK(known ? copy_changed(ctx, spec, *reader, *file, random)
                   : copy_range(ctx, spec, *reader, *file, 0, pages_of(spec)));
    }
    TRY_OK(file->finish());
    ++progress_.done_items;
    return {};
  }

  static uint64_t pages_of(const engine::FileSpec& spec) {
    return (spec.size + spec.page_size - 1) / spec.page_size;
  }

  // Pages [first, end), read and compared.
  Result<> copy_range(const Context& ctx, const engine::FileSpec& spec, engine::FileReader& reader,
                      File& file, uint64_t first, uint64_t end) {
    const uint64_t to = std::min(spec.size, end * spec.page_size);
    const size_t step = read_step(spec);
    Buffer buffer;
    for (uint64_t at = first * spec.page_size; at < to; at += buffer.size()) {
      TRY_OK(ctx.check());
      buffer.resize(std::min<uint64_t>(step, to - at));
      TRY_OK(reader.read(at, buffer));
      TRY_OK(add_pages(buffer, spec.page_size, file));
      progress_.done_bytes += buffer.size();
      read_ += buffer.size();
    }
    return {};
  }

  // A short last page is never called unchanged: its length tells nothing of its content.
  Result<> copy_changed(const Context& ctx, const engine::FileSpec& spec, engine::FileReader& reader,
                        File& file, std::minstd_rand& random) {
    const uint64_t pages = pages_of(spec), whole = std::min(spec.size / spec.page_size, file.parent_pages());
    for (uint64_t at = 0; at < pages;) {
      uint64_t end = at;
      while (end < whole) {
        TRY_ASSIGN(const bool needed, is_needed(spec, file, end));
        if (needed) break;
        ++end;
      }
      if (end > at) {
        TRY_OK(sample(spec, reader, file, at, end, random));
        TRY_OK(file.unchanged(end - at));
        progress_.done_bytes += (end - at) * spec.page_size;
        at = end;
        continue;
      }
      while (end < pages) {
        TRY_ASSIGN(const bool needed, end >= whole ? Result<bool>(true) : is_needed(spec, file, end));
        if (!needed) break;
        ++end;
      }
      TRY_OK(copy_range(ctx, spec, reader, file, at, end));
      at = end;
    }
    return {};
  }

  Result<bool> is_needed(const engine::FileSpec& spec, File& file, uint64_t page) const {
    if (changes_->changed(spec, page)) return true;
    return file.folds(page);
  }

  // A wrong map must not become a wrong backup: some of what it calls unchanged is looked at.
  Result<> sample(const engine::FileSpec& spec, engine::FileReader& reader, File& file, uint64_t first,
                  uint64_t end, std::minstd_rand& random) {
    Buffer now(spec.page_size), before(spec.page_size);
    for (uint64_t page = first + random() % sample_every_; page < end;
         page += 1 + random() % (2 * sample_every_)) {
      TRY_OK(file.parent_page(page, before));
      TRY_OK(reader.read(page * spec.page_size, now));
      read_ += now.size();
      if (!changes_->contradicts(before, now)) continue;
      contradicted_ = true;
      return fail(Code::kIncomplete, fmt::format("page {} of {} changed, and {} does not tell", page,
                                                 spec.path, changes_->from()));
    }
    return {};
  }

  const Context& ctx_;
  engine::Capture& capture_;
  const std::vector<engine::FileSpec>& files_;
  repo::BackupWriter& writer_;
  const ChangedPages* changes_;
  Progress& progress_;
  uint64_t sample_every_ = 1;
  std::atomic<uint64_t> read_{0};
  std::atomic<bool> contradicted_{false};
};

// Copies the files that a capture sends, in its order; the writer compresses beside. Every page is compared
// with the parent's.
class StreamCopy {
 public:
  StreamCopy(const Context& ctx, engine::FileStream& stream, repo::BackupWriter& writer, Progress& progress)
      : ctx_(ctx), stream_(stream), writer_(writer), progress_(progress) {}

  Result<> run() {
    for (;;) {
      TRY_OK(ctx_.check());
      TRY_ASSIGN(const auto spec, stream_.next());
      if (!spec) return {};
      TRY_OK(copy(*spec));
      ++progress_.done_items;
    }
  }
  uint64_t read() const { return read_; }

 private:
  Result<> copy(const engine::FileSpec& spec) {
    TRY_ASSIGN(auto file, writer_.file(attributes_of(spec)));
    for (uint64_t left = spec.size; left > 0; left -= buffer_.size()) {
      TRY_OK(ctx_.check());
      buffer_.resize(std::min<uint64_t>(left, read_step(spec)));
      TRY_OK(stream_.read(buffer_));
      TRY_OK(add_pages(buffer_, spec.page_size, *file));
      progress_.done_bytes += buffer_.size();
      read_ += buffer_.size();
    }
    return file->finish();
  }

  const Context& ctx_;
  engine::FileStream& stream_;
  repo::BackupWriter& writer_;
  Progress& progress_;
  Buffer buffer_;
  uint64_t read_ = 0;
};

Result<> copy_late(const engine::LateFile& late, repo::BackupWriter& writer) {
  TRY_ASSIGN(auto file, writer.file(attributes_of(late.spec)));
  TRY_OK(add_pages(late.content, late.spec.page_size, *file));
  return file->finish();
}

std::string host_name() {
  utsname u{};
  return ::uname(&u) == 0 ? u.nodename : "";
}

// As store_capture(); `contradicted`: it failed because what hooks.changes says is wrong.
Result<repo::Manifest> store_once(const repo::RepositoryPtr& repo, const Context& ctx, const Source& source,
                                  engine::Capture& capture, const BackupOptions& options,
                                  const CaptureHooks& hooks, Progress& progress, bool& contradicted) {
  const Timestamp started = now();
  TRY_ASSIGN(const Choice choice, choose(*repo, ctx, source.name, options, started));
  repo::BackupWriter::Options writer_options;
  writer_options.packs.level = options.compression_level;
  writer_options.packs.workers = worker_count(options.workers);
  TRY_ASSIGN(auto writer,
             repo::BackupWriter::begin(repo, ctx, source.name, choice.parent, writer_options, &progress));

  repo::Manifest m;
  std::unique_ptr<ChangedPages> changes;
  m.warnings = choice.warnings;
  if (writer->parent() && hooks.changes) {
    TRY_ASSIGN(changes, hooks.changes(*writer->parent(), m.warnings));
  }
  if (engine::FileStream* stream = capture.stream()) {
    progress.begin("reading", stream->expected());
    StreamCopy copy(ctx, *stream, *writer, progress);
    TRY_OK(copy.run());
    m.size = m.read = copy.read();
  } else {
    TRY_ASSIGN(const auto files, capture.files(ctx));
    for (const auto& f : files) m.size += f.size;
    progress.begin("reading", m.size, files.size());
    FilesCopy copy(ctx, capture, files, *writer, changes.get(), progress);
    const auto copied = copy.run(worker_count(options.workers));
    contradicted = copy.contradicted();
    TRY_OK(copied);
    m.read = copy.read();
  }
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
  m.changed_pages_from = full ? "everything" : changes ? changes->from() : "comparison";
  m.host = host_name();
  m.address = source.address;
  m.varve_version = VARVE_VERSION;
  m.database_version = info.database_version;
  m.lineage = info.lineage;
  m.engine_data = std::move(end.engine_data);
  m.catalogue = std::move(end.tables);
  m.warnings.insert(m.warnings.end(), end.warnings.begin(), end.warnings.end());
  if (hooks.before_commit) TRY_OK(hooks.before_commit(m));
  return writer->commit(std::move(m));
}

}  // namespace

Result<repo::Manifest> store_capture(const repo::RepositoryPtr& repo, const Context& ctx,
                                     const Source& source, engine::Capture& capture,
                                     const BackupOptions& options, const CaptureHooks& hooks,
                                     Progress& progress) {
  bool contradicted = false;
  return store_once(repo, ctx, source, capture, options, hooks, progress, contradicted);
}

Result<repo::Manifest> store_captures(const repo::RepositoryPtr& repo, const Context& ctx,
                                      const Source& source, const BackupOptions& options,
                                      const OpenCapture& open, const MakeHooks& hooks, Progress& progress) {
  BackupOptions again = options;
  bool trust_log = true;
  for (int attempt = 1;; ++attempt) {
    TRY_ASSIGN(auto capture, open());
    CaptureHooks own = hooks(*capture);
    if (!trust_log)
      own.changes = [](const repo::Manifest&,
                       std::vector<std::string>& warnings) -> Result<std::unique_ptr<ChangedPages>> {
        warnings.emplace_back(
            "everything was read and compared: a sample showed that the log does not tell every change");
        return nullptr;
      };
    bool contradicted = false;
    auto made = store_once(repo, ctx, source, *capture, again, own, progress, contradicted);
    if (made || attempt == kAttempts) return made;
    if (contradicted) {
      log::warn("{}; reading everything", made.error().describe());
      trust_log = false;
      continue;
    }
    if (made.error().code != Code::kConflict) return made;
    log::warn("{}; trying again", made.error().describe());
    again.type = Type::kFull;  // builds on nothing that could be condemned
  }
}

}  // namespace varve::backup
