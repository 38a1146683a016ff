#include "repo/manifest.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

#include "repo/format.pb.h"
#include "repo/repository_for_test.h"
#include "repo/wire.h"
#include "store/wrap/fault.h"

namespace varve::repo {
namespace {

using testing::HasSubstr;

PackInfo pack(uint8_t writer, uint32_t number) {
  WriterId id;
  id.bytes.fill(static_cast<std::byte>(writer));
  PackInfo out{pack_id(id, number), 1000u + number, {}};
  out.checksum.fill(std::byte{9});
  return out;
}

Manifest sample() {
  Manifest m;
  m.id = "20261123-143205-incremental-3f9a";
  m.source = "app";
  m.engine = "sqlite";
  m.type = "incremental";
  m.parent = "20261122-143205-full-0000";
  m.base = m.parent;
  m.started = *parse_rfc3339("2026-11-23T14:32:05.000001Z");
  m.finished = m.started + std::chrono::seconds(3);
  m.moment = m.started;
  m.start_position = "41";
  m.stop_position = "42";
  m.size = 1u << 30;
  m.read = 12345;
  m.stored = 777;
  m.pages_new = 3;
  m.changed_pages_from = "comparison";
  m.host = "db1";
  m.address = "sqlite:/srv/app.db";
  m.varve_version = "0.1.0";
  m.database_version = "3.40.1";
  m.lineage = "l";
  m.epoch = "e1";
  m.segment_pages = 32768;
  m.files = 5;
  m.packs = {pack(1, 0), pack(1, 7), pack(2, 0)};
  m.tables = {{{m.packs[2].id, 4}, "a", "m", 3}, {{m.packs[0].id, 0}, "n", "z", 2}};
  m.engine_data = to_buffer(as_bytes("\x01\x02"));
  m.catalogue = {"users", "orders"};
  m.collections_seen = {"20261101-000000-aabbccdd"};
  m.writer = std::string(24, '2');
  m.warnings = {"a page was torn"};
  return m;
}

// `change` is done to a good message, which must then be refused for the reason named.
void expect_refused(const std::function<void(format::Manifest&)>& change, const std::string& why) {
  const Buffer good = encode(sample());
  format::Manifest wire;
  ASSERT_TRUE(parse(wire, good, "it"));
  change(wire);
  auto r = decode_manifest(serialize(wire));
  ASSERT_FALSE(r) << why;
  EXPECT_EQ(r.error().code, Code::kDamaged);
  EXPECT_THAT(r.error().message, HasSubstr(why));
}

TEST(ManifestTest, ComesBackWhole) {
  const Manifest m = sample();
  auto back = decode_manifest(encode(m));
  ASSERT_TRUE(back) << back.error().describe();
  EXPECT_EQ(encode(*back), encode(m));
  EXPECT_EQ(back->id, m.id);
  EXPECT_EQ(back->finished, m.finished);
  EXPECT_EQ(back->stop_position, "42");
  EXPECT_EQ(back->tables[0].place, m.tables[0].place);
  EXPECT_EQ(back->tables[1].first_path, "n");
  EXPECT_EQ(back->engine_data, m.engine_data);
  EXPECT_EQ(back->catalogue, m.catalogue);
  EXPECT_EQ(back->collections_seen, m.collections_seen);
  ASSERT_NE(back->find_pack(m.packs[1].id), nullptr);
  EXPECT_EQ(back->find_pack(m.packs[1].id)->size, 1007u);
  EXPECT_EQ(back->find_pack(pack(3, 3).id), nullptr);
}

TEST(ManifestTest, WhateverLaterCodeReliesOnIsChecked) {
  expect_refused([](auto& m) { m.set_id("../x"); }, "name");
  expect_refused([](auto& m) { m.set_source(""); }, "name");
  expect_refused([](auto& m) { m.set_epoch("a/b"); }, "name");
  expect_refused([](auto& m) { m.set_type("whole"); }, "type");
  expect_refused([](auto& m) { m.set_type("full"); }, "parent");
  expect_refused([](auto& m) { m.set_parent(""); }, "parent");
  expect_refused([](auto& m) { m.set_parent(m.id()); }, "parent");
  expect_refused([](auto& m) { m.set_base(""); }, "parent");
  expect_refused([](auto& m) { m.set_writer("zz"); }, "writer");
  expect_refused([](auto& m) { m.set_segment_pages(0); }, "size");
  expect_refused([](auto& m) { m.set_segment_pages(0xffffffff); }, "size");
  expect_refused([](auto& m) { m.set_started_us(INT64_MAX); }, "calendar");
  expect_refused([](auto& m) { m.mutable_packs(0)->set_id("short"); }, "identifier");
  expect_refused([](auto& m) { m.mutable_packs()->SwapElements(0, 1); }, "order");
  expect_refused([](auto& m) { *m.mutable_packs(1) = m.packs(0); }, "order");
  expect_refused([](auto& m) { m.mutable_packs(0)->set_checksum("x"); }, "part");
  expect_refused([](auto& m) { m.mutable_packs(0)->set_size(0); }, "part");
  expect_refused([](auto& m) { m.mutable_tables(0)->mutable_slot()->set_pack(0); }, "does not list");
  expect_refused([](auto& m) { m.mutable_tables(0)->mutable_slot()->set_pack(4); }, "does not list");
  expect_refused([](auto& m) { m.mutable_tables()->SwapElements(0, 1); }, "order");
  expect_refused([](auto& m) { m.mutable_tables(0)->set_last_path("0"); }, "order");
  expect_refused([](auto& m) { m.mutable_tables(0)->set_files(0); }, "order");
  expect_refused([](auto& m) { m.mutable_tables(0)->set_files(UINT64_MAX); }, "miscounts");
  expect_refused([](auto& m) { m.set_files(6); }, "miscounts");
  expect_refused([](auto& m) { m.set_collections_seen(0, "a b"); }, "collection");
}

TEST(ManifestTest, NoBytesCrashTheDecoder) {
  std::mt19937 random(7);
  const Buffer good = encode(sample());
  for (int i = 0; i < 20000; ++i) {
    Buffer bad = good;
    for (int k = 0; k < 3; ++k) bad[random() % bad.size()] = static_cast<std::byte>(random());
    if (i % 3 == 0) bad.resize(random() % bad.size());
    if (auto m = decode_manifest(bad)) {
      EXPECT_EQ(decode_manifest(encode(*m))->id, m->id);
    } else {
      EXPECT_EQ(m.error().code, Code::kDamaged);
    }
  }
}

TEST(ManifestTest, TextInAnotherEncodingIsStillReadable) {
  Manifest m = sample();
  m.catalogue = {"tabl\xe9", "täble", "\xf0\x9f\x98\x80", "\xed\xa0\x80", "\xc0\xaf", "cut \xe2\x82"};
  m.address = "sqlite:/srv/\xff.db";
  auto back = decode_manifest(encode(m));
  ASSERT_TRUE(back) << back.error().describe();
  EXPECT_EQ(back->catalogue[0], "tabl\uFFFD");
  EXPECT_EQ(back->catalogue[1], "täble");
  EXPECT_EQ(back->catalogue[2], "\xf0\x9f\x98\x80");
  EXPECT_EQ(back->catalogue[5], "cut \uFFFD\uFFFD");
  EXPECT_EQ(back->address, "sqlite:/srv/\uFFFD.db");
}

class ManifestsTest : public testing::Test {
 protected:
  TestRepository t{Encryption::kNone};
  std::string put(const std::string& source, const std::string& id, Timestamp moment = sample().moment) {
    Manifest m = sample();
    m.source = source;
    m.id = id;
    m.moment = moment;
    const auto r = t.repo->put_object({}, "manifest", manifest_key(source, id), encode(m));
    EXPECT_TRUE(r) << r.error().describe();
    return manifest_key(source, id);
  }
};

TEST_F(ManifestsTest, AreFoundAndAnUnreadableOneHidesNoOther) {
  for (int i = 10; i < 40; ++i) put("app", "b" + std::to_string(i));
  const std::string bad = put("app", "b25x");
  t.overwrite(bad, as_bytes("rot"));
  put("app-2", "c");
  ASSERT_TRUE(t.repo->put_object({}, "hold", hold_key("app", "b10"), {}));
  EXPECT_EQ(*list_sources(*t.repo, {}), (std::vector<std::string>{"app", "app-2"}));
  EXPECT_EQ(list_backup_ids(*t.repo, {}, "app")->size(), 31u);
  auto all = load_manifests(*t.repo, {}, "app");
  ASSERT_TRUE(all);
  ASSERT_EQ(all->manifests.size(), 30u);
  EXPECT_TRUE(std::is_sorted(all->manifests.begin(), all->manifests.end(),
                             [](const auto& a, const auto& b) { return a.id < b.id; }));
  ASSERT_EQ(all->unreadable.size(), 1u);
  EXPECT_EQ(all->unreadable[0].key, bad);
  EXPECT_EQ(all->unreadable[0].error.code, Code::kDamaged);
  EXPECT_EQ(load_manifest(*t.repo, {}, "app", "none").error().code, Code::kNotFound);
  EXPECT_EQ(load_manifest(*t.repo, {}, "..", "b").error().code, Code::kUsage);
}

TEST_F(ManifestsTest, UnderAnotherNameAreRefused) {
  Manifest m = sample();
  ASSERT_TRUE(t.repo->put_object({}, "manifest", manifest_key("app", "other"), encode(m)));
  auto r = load_manifest(*t.repo, {}, "app", "other");
  ASSERT_FALSE(r);
  EXPECT_THAT(r.error().message, HasSubstr("another backup"));
}

TEST_F(ManifestsTest, AStoreThatCannotBeReachedIsNoDamage) {
  put("app", "a");
  put("app", "b");
  auto faulty = std::make_shared<store::FaultStore>(t.mem);
  auto repo = t.open(faulty);
  ASSERT_TRUE(repo);
  faulty->set_policy(store::only(
      store::CallKind::kGet,
      store::fault_at(2, {.what = store::Fault::What::kFail, .error = store::transient_error()})));
  auto r = load_manifests(**repo, {}, "app");
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, Code::kUnreachable);
}

TEST_F(ManifestsTest, TheNewestCostsNotMoreWithEachThatIsKept) {
  for (int i = 100; i < 140; ++i) put("app", fmt::format("20261101-000{}-incremental-0000", i));
  const Timestamp moment = sample().moment;
  put("app", "20261101-000140-full-0000", moment + Seconds(1));
  put("app", "20261101-000140-incremental-ffff", moment);
  t.overwrite(put("app", "20261101-000141-full-0000"), as_bytes("rot"));
  auto counting = std::make_shared<store::FaultStore>(t.mem);
  auto repo = t.open(counting);
  ASSERT_TRUE(repo);
  counting->clear_calls();
  auto newest = newest_manifest(**repo, {}, "app");
  ASSERT_TRUE(newest);
  ASSERT_TRUE(newest->manifest);
  EXPECT_EQ(newest->manifest->id, "20261101-000140-full-0000")
      << "of one second the one of the latest moment";
  ASSERT_EQ(newest->unreadable.size(), 1u);
  EXPECT_EQ(newest->unreadable[0].key, manifest_key("app", "20261101-000141-full-0000"));
  const auto calls = counting->calls();
  const auto is_get = [](const auto& c) { return c.kind == store::CallKind::kGet; };
  EXPECT_EQ(std::count_if(calls.begin(), calls.end(), is_get), 3) << "those of two seconds";
  newest = newest_manifest(**repo, {}, "none");
  ASSERT_TRUE(newest);
  EXPECT_FALSE(newest->manifest);
}

}  // namespace
}  // namespace varve::repo
