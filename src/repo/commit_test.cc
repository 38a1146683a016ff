// The steps of a commit, each disturbed.
#include <fmt/format.h>

#include "repo/collect_for_test.h"
#include "store/wrap/fault.h"

namespace varve::repo {
namespace {

using testing::HasSubstr;

class CommitTest : public CollectTest {
 protected:
  std::shared_ptr<store::FaultStore> faulty = std::make_shared<store::FaultStore>(t.mem);
  RepositoryPtr repo = *t.open(faulty);

  bool committed(const std::string& id) { return *store::exists(*t.mem, {}, manifest_key("app", id)); }
  // Runs `what` just before the first call on a manifest's name, or just after it.
  void at_manifest(bool after, std::function<void()> what) {
    faulty->set_policy([what, after, seen = 0, done = false](const store::StoreCall& call) mutable {
      seen += call.kind == store::CallKind::kPut && call.key.find("/backups/") != std::string::npos;
      const bool is_manifest = call.key.find("/backups/") != std::string::npos;
      if (seen > 0 && !done && (after ? !is_manifest : is_manifest)) {
        done = true;
        what();
      }
      return store::Fault{};
    });
  }
  TestWriter faulty_writer() { return std::move(*TestWriter::begin(repo)); }
};

TEST_F(CommitTest, RecordsThePlansItHasRead) {
  orphan();
  run();
  const std::string plan = list_plans(*t.repo, {})->front().id;
  TestWriter w = writer();
  auto m = w.commit("b1", {*w.write_pack()});
  ASSERT_TRUE(m);
  auto back = load_manifest(*t.repo, {}, "app", "b1");
  EXPECT_EQ(back->collections_seen, std::vector<std::string>{plan});
  EXPECT_EQ(back->writer, w.pin.writer().hex());
}

TEST_F(CommitTest, NothingIsBuiltOnWhatIsCondemned) {
  const PackId lost = orphan();
  run();
  TestWriter w = writer();
  auto r = w.commit("b1", {*w.write_pack(), lost});
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, Code::kConflict);
  EXPECT_THAT(r.error().hint, HasSubstr("again"));
  EXPECT_FALSE(committed("b1"));
}

TEST_F(CommitTest, IsWithdrawnWhenAPlanCameBetween) {
  for (bool after : {false, true}) {
    const PackId reused = orphan();
    TestWriter w = faulty_writer();
    at_manifest(after, [&] {
      CollectionPlan plan;
      plan.id = fmt::format("20260101-000000-{:08x}", after ? 1 : 2);
      plan.packs = {reused};
      ASSERT_TRUE(put_plan(*t.repo, {}, plan));
    });
    EXPECT_EQ(w.commit("b1", {reused}).error().code, Code::kConflict);
    EXPECT_FALSE(committed("b1"));
  }
}

TEST_F(CommitTest, IsWithdrawnWhenThePinWasRemoved) {
  TestWriter w = faulty_writer();
  const PackId pack = *w.write_pack();
  at_manifest(true, [&] { ASSERT_TRUE(store::remove_one(*t.mem, {}, pin_key(w.pin.writer()))); });
  EXPECT_EQ(w.commit("b1", {pack}).error().code, Code::kConflict);
  EXPECT_FALSE(committed("b1"));
}

TEST_F(CommitTest, AStopAfterTheManifestComesTooLate) {
  TestWriter w = faulty_writer();
  const PackId pack = *w.write_pack();
  std::stop_source stop;
  Context ctx;
  ctx.stop = stop.get_token();
  at_manifest(true, [&] { stop.request_stop(); });
  EXPECT_TRUE(w.commit("b1", {pack}, ctx));
  EXPECT_TRUE(committed("b1"));
}

TEST_F(CommitTest, WhatCannotBeConfirmedIsWithdrawnOrSaysSo) {
  TestWriter w = faulty_writer();
  const PackId pack = *w.write_pack();
  faulty->set_policy([manifest = false](const store::StoreCall& call) mutable {
    store::Fault fault;
    if (manifest && call.key == "gc/")
      fault = {.what = store::Fault::What::kFail, .error = store::transient_error()};
    manifest |= call.kind == store::CallKind::kPut;
    return fault;
  });
  auto r = w.commit("b1", {pack});
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, Code::kUnreachable);
  EXPECT_FALSE(committed("b1"));

  faulty->set_policy([manifest = false](const store::StoreCall& call) mutable {
    store::Fault fault;
    if (manifest) fault = {.what = store::Fault::What::kFail, .error = store::transient_error()};
    manifest |= call.kind == store::CallKind::kPut;
    return fault;
  });
  auto stuck = w.commit("b2", {pack});
  ASSERT_FALSE(stuck);
  EXPECT_THAT(stuck.error().describe(), HasSubstr("do not rely on this backup"));
}

TEST_F(CommitTest, APutWhoseReplyIsLostLeavesNoManifest) {
  TestWriter w = faulty_writer();
  const PackId pack = *w.write_pack();
  faulty->set_policy(store::only(
      store::CallKind::kPut,
      store::fault_at(1, {.what = store::Fault::What::kLoseReply, .error = store::transient_error()})));
  EXPECT_EQ(w.commit("b1", {pack}).error().code, Code::kUnreachable);
  EXPECT_FALSE(committed("b1"));
}

TEST_F(CommitTest, AnotherBackupOfTheSameNameIsLeftAlone) {
  backup("b1");
  TestWriter w = faulty_writer();
  const PackId pack = *w.write_pack();
  EXPECT_EQ(w.commit("b1", {pack}).error().code, Code::kExists);
  faulty->set_policy(store::only(
      store::CallKind::kPut,
      store::fault_at(1, {.what = store::Fault::What::kFail, .error = store::transient_error()})));
  EXPECT_EQ(w.commit("b1", {pack}).error().code, Code::kUnreachable);
  EXPECT_TRUE(committed("b1"));
}

TEST_F(CommitTest, AManifestThatNobodyCouldReadIsNotStored) {
  TestWriter w = writer();
  Manifest m = manifest_over("app", "b1", {*w.write_pack()});
  m.tables.push_back({{pack_id({}, 9), 0}, "a", "b", 1});  // in no pack of its
  m.files = 1;
  EXPECT_EQ(commit_manifest(*t.repo, {}, w.pin, m).error().code, Code::kInternal);
  EXPECT_FALSE(committed("b1"));
}

}  // namespace
}  // namespace varve::repo
