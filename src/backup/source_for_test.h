// What the tests of this module share: a source whose databases are made of random pages, backed up and
// followed through the repository's own writers, and a memory of what each backup and each transaction looked
// like.
#pragma once

#include <fmt/chrono.h>
#include <gtest/gtest.h>
#include <map>
#include <random>

#include "backup/sqlite/log_replay.h"
#include "backup/sqlite/target.h"
#include "repo/backup_writer.h"
#include "repo/repository_for_test.h"

namespace varve::backup {

using Pages = std::vector<Buffer>;
using Databases = std::map<std::string, Pages>;

inline constexpr uint32_t kTestPage = 512;

class TestSource {
 public:
  TestSource(repo::RepositoryPtr repo, std::string name, unsigned seed = 1)
      : repo_(std::move(repo)), name_(std::move(name)), random_(seed), clock_(start()) {
    crypto::random_bytes(writer_.bytes);
    now_["app.db"].resize(52);
    now_["small.db"].resize(6);
    for (auto& [database, pages] : now_)
      for (size_t i = 0; i < pages.size(); ++i)
        pages[i] = i % 17 == 5 ? Buffer(kTestPage, std::byte{0}) : page();
  }

  static Timestamp start() { return *parse_rfc3339("2026-11-01T00:00:00Z"); }
  const std::string& name() const { return name_; }
  const std::string& epoch() const { return epoch_; }
  uint64_t txn() const { return txn_; }
  Timestamp clock() const { return clock_; }
  void pass(Seconds s) { clock_ += s; }
  void change(int pages = 4) {
    for (int i = 0; i < pages; ++i) now_["app.db"][random_() % now_["app.db"].size()] = page();
  }

  // Of the state there is. `anchored`: it takes its place in the log that is being followed.
  std::string backup(const std::string& parent = "", bool anchored = false) {
    const std::string id = fmt::format("{:%Y%m%d-%H%M%S}-{}-{:04x}", std::chrono::floor<Seconds>(clock_),
                                       parent.empty() ? "full" : "incremental", ++serial_);
    return store(id, parent, anchored ? epoch_ : "");
  }
  // A follower's base: the log begins anew with it.
  std::string begin_epoch() {
    epoch_ = fmt::format("{:%Y%m%d-%H%M%S}-log-{:04x}", std::chrono::floor<Seconds>(clock_), ++serial_);
    ++txn_;
    states_[txn_] = now_;
    return store(epoch_, "", epoch_);
  }

  // One piece of the log with so many commits; the piece's key.
  std::string commit(int commits = 1, std::vector<engine::sqlite::TableChange> changes = {}) {
    engine::sqlite::PageSet set;
    set.databases = {{"app.db", kTestPage}, {"small.db", kTestPage}};
    set.first_txn = txn_ + 1;
    std::vector<Buffer> slots;
    for (int i = 0; i < commits; ++i) {
      clock_ += Seconds(1);
      engine::sqlite::Commit c;
      c.txn = ++txn_;
      c.time = clock_;
      c.database = random_() % 4 == 0;
      Pages& pages = now_[set.databases[c.database].name];
      c.pages_after = pages.size();
      std::set<uint32_t> numbers;
      for (int p = 0; p < 3; ++p) numbers.insert(static_cast<uint32_t>(random_() % pages.size()));
      for (uint32_t n : numbers) {
        pages[n] = page();
        c.writes.push_back({n + 1, static_cast<uint32_t>(slots.size())});
        slots.push_back(pages[n]);
      }
      c.changes = changes;
      set.commits.push_back(c);
      states_[txn_] = now_;
      times_[txn_] = clock_;
    }
    set.last_txn = txn_;
    set.first_time = set.commits.front().time;
    set.last_time = set.commits.back().time;
    repo::LogWriter log(repo_, next_writer());
    auto size = log.write({},
                          {name_, epoch_, set.first_txn, set.last_txn, set.first_time, set.last_time, false,
                           engine::sqlite::encode(set)},
                          {slots.begin(), slots.end()});
    EXPECT_TRUE(size) << size.error().describe();
    const std::string key = repo::log_piece_key(name_, epoch_, set.first_txn, set.last_txn);
    pieces_.push_back({key, set.first_txn, set.last_txn, size.value_or(0)});
    return key;
  }
  // Folds the last `count` pieces; the merged piece's key.
  std::string merge(size_t count) {
    repo::LogWriter log(repo_, next_writer());
    const std::vector<PieceName> last(pieces_.end() - static_cast<ptrdiff_t>(count), pieces_.end());
    auto merged = sqlite::merge_pieces(repo_, {}, last, log, 1 << 20);
    EXPECT_TRUE(merged && *merged);
    return repo::log_piece_key(name_, epoch_, last.front().first, last.back().last);
  }
  std::string mark() {
    EXPECT_TRUE(repo::put_log_mark(*repo_, {}, name_, {epoch_, txn_, clock_, false}));
    return repo::log_mark_key(name_, epoch_, clock_);
  }

  const std::map<std::string, Databases>& backups() const { return backups_; }
  const std::map<uint64_t, Databases>& states() const { return states_; }
  const std::map<uint64_t, Timestamp>& times() const { return times_; }

  // The state of a backup, read page by page.
  Result<Databases> restore(const repo::RepositoryPtr& repo, const std::string& id) const {
    TRY_ASSIGN(const repo::Manifest m, repo::load_manifest(*repo, {}, name_, id));
    return read(repo, m);
  }
  // As of a transaction, as a restore does it.
  Result<Databases> restore(const repo::RepositoryPtr& repo, const SourceState& state, uint64_t txn) const {
    TRY_ASSIGN(const sqlite::Target t,
               sqlite::find_target(repo, {}, state, {Point::Kind::kTxn, {}, txn, ""}, {}));
    TRY_ASSIGN(Databases out, read(repo, t.base));
    sqlite::ReplaySink sink;
    sink.page = [&](const std::string& database, uint32_t page, ByteView bytes) -> Result<> {
      out[database][page - 1] = to_buffer(bytes);
      return {};
    };
    TRY_OK(sqlite::replay(repo, {}, t.pieces, *anchor_of(t.base), *t.until_txn, sink));
    return out;
  }

 private:
  Buffer page() {
    Buffer out(kTestPage);
    for (std::byte& b : out) b = static_cast<std::byte>(random_());
    return out;
  }
  repo::WriterId next_writer() {
    crypto::random_bytes(writer_.bytes);
    return writer_;
  }

  Buffer engine_data(bool anchored) const {
    engine::sqlite::CaptureData data;
    for (const auto& [name, pages] : now_) {
      engine::sqlite::CapturedDatabase database;
      database.name = name;
      database.page_size = kTestPage;
      database.pages = pages.size();
      data.databases.push_back(database);
    }
    if (anchored) data.txn = txn_;
    return engine::sqlite::encode_capture_data(data);
  }

  std::string store(const std::string& id, const std::string& parent, const std::string& epoch) {
    auto made = write(id, parent, epoch);
    EXPECT_TRUE(made) << made.error().describe();
    backups_[id] = now_;
    return id;
  }

  // Small packs, and parts of files so short that some of their maps need frames of their own.
  Result<> write(const std::string& id, const std::string& parent, const std::string& epoch) {
    repo::BackupWriter::Options options;
    options.packs.pack_size = 12 << 10;
    options.packs.frame_size = 2 << 10;
    options.segment_pages = 10;
    TRY_ASSIGN(auto writer, repo::BackupWriter::begin(repo_, {}, name_, parent, options, nullptr));
    repo::Manifest m;
    for (const auto& [path, pages] : now_) {
      repo::FileAttributes a;
      a.path = path;
      a.page_size = kTestPage;
      a.size = pages.size() * kTestPage;
      TRY_ASSIGN(auto file, writer->file(a));
      for (const Buffer& p : pages) TRY_OK(file->page(p));
      TRY_OK(file->finish());
      m.size += a.size;
    }
    m.id = id;
    m.source = name_;
    m.engine = "sqlite";
    m.type = parent.empty() ? "full" : "incremental";
    m.parent = parent;
    m.base = parent.empty() ? id : writer->parent()->base;
    m.started = m.moment = clock_;
    m.epoch = epoch;
    m.engine_data = engine_data(!epoch.empty());
    return writer->commit(m).map([](const auto&) {});
  }

  static Result<Databases> read(const repo::RepositoryPtr& repo, const repo::Manifest& m) {
    repo::SlotReader slots(repo, {}, {}, nullptr);
    slots.know(m.packs);
    repo::FileTableReader table(slots, m);
    Databases out;
    TRY_OK(table.for_each([&](const repo::FileRecord& f) -> Result<> {
      Pages& pages = out[f.attributes.path];
      pages.assign(f.attributes.pages(), Buffer(kTestPage, std::byte{0}));
      for (uint64_t s = 0; s < f.segments.size(); ++s) {
        TRY_ASSIGN(const repo::SegmentMap map, table.map(f, s));
        for (uint32_t i = 0; i < map.pages.size(); ++i) {
          if (!map.is_zero(i)) TRY_OK(slots.read_page(map.place(i), pages[map.first_page + i]));
        }
      }
      return {};
    }));
    return out;
  }

  const repo::RepositoryPtr repo_;
  const std::string name_;
  std::mt19937 random_;
  Timestamp clock_;
  repo::WriterId writer_;
  Databases now_;
  std::string epoch_;
  uint64_t txn_ = 0;
  unsigned serial_ = 0;
  std::vector<PieceName> pieces_;  // not merged
  std::map<std::string, Databases> backups_;
  std::map<uint64_t, Databases> states_;
  std::map<uint64_t, Timestamp> times_;
};

}  // namespace varve::backup
