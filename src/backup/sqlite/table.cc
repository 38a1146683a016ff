// One table at one moment: the database is opened where it lies, in the repository, page by page.
#include <fmt/format.h>
#include <list>
#include <map>

#include "backup/sqlite/log_replay.h"
#include "backup/sqlite/target.h"
#include "backup/sqlite/work.h"
#include "base/text.h"
#include "engine/sqlite/page_vfs.h"
#include "repo/file_table.h"

namespace varve::backup::sqlite {

namespace {

// Which piece of the log holds the newest version of a page. One record of 8 bytes a page in a sparse file,
// so that memory does not grow with the log.
class PageOverlay {
 public:
  static Result<PageOverlay> create() {
    TRY_ASSIGN(os::TempDir dir, os::TempDir::create("varve-overlay"));
    TRY_ASSIGN(os::File file, os::File::open(dir.path() / "pages", os::File::Mode::kCreateNew));
    return PageOverlay(std::move(dir), std::move(file));
  }
  Result<> set(uint32_t page, size_t piece, uint32_t slot) {
    std::byte record[8];
    store_le<uint32_t>(record, static_cast<uint32_t>(piece) + 1);
    store_le<uint32_t>(record + 4, slot);
    return file_.write_at(uint64_t{page} * sizeof record, record);
  }
  struct Place {
    size_t piece;
    uint32_t slot;
  };
  Result<std::optional<Place>> get(uint32_t page) const {
    std::byte record[8] = {};
    TRY_ASSIGN(size_t n, file_.read_at(uint64_t{page} * sizeof record, record));
    const auto piece = n == sizeof record ? load_le<uint32_t>(record) : 0;
    if (piece == 0) return std::nullopt;
    return Place{piece - 1, load_le<uint32_t>(record + 4)};
  }

 private:
  PageOverlay(os::TempDir dir, os::File file) : dir_(std::move(dir)), file_(std::move(file)) {}
  os::TempDir dir_;
  os::File file_;
};

// A database of a backup, brought forward by the log, as pages to fetch.
class PageView {
 public:
  PageView(repo::RepositoryPtr repo, const Context& ctx, const Target& target, repo::FileRecord file,
           PageOverlay overlay)
      : repo_(repo),
        ctx_(ctx),
        target_(target),
        slots_(repo, ctx, {}, nullptr),
        table_(slots_, target.base),
        file_(std::move(file)),
        overlay_(std::move(overlay)),
        pages_(file_.attributes.pages()) {
    slots_.know(target.base.packs);
  }

  Result<> apply_log() {
    if (target_.pieces.empty()) return {};
    ReplaySink sink;
    sink.size = [&](const std::string& name, uint32_t, uint64_t pages) -> Result<> {
      if (name == file_.attributes.path) pages_ = pages;
      return {};
    };
    sink.place = [&](const std::string& name, uint32_t page, size_t piece, uint32_t slot) -> Result<> {
      return name == file_.attributes.path ? overlay_.set(page, piece, slot) : Result<>{};
    };
    return replay(repo_, ctx_, target_.pieces, *anchor_of(target_.base), *target_.until_txn, sink)
        .map([](uint64_t) {});
  }

  db::VirtualDatabase database() {
    return {file_.attributes.page_size, pages_,
            [this](uint32_t page, MutableBytes out) -> Result<> { return fetch(page, out); }};
  }
  uint64_t fetched() const { return slots_.fetched_bytes() + log_bytes_; }

 private:
  Result<> fetch(uint32_t page, MutableBytes out) {
    TRY_OK(ctx_.check());
    if (page == 0 || page > pages_)
      return fail(Code::kDamaged, fmt::format("page {} is beyond the end", page));
    TRY_ASSIGN(auto place, overlay_.get(page));
    if (place) return fetch_from_log(place->piece, place->slot, out);
    const uint64_t index = page - 1;
    if (index >= file_.attributes.pages()) {  // beyond the base, and no commit wrote it: a free page
      std::fill(out.begin(), out.end(), std::byte{0});
      return {};
    }
    const uint32_t per = target_.base.segment_pages;
    TRY_ASSIGN(const repo::SegmentMap* map, segment(index / per));
    const auto within = static_cast<uint32_t>(index % per);
    if (map->is_zero(within)) {
      std::fill(out.begin(), out.end(), std::byte{0});
      return {};
    }
    return slots_.read_page(map->place(within), out);
  }

  Result<const repo::SegmentMap*> segment(uint64_t number) {
    for (auto at = maps_.begin(); at != maps_.end(); ++at) {
      if (at->first != number) continue;
      maps_.splice(maps_.begin(), maps_, at);
      return &maps_.front().second;
    }
    TRY_ASSIGN(repo::SegmentMap map, table_.map(file_, number));
    maps_.emplace_front(number, std::move(map));
    constexpr size_t kMaps = 8;
    if (maps_.size() > kMaps) maps_.pop_back();
    return &maps_.front().second;
  }

  Result<> fetch_from_log(size_t piece, uint32_t slot, MutableBytes out) {
    auto at = pieces_.find(piece);
    if (at == pieces_.end()) {
      constexpr size_t kPieces = 64;
      if (pieces_.size() >= kPieces) pieces_.erase(pieces_.begin());
      const PieceName& name = target_.pieces[piece];
      TRY_ASSIGN(repo::LogPiece opened, repo::LogPiece::open(repo_, ctx_, name.key, name.size));
      at = pieces_.emplace(piece, std::move(opened)).first;
    }
    const repo::LogPiece::Slots range = at->second.stored_with(slot);
    TRY_ASSIGN(const std::vector<Buffer>* slots, read_together(at->second, piece, range));
    const Buffer& page = (*slots)[slot - range.first];
    if (page.size() != out.size()) return fail(Code::kDamaged, "a page of the log has the wrong length");
    std::copy(page.begin(), page.end(), out.begin());
    return {};
  }

  // A table is read in the order of its pages, and each commit stored them in that order: what lies beside a
  // page that was asked for is asked for soon.
  Result<const std::vector<Buffer>*> read_together(const repo::LogPiece& from, size_t piece,
                                                   const repo::LogPiece::Slots& range) {
    const auto key = std::pair(piece, range.first);
    if (const auto known = together_.find(key); known != together_.end()) {
      recent_.splice(recent_.begin(), recent_, known->second);
      return &recent_.front().slots;
    }
    Together read{key, std::vector<Buffer>(range.end - range.first)};
    TRY_OK(from.read(
        ctx_, [&](uint32_t s) { return s >= range.first && s < range.end; },
        [&](uint32_t s, ByteView bytes) -> Result<> {
          read.slots[s - range.first] = to_buffer(bytes);
          log_bytes_ += bytes.size();
          together_bytes_ += bytes.size();
          return {};
        }));
    recent_.push_front(std::move(read));
    together_[key] = recent_.begin();
    while (together_bytes_ > kTogetherBytes && recent_.size() > 1) {
      for (const Buffer& slot : recent_.back().slots) together_bytes_ -= slot.size();
      together_.erase(recent_.back().key);
      recent_.pop_back();
    }
    return &recent_.front().slots;
  }

  const repo::RepositoryPtr repo_;
  const Context& ctx_;
  const Target& target_;
  repo::SlotReader slots_;
  repo::FileTableReader table_;
  const repo::FileRecord file_;
  PageOverlay overlay_;
  uint64_t pages_;
  std::list<std::pair<uint64_t, repo::SegmentMap>> maps_;
  std::map<size_t, repo::LogPiece> pieces_;
  struct Together {
    std::pair<size_t, uint32_t> key;  // piece, first slot
    std::vector<Buffer> slots;
  };
  static constexpr uint64_t kTogetherBytes = 48u << 20;
  std::list<Together> recent_;
  std::map<std::pair<size_t, uint32_t>, std::list<Together>::iterator> together_;
  uint64_t together_bytes_ = 0;
  uint64_t log_bytes_ = 0;
};

Result<std::map<std::string, std::vector<std::string>>> group(const std::vector<std::string>& asked,
                                                              const std::vector<std::string>& databases) {
  std::map<std::string, std::vector<std::string>> out;
  for (const std::string& text : asked) {
    std::string database = databases.size() == 1 ? databases.front() : "", table = text;
    for (const std::string& name : databases) {
      if (text.starts_with(name + ":")) {
        database = name;
        table = text.substr(name.size() + 1);
      }
    }
    if (database.empty())
      return fail(Code::kUsage, fmt::format("{}: of which database?", text),
                  fmt::format("say {}:{}; the backup holds several databases", databases.front(), text));
    out[database].push_back(table);
  }
  if (out.size() > 1)
    return fail(Code::kUsage, "tables of several databases cannot go into one file",
                "restore them one database at a time");
  return out;
}

}  // namespace

Result<TableReport> restore_tables(const repo::RepositoryPtr& repo, const Context& ctx,
                                   const SourceState& state, const TableOptions& options,
                                   Progress& progress) {
  const auto begun = SteadyClock::now();
  if (!options.into_connection.empty())
    return fail(Code::kUsage, "--into-connection is for PostgreSQL", "SQLite: --into FILE");
  if (!options.scratch.empty())
    return fail(Code::kUsage, "--scratch is for PostgreSQL", "SQLite's tables need no scratch server");
  TRY_ASSIGN(Target target, find_target(repo, ctx, state, options.point, options.backup));
  repo::SlotReader slots(repo, ctx, {}, nullptr);
  slots.know(target.base.packs);
  repo::FileTableReader table(slots, target.base);
  std::map<std::string, repo::FileRecord> files;
  std::vector<std::string> names;
  TRY_OK(table.for_each([&](const repo::FileRecord& f) -> Result<> {
    if (f.attributes.type == 0) {
      names.push_back(f.attributes.path);
      files[f.attributes.path] = f;
    }
    return {};
  }));
  if (names.empty()) return fail(Code::kNotFound, fmt::format("backup {} holds no database", target.base.id));
  TRY_ASSIGN(auto wanted, group(options.tables, names));

  const auto& [database, tables] = *wanted.begin();
  TRY_ASSIGN(PageOverlay overlay, PageOverlay::create());
  PageView view(repo, ctx, target, files[database], std::move(overlay));
  progress.begin("reading the log", 0);
  TRY_OK(view.apply_log());

  db::ExtractOptions extract;
  extract.tables = tables;
  extract.into_existing = !options.into.empty();
  extract.target = std::filesystem::absolute(extract.into_existing ? options.into : options.target).string();
  extract.as = options.as;
  TableReport report;
  progress.begin("copying rows", 0);
  TRY_ASSIGN(auto extracted, db::extract_tables(ctx, view.database(), extract, &report.notes,
                                                [&](uint64_t rows) { progress.done_items = rows; }));
  for (const auto& t : extracted) report.tables.push_back({t.name, t.rows});
  report.source = state.source;
  report.backup = target.base.id;
  report.target = extract.target;
  report.point = target.position;
  report.moment = target.moment;
  report.fetched = view.fetched();
  report.seconds = std::chrono::duration<double>(SteadyClock::now() - begun).count();
  return report;
}

}  // namespace varve::backup::sqlite
