// The helpers, addresses, and what is special to the memory store.
#include "store/store.h"

#include <gtest/gtest.h>

#include "os/file.h"
#include "store/mem/mem_store.h"
#include "store/open.h"
#include "store/wrap/fault.h"

namespace varve::store {
namespace {

using namespace std::chrono_literals;

TEST(GetBytes, HoldsToItsBound) {
  MemStore s;
  ASSERT_TRUE(put_bytes(s, {}, "k", as_bytes("0123456789")));
  EXPECT_EQ(as_text(*get_bytes(s, {}, "k", 10)), "0123456789");
  auto large = get_bytes(s, {}, "k", 9);
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code, Code::kDamaged);
  EXPECT_EQ(as_text(*get_bytes(s, {}, "k", 3, {7, 100})), "789");
}

TEST(GetBytes, FindsAShortBody) {
  FaultStore s(std::make_shared<MemStore>());
  ASSERT_TRUE(put_bytes(s, {}, "k", as_bytes("0123456789")));
  s.set_policy(fault_at(1, {.what = Fault::What::kShortBody, .bytes = 4}));
  EXPECT_EQ(get_bytes(s, {}, "k", 10).error().code, Code::kUnreachable);
}

TEST(RangeSize, NeverOverflows) {
  EXPECT_EQ(range_size({}, 10), 10u);
  EXPECT_EQ(range_size({3, 4}, 10), 4u);
  EXPECT_EQ(range_size({8, 4}, 10), 2u);
  EXPECT_EQ(range_size({10, 1}, 10), 0u);
  EXPECT_EQ(range_size({UINT64_MAX, UINT64_MAX}, 10), 0u);
  EXPECT_EQ(range_size({1, UINT64_MAX}, UINT64_MAX), UINT64_MAX - 1);
}

TEST(Address, IsRead) {
  auto place = [](std::string_view text) {
    auto a = parse_place(text);
    return a ? a->scheme + "|" + a->authority + "|" + a->path : "<" + a.error().message + ">";
  };
  EXPECT_EQ(place("file:///srv/backups"), "file||/srv/backups");
  EXPECT_EQ(place("FILE:///srv/a%20b%25"), "file||/srv/a b%");
  EXPECT_EQ(place("file://localhost/srv"), "file||/srv");
  EXPECT_EQ(place("/srv/a%20b"), "file||/srv/a%20b");
  EXPECT_EQ(place(" relative/path "), "file||relative/path");
  EXPECT_EQ(place("mem://x"), "mem|x|");
  EXPECT_EQ(place("s3://bucket"), "s3|bucket|");
  EXPECT_EQ(place("S3://bucket//a/b%20c//"), "s3|bucket|a/b c");
  EXPECT_EQ(place("gs://b/p?x=1"), "gs|b|p");
  EXPECT_EQ(place("sftp://me@host:2022/srv/x"), "sftp|me@host:2022|srv/x");
  const auto set = parse_place("azure://c/p?endpoint=http%3A%2F%2Fh%3A1%2Fa&account=a");
  ASSERT_TRUE(set);
  EXPECT_EQ(set->settings.text("endpoint"), "http://h:1/a");
  EXPECT_EQ(set->settings.text("account"), "a");
  for (const char* bad : {"", "  ", "s4://bucket", "file://host/share", "file://", "file:///a%2",
                          "file:///a%zz", "file:///a%00", "://x", "s3://", "s3:///p", "gs://b?x", "gs://b?=1",
                          "s3://b?x=1&x=2", "azure://c/%0"}) {
    auto a = parse_place(bad);
    ASSERT_FALSE(a) << bad;
    EXPECT_EQ(a.error().code, Code::kUsage) << bad;
  }
  EXPECT_NE(parse_place("s4://bucket").error().hint.find("file:///"), std::string::npos);
  EXPECT_FALSE(parse_place(std::string_view("/a\0b", 4)));
}

TEST(OpenStore, LocalFolders) {
  auto dir = os::TempDir::create();
  ASSERT_TRUE(dir);
  const std::string folder = (dir->path() / "repo").native();
  auto absent = open_store({}, folder, {});
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, Code::kNotFound);
  EXPECT_FALSE(absent.error().hint.empty());
  EXPECT_EQ(open_store({}, folder, {.create = true, .read_only = true}).error().code, Code::kNotFound);
  auto made = open_store({}, folder + "/", {.create = true});
  ASSERT_TRUE(made) << made.error().describe();
  EXPECT_EQ((*made)->describe(), "file://" + folder);
  ASSERT_TRUE(put_bytes(**made, {}, "k", as_bytes("x")));
  auto reading = open_store({}, "file://" + folder, {.read_only = true});
  ASSERT_TRUE(reading);
  EXPECT_EQ(as_text(*get_bytes(**reading, {}, "k", 10)), "x");
  EXPECT_EQ(put_bytes(**reading, {}, "k2", as_bytes("x")).error().code, Code::kDenied);
  EXPECT_EQ(open_store({}, folder + "/k", {.create = true}).error().code, Code::kIo);
  EXPECT_EQ(open_store({}, folder + "/k", {}).error().code, Code::kUsage);
}

TEST(OpenStore, TheRateIsLimited) {
  auto s = open_store({}, "mem://rate", {.limit_rate = [] { return 1'000'000; }});
  ASSERT_TRUE(s);
  const auto begin = SteadyClock::now();
  const std::string body(50'000, 'x');
  ASSERT_TRUE(put_bytes(**s, {}, "a", as_bytes(body)));
  ASSERT_TRUE(put_bytes(**s, {}, "b", as_bytes(body)));
  EXPECT_GE(SteadyClock::now() - begin, 50ms);
  EXPECT_TRUE(*exists(*MemStore::named("rate"), {}, "a"));
}

TEST(MemStoreTest, ASnapshotBringsBackTheInstant) {
  MemStore s;
  ASSERT_TRUE(put_bytes(s, {}, "a", as_bytes("old")));
  const MemStore::Snapshot before = s.snapshot();
  ASSERT_TRUE(put_bytes(s, {}, "b", as_bytes("new")));
  ASSERT_TRUE(remove_one(s, {}, "a"));
  s.restore(before);
  EXPECT_EQ(as_text(*get_bytes(s, {}, "a", 10)), "old");
  EXPECT_FALSE(*exists(s, {}, "b"));
}

TEST(MemStoreTest, IsStricterThanRealOnes) {
  MemStore s;
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(put_bytes(s, {}, "k" + std::to_string(i), as_bytes("x")));
  auto page = s.list({}, "", "", 1000);
  EXPECT_EQ(page->objects.size(), MemStore::kListPage);
  EXPECT_EQ(s.list({}, "", "k1", 1000).error().code, Code::kUsage) << "a key is no token";
  ASSERT_TRUE(put_bytes(s, {}, "long", as_bytes(std::string(100, 'x'))));
  std::vector<size_t> pieces;
  ASSERT_TRUE(s.get({}, "long", {}, [&](ByteView p) -> Result<> {
    pieces.push_back(p.size());
    return {};
  }));
  EXPECT_EQ(pieces, (std::vector<size_t>{1, 9, 65, 25}));
}

TEST(MemStoreTest, RetentionFollowsItsClock) {
  MemStore s;
  Timestamp clock = now();
  s.set_clock([&] { return clock; });
  ASSERT_TRUE(put_bytes(s, {}, "k", as_bytes("x"), {.retain_until = clock + 1h}));
  EXPECT_EQ(s.head({}, "k")->modified, clock);
  EXPECT_EQ(remove_one(s, {}, "k").error().code, Code::kConflict);
  EXPECT_EQ(put_bytes(s, {}, "k", as_bytes("y"), {.mode = PutMode::kUnconditional}).error().code,
            Code::kConflict);
  EXPECT_EQ(s.extend_retention({}, "k", clock - 1h).has_value(), true) << "earlier: nothing to do";
  clock += 61min;
  EXPECT_EQ(s.extend_retention({}, "k", clock - 30s).error().code, Code::kUsage)
      << "later than it was, but past";
  EXPECT_TRUE(remove_one(s, {}, "k"));
}

}  // namespace
}  // namespace varve::store
