// Copies of backups that are no state without the log between their start and their stop.
#include "backup/copy_for_test.h"
#include "backup/engines.h"
#include "backup/postgres/wal_archive.h"
#include "engine/postgres/capture_data.h"

namespace varve::backup {
namespace {

constexpr uint64_t kSystem = 7'000'000'000'000'000'001;
constexpr uint32_t kSegment = 1u << 20;
constexpr uint64_t kStart = 5 * kSegment;

// A cluster with two backups: each needs the WAL of a segment and a bit.
class CopyWal : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    for (int i = 0; i < 5; ++i) segment(i);
    first_ = backup("20261101-000000-full-0001", kStart + 100, kStart + kSegment + 100);
    second_ = backup("20261101-000001-full-0002", kStart + 3 * kSegment + 100, kStart + 4 * kSegment + 100);
  }
  CopyOptions options() const {
    CopyOptions o;
    if (GetParam()) o.opened = t_.repo;
    return o;
  }
  static uint64_t lsn(int number) { return kStart + static_cast<uint64_t>(number) * kSegment; }
  static std::string key(uint64_t from, uint64_t to) {
    return repo::log_piece_key("app", postgres::epoch_of(kSystem, 1), from, to - 1);
  }
  static std::string key(int number) { return key(lsn(number), lsn(number + 1)); }
  void segment(int number) { piece(lsn(number), lsn(number + 1)); }
  void piece(uint64_t from, uint64_t to) {
    postgres::WalArchive archive(t_.repo, "app");
    engine::postgres::PieceIdentity is;
    is.system = kSystem;
    is.timeline = 1;
    is.segment_size = kSegment;
    is.start = from;
    auto stored = archive.store({}, is, Buffer(to - from, std::byte{7}));
    ASSERT_TRUE(stored) << stored.error().describe();
  }
  std::string backup(const std::string& id, uint64_t start, uint64_t stop) {
    auto writer = repo::BackupWriter::begin(t_.repo, {}, "app", "", {}, nullptr);
    EXPECT_TRUE(writer);
    engine::postgres::CaptureData data;
    data.system_id = kSystem;
    data.timeline = data.stop_timeline = 1;
    data.start_lsn = data.checkpoint_lsn = start;
    data.stop_lsn = stop;
    data.version = 150018;
    data.page_size = 8192;
    data.segment_pages = 131072;
    data.wal_segment_size = kSegment;
    data.wal_page_size = 8192;
    repo::Manifest m;
    m.id = m.base = id;
    m.source = "app";
    m.engine = "postgres";
    m.type = "full";
    m.started = m.moment = now();
    m.epoch = postgres::epoch_of(kSystem, 1);
    m.engine_data = engine::postgres::encode_capture_data(data);
    auto made = (*writer)->commit(m);
    EXPECT_TRUE(made) << made.error().describe();
    EXPECT_TRUE(place_of(m)) << "it stands in the log";
    return id;
  }
  bool copied(const std::string& id) const { return names(*to_).contains(repo::manifest_key("app", id)); }

  repo::TestRepository t_;
  std::string first_, second_;
  std::shared_ptr<MemStore> to_ = std::make_shared<MemStore>("copy");
};
INSTANTIATE_TEST_SUITE_P(Key, CopyWal, ::testing::Bool(), key_name);

// Cut at each put of a second copy.
TEST_P(CopyWal, ABackupIsSeenOnlyWithItsWal) {
  ASSERT_TRUE(run_copy(t_.mem, to_, options()).problems.empty());
  for (int i = 5; i < 8; ++i) segment(i);
  const std::string third = backup("20261101-000002-full-0003", lsn(5) + 100, lsn(7) + 100);
  const auto before = to_->snapshot();
  for (uint64_t n = 1;; ++n) {
    to_->restore(before);
    const auto cut =
        std::make_shared<FaultStore>(to_, store::only(store::CallKind::kPut, store::killed_at(n, false)));
    Progress progress;
    const bool done = copy({}, t_.mem, cut, options(), progress).has_value();
    for (int i = 5; i < 8 && copied(third); ++i) EXPECT_TRUE(names(*to_).contains(key(i))) << n;
    if (done) break;
    ASSERT_LT(n, 50u);
  }
  EXPECT_TRUE(copied(third));
}

TEST_P(CopyWal, ABackupWhoseWalIsDamagedIsLeftOut) {
  Buffer bytes = t_.bytes(key(1));
  bytes[bytes.size() / 2] ^= std::byte{4};
  t_.overwrite(key(1), bytes);
  const CopyReport r = run_copy(t_.mem, to_, options());
  ASSERT_EQ(r.problems.size(), 1u) << text_of(r);
  EXPECT_EQ(r.problems[0].object, key(1));
  EXPECT_EQ(r.problems[0].kind, "damaged");
  EXPECT_FALSE(r.problems[0].affects.empty());
  EXPECT_FALSE(copied(first_));
  EXPECT_EQ(copied(second_), GetParam()) << "without the key it cannot be told which need it";
  EXPECT_EQ(r.notes.empty(), GetParam());
}

TEST_P(CopyWal, ABackupWhoseWalIsMissingIsLeftOut) {
  ASSERT_TRUE(store::remove_one(*t_.mem, {}, key(4)));
  const CopyReport r = run_copy(t_.mem, to_, options());
  EXPECT_TRUE(copied(first_));
  if (!GetParam()) return;  // cannot be noticed
  ASSERT_EQ(r.problems.size(), 1u) << text_of(r);
  EXPECT_EQ(r.problems[0].kind, "missing");
  EXPECT_EQ(r.problems[0].affects, std::vector<std::string>{"app/" + second_});
  EXPECT_FALSE(copied(second_));
}

// A follower joins pieces while they are copied.
TEST_P(CopyWal, PiecesThatWereJoinedMeanwhileAreFoundAnew) {
  ASSERT_TRUE(store::remove_one(*t_.mem, {}, key(3)));
  const uint64_t middle = lsn(3) + kSegment / 2;
  piece(lsn(3), middle);
  piece(middle, lsn(4));
  const auto from = std::make_shared<Meanwhile>(t_.mem, store::CallKind::kGet, key(0), [&] {
    segment(3);
    EXPECT_TRUE(store::remove_one(*t_.mem, {}, key(lsn(3), middle)));
    EXPECT_TRUE(store::remove_one(*t_.mem, {}, key(middle, lsn(4))));
  });
  CopyOptions o = options();
  o.workers = 1;  // else they may be read before they go
  const CopyReport r = run_copy(from, to_, o);
  EXPECT_TRUE(r.problems.empty()) << text_of(r);
  EXPECT_TRUE(names(*to_).contains(key(3)));
  EXPECT_TRUE(copied(first_));
  EXPECT_TRUE(copied(second_));
}

}  // namespace
}  // namespace varve::backup
