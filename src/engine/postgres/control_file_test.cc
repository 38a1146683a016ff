#include "engine/postgres/control_file.h"

#include <gtest/gtest.h>
#include <thread>

#include "engine/postgres/testing_control.h"

namespace varve::engine::postgres {
namespace {

using testing::control_image;
using testing::seal;
using testing::set;

TEST(PostgresControlFile, SaysWhatIsInIt) {
  for (const uint32_t version : {1300u, 1700u, 1800u}) {
    const auto c = parse_control_file(control_image(version));
    ASSERT_TRUE(c) << c.error().describe();
    EXPECT_EQ(c->system_id, 7312345678901234567u);
    EXPECT_EQ(c->control_version, version);
    EXPECT_EQ(c->catalog_version, 202209061u);
    EXPECT_EQ(c->state, ClusterState::kInProduction);
    EXPECT_EQ(state_name(c->state), "in production");
    EXPECT_EQ(c->time, 1700000000);
    EXPECT_EQ(c->checkpoint, 0x1'02000060u);
    EXPECT_EQ(c->redo, 0x1'02000028u);
    EXPECT_EQ(c->timeline, 3u);
    EXPECT_TRUE(c->full_page_writes);
    EXPECT_EQ(c->checkpoint_time, 1699999999);
    EXPECT_EQ(c->min_recovery_point, 0x1'01ffff00u);
    EXPECT_EQ(c->min_recovery_timeline, 2u);
    EXPECT_EQ(c->wal_level, 1u);
    EXPECT_EQ(c->max_connections, 100u);
    EXPECT_EQ(c->max_locks_per_transaction, 64u);
    EXPECT_EQ(c->page_size, 8192u);
    EXPECT_EQ(c->segment_pages, 131072u);
    EXPECT_EQ(c->wal_segment_size, 16u << 20);
    EXPECT_TRUE(c->has_checksums());
  }
}

TEST(PostgresControlFile, EveryFlippedBitIsNoticed) {
  const Buffer image = control_image();
  for (size_t bit = 0; bit < 292 * 8; ++bit) {
    Buffer flipped = image;
    flipped[bit / 8] ^= std::byte{1} << (bit % 8);
    ASSERT_FALSE(parse_control_file(flipped)) << bit;
  }
}

TEST(PostgresControlFile, RefusesWhatItDoesNotKnow) {
  const auto code_of = [](size_t at, uint32_t value) {
    Buffer image = control_image();
    set<uint32_t>(image, at, value);
    seal(image);
    const auto c = parse_control_file(image);
    return c ? Code::kInternal : c.error().code;
  };
  EXPECT_EQ(code_of(8, 1201), Code::kUnsupported);
  EXPECT_EQ(code_of(8, 1900), Code::kUnsupported);
  EXPECT_EQ(code_of(204, 4), Code::kUnsupported);
  EXPECT_EQ(code_of(216, 0), Code::kDamaged);
  EXPECT_EQ(code_of(216, 8193), Code::kDamaged);
  EXPECT_EQ(code_of(220, 0), Code::kDamaged);
  EXPECT_EQ(code_of(228, 3u << 20), Code::kDamaged);
  EXPECT_EQ(code_of(48, 0), Code::kDamaged);
  EXPECT_EQ(code_of(16, 7), Code::kDamaged);
  EXPECT_EQ(code_of(172, 3), Code::kDamaged);
  EXPECT_EQ(parse_control_file({}).error().code, Code::kDamaged);
  EXPECT_EQ(parse_control_file(ByteView(control_image()).first(295)).error().code, Code::kDamaged);
}

TEST(PostgresControlFile, ATornReadIsReadAgain) {
  const auto dir = os::TempDir::create();
  ASSERT_TRUE(os::make_directories(dir->path() / "global"));
  const os::Path path = dir->path() / kControlPath;
  Buffer torn = control_image();
  torn[24] ^= std::byte{1};
  ASSERT_TRUE(os::replace_file(path, torn));
  std::thread mender([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    EXPECT_TRUE(os::replace_file(path, control_image()));
  });
  const auto image = read_control_file({}, dir->path());
  mender.join();
  ASSERT_TRUE(image) << image.error().describe();
  EXPECT_EQ(image->bytes, control_image());
  // One that stays so is damaged; here the caller's time ends first.
  ASSERT_TRUE(os::replace_file(path, torn));
  const auto bad = read_control_file(Context{}.with_deadline(std::chrono::milliseconds(250)), dir->path());
  EXPECT_FALSE(bad);
  EXPECT_EQ(read_control_file({}, dir->path() / "no").error().code, Code::kNotFound);
}

}  // namespace
}  // namespace varve::engine::postgres
