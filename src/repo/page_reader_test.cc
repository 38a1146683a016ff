#include "repo/page_reader.h"

#include <gtest/gtest.h>
#include <map>
#include <thread>

#include "repo/backup_writer.h"
#include "repo/repository_for_test.h"
#include "store/wrap/forward.h"

namespace varve::repo {
namespace {

using namespace std::chrono_literals;

constexpr uint32_t kPage = 4096;

// A store far away, that says so; counts what is asked of it at once.
class FarStore : public store::Forward {
 public:
  using Forward::Forward;
  size_t parallel_gets() const override { return 8; }
  Result<uint64_t> get(const Context& ctx, const store::Key& key, store::Range range,
                       const store::Sink& sink) override {
    const uint64_t asked = range.length == UINT64_MAX ? 0 : range.length;
    {
      std::lock_guard lock(mutex_);
      ++gets[key];
      bytes_ += asked;
      most_gets = std::max(most_gets, ++under_way_);
      most_bytes = std::max(most_bytes, bytes_);
      if (fail_at > 0 && --fail_at == 0) {
        --under_way_;
        return fail(Code::kUnreachable, "the far end is gone");
      }
    }
    std::this_thread::sleep_for(20ms);
    auto got = inner().get(ctx, key, range, sink);
    std::lock_guard lock(mutex_);
    --under_way_;
    bytes_ -= asked;
    return got;
  }

  std::map<store::Key, int> gets;
  size_t most_gets = 0;
  uint64_t most_bytes = 0;
  int fail_at = 0;

 private:
  std::mutex mutex_;
  size_t under_way_ = 0;
  uint64_t bytes_ = 0;
};

class PageReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto writer =
        BackupWriter::begin(test_.repo, {}, "app", "", {.packs = {.pack_size = 16u << 20}}, nullptr);
    ASSERT_TRUE(writer) << writer.error().describe();
    FileAttributes a;
    a.path = "a.db";
    a.page_size = kPage;
    a.size = uint64_t{kPages} * kPage;
    auto file = (*writer)->file(a);
    ASSERT_TRUE(file);
    for (uint32_t p = 0; p < kPages; ++p) ASSERT_TRUE((*file)->page(page(p)));
    ASSERT_TRUE((*file)->finish());
    Manifest m;
    m.id = m.base = "20260101-000000-full-0000";
    m.source = "app";
    m.engine = "test";
    m.type = "full";
    auto made = (*writer)->commit(m);
    ASSERT_TRUE(made) << made.error().describe();
    manifest_ = *made;
    far_ = std::make_shared<FarStore>(test_.mem);
    repo_ = *test_.open(far_);
  }

  static Buffer page(uint32_t number) {
    Buffer out(kPage);
    uint64_t x = number * 0x9E3779B97F4A7C15u + 1;
    for (auto& b : out) {
      x = x * 6364136223846793005u + 1442695040888963407u;
      b = static_cast<std::byte>(x >> 56);
    }
    return out;
  }

  // Every page, in batches as a restore gathers them.
  Result<> read_all(SlotReader& slots, const SlotReader::Deliver& deliver) {
    slots.know(manifest_.packs);
    FileTableReader table(slots, manifest_);
    PageReader reader(slots, SlotReader::one_by_one(deliver));
    TRY_OK(table.for_each([&](const FileRecord& f) -> Result<> {
      for (uint64_t s = 0; s < f.segments.size(); ++s) {
        TRY_ASSIGN(SegmentMap map, table.map(f, s));
        std::vector<SlotReader::Request> requests;
        for (uint32_t i = 0; i < map.pages.size(); ++i)
          requests.push_back({map.place(i), map.first_page + i});
        far_->gets.clear();
        TRY_OK(reader.add(std::move(requests)));
      }
      return {};
    }));
    return reader.finish();
  }

  static constexpr uint32_t kPages = 12000;  // some 47 MiB, three packs
  TestRepository test_;
  Manifest manifest_;
  std::shared_ptr<FarStore> far_;
  RepositoryPtr repo_;
};

TEST_F(PageReaderTest, ManyRequestsAreUnderWayAndMemoryIsBounded) {
  SlotReader slots(repo_, {}, {.workers = 2, .max_request = 1u << 20, .in_flight = 6u << 20}, nullptr);
  std::vector<std::atomic<int>> seen(kPages);
  auto read = read_all(slots, [&](uint64_t number, ByteView bytes) -> Result<> {
    EXPECT_EQ(to_buffer(bytes), page(static_cast<uint32_t>(number)));
    ++seen[number];
    return {};
  });
  ASSERT_TRUE(read) << read.error().describe();
  for (uint32_t p = 0; p < kPages; ++p) EXPECT_EQ(seen[p], 1) << p;
  EXPECT_EQ(far_->most_gets, 6u) << "more than the two workers, and no more than fit in memory";
  EXPECT_LE(far_->most_bytes, 6u << 20);
}

TEST_F(PageReaderTest, AnIndexIsFetchedOnceWhoeverNeedsIt) {
  SlotReader slots(repo_, {}, {.workers = 4, .max_request = 8u << 20}, nullptr);
  auto read = read_all(slots, [](uint64_t, ByteView) { return Result<>{}; });
  ASSERT_TRUE(read) << read.error().describe();
  EXPECT_GE(far_->gets.size(), 3u);
  for (const auto& [key, times] : far_->gets)
    EXPECT_LE(times, 4) << key << ": its index, and 16 MiB in requests of less than 8";
}

TEST_F(PageReaderTest, TheFirstFailureEndsIt) {
  SlotReader slots(repo_, {}, {.workers = 2, .max_request = 256u << 10}, nullptr);
  far_->fail_at = 20;  // of some 190
  std::atomic<int> pages = 0;
  auto read = read_all(slots, [&](uint64_t, ByteView) {
    ++pages;
    return Result<>{};
  });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().message, "the far end is gone");
  EXPECT_LT(pages, static_cast<int>(kPages) / 2);
}

TEST_F(PageReaderTest, AFailureToDeliverEndsIt) {
  SlotReader slots(repo_, {}, {}, nullptr);
  auto read = read_all(slots, [&](uint64_t number, ByteView) -> Result<> {
    if (number == 4000) return fail(Code::kNoSpace, "the disk is full");
    return {};
  });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Code::kNoSpace);
}

TEST_F(PageReaderTest, AStopEndsIt) {
  std::stop_source stop;
  Context ctx;
  ctx.stop = stop.get_token();
  SlotReader slots(repo_, ctx, {.workers = 2, .max_request = 64u << 10}, nullptr);
  auto read = read_all(slots, [&](uint64_t, ByteView) {
    stop.request_stop();
    return Result<>{};
  });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Code::kInterrupted);
}

TEST_F(PageReaderTest, NothingIsReadyAtOnce) {
  SlotReader slots(repo_, {}, {}, nullptr);
  PageReader reader(slots, [](uint64_t, ByteView, uint32_t) { return Result<>{}; });
  ASSERT_TRUE(reader.add({}));
  EXPECT_TRUE(reader.finish());
}

}  // namespace
}  // namespace varve::repo
