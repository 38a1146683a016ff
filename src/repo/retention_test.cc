#include "repo/retention.h"

#include "repo/collect.h"
#include "repo/key_object.h"
#include "repo/repository_for_test.h"
#include "repo/writer_for_test.h"
#include "store/wrap/fault.h"

namespace varve::repo {
namespace {

using namespace std::chrono_literals;
constexpr Seconds kRetain = std::chrono::days(30);

class RetentionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = Repository::create({}, faulty, file_key(key), {.retain = kRetain});
    ASSERT_TRUE(made) << made.error().describe();
    repo = *made;
    faulty->clear_calls();
  }
  RepositoryPtr open(std::optional<Seconds> retain) {
    auto opened = Repository::open({}, faulty, file_key(key), {.retain = retain});
    EXPECT_TRUE(opened) << opened.error().describe();
    return *opened;
  }
  Timestamp locked(const store::Key& name) {
    auto info = mem->head({}, name);
    EXPECT_TRUE(info) << name;
    return info && info->retain_until ? *info->retain_until : Timestamp{};
  }
  size_t extensions() {
    size_t n = 0;
    for (const auto& c : faulty->calls()) n += c.kind == store::CallKind::kExtend;
    return n;
  }

  const std::string key = generate_key_file();
  std::shared_ptr<store::MemStore> mem = std::make_shared<store::MemStore>();
  std::shared_ptr<store::FaultStore> faulty = std::make_shared<store::FaultStore>(mem);
  RepositoryPtr repo;
};

TEST_F(RetentionTest, WhatOpensTheRepositoryIsLockedFromTheStart) {
  EXPECT_GE(locked("varve.json"), now() + kRetain);
  auto keys = repo->list_keys({});
  ASSERT_TRUE(keys);
  EXPECT_GE(locked(key_key(keys->front().id)), now() + kRetain);
}

TEST_F(RetentionTest, ABackupIsLockedWithAllItNeeds) {
  TestWriter writer = *TestWriter::begin(repo);
  auto pack = writer.write_pack();  // by plain puts: not locked
  auto m = writer.commit("b1", {*pack});
  ASSERT_TRUE(m) << m.error().describe();
  EXPECT_GE(locked(manifest_key("app", "b1")), now() + kRetain);
  ASSERT_TRUE(m->retained_until);
  EXPECT_GE(*m->retained_until, now() + kRetain);
  auto loaded = load_manifest(*repo, {}, "app", "b1");
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->retained_until, m->retained_until);
  EXPECT_EQ(store::remove_one(*mem, {}, manifest_key("app", "b1")).error().code, Code::kConflict);
}

TEST_F(RetentionTest, ReusedPacksAreExtendedOnlyWhenTheirLockRunsShort) {
  TestWriter writer = *TestWriter::begin(repo);
  auto pack = writer.write_pack();
  Manifest m = manifest_over("app", "b2", {*pack});
  m.writer = "another";
  m.started = now();
  ASSERT_TRUE(extend_retention(*repo, {}, m, now() + kRetain + 1h));
  EXPECT_EQ(extensions(), 0u);
  EXPECT_GE(*m.retained_until, now() + kRetain);
  EXPECT_LE(*m.retained_until, now() + kRetain + 1h);

  ASSERT_TRUE(extend_retention(*repo, {}, m, now() + kRetain - 1h));
  EXPECT_EQ(extensions(), 3u) << "the pack, a key, varve.json";
  EXPECT_GE(locked(pack_key(*pack)), now() + kRetain + retention_slack(kRetain) - 1min);
  EXPECT_GE(*m.retained_until, now() + kRetain + 1h) << "the next does without";
}

TEST_F(RetentionTest, OwnPacksOfABackupThatTookLongAreExtended) {
  TestWriter writer = *TestWriter::begin(repo);
  auto pack = writer.write_pack();
  Manifest m = manifest_over("app", "b3", {*pack});
  m.writer = writer.pin.writer().hex();
  m.started = now() - retention_slack(kRetain) - 1h;
  ASSERT_TRUE(extend_retention(*repo, {}, m, now() + kRetain + 1h));
  EXPECT_EQ(extensions(), 1u);
  EXPECT_GE(locked(pack_key(*pack)), now() + kRetain);
}

TEST_F(RetentionTest, ABackupThatCannotBeLockedIsNone) {
  TestWriter writer = *TestWriter::begin(repo);
  auto pack = writer.write_pack();
  faulty->set_policy(store::only(
      store::CallKind::kExtend,
      store::fault_at(
          1, {.what = store::Fault::What::kFail, .error = Error{Code::kDenied, "no permission to lock"}})));
  auto m = writer.commit("b4", {*pack});
  ASSERT_FALSE(m);
  EXPECT_EQ(m.error().code, Code::kDenied);
  EXPECT_FALSE(*store::exists(*mem, {}, manifest_key("app", "b4")));

  // Nor one whose manifest alone cannot: it is withdrawn, which a locked one could not be.
  faulty->set_policy(store::only_keys(
      "sources/", store::only(store::CallKind::kExtend,
                              store::fault_at(1, {.what = store::Fault::What::kFail,
                                                  .error = Error{Code::kDenied, "no permission to lock"}}))));
  m = writer.commit("b5", {*pack});
  ASSERT_FALSE(m);
  EXPECT_FALSE(*store::exists(*mem, {}, manifest_key("app", "b5")));
}

TEST_F(RetentionTest, WithoutAPromiseNothingIsLocked) {
  repo = open(std::nullopt);
  TestWriter writer = *TestWriter::begin(repo);
  auto pack = writer.write_pack();
  auto m = writer.commit("b6", {*pack});
  ASSERT_TRUE(m);
  EXPECT_FALSE(m->retained_until);
  EXPECT_EQ(locked(manifest_key("app", "b6")), Timestamp{});
  EXPECT_EQ(extensions(), 0u);
}

}  // namespace
}  // namespace varve::repo
