// Copies of what is damaged or missing, at either end; and what is locked.
#include "backup/copy_for_test.h"

namespace varve::backup {
namespace {

class CopyDamage : public CopyCase {};
INSTANTIATE_TEST_SUITE_P(Key, CopyDamage, ::testing::Bool(), key_name);

TEST_P(CopyDamage, DamagedAtTheOriginal) {
  const auto sound = t_.mem->snapshot();
  for (const auto& [key, object] : sound) {
    if (is_left_alone(key) || key == "varve.json") continue;
    t_.mem->restore(sound);
    to_ = std::make_shared<MemStore>("copy");
    Buffer bytes = t_.bytes(key);
    bytes[bytes.size() / 2] ^= std::byte{4};
    t_.overwrite(key, bytes);
    const CopyReport r = run_copy(t_.mem, to_, options());
    if (key.find("/mark-") == key.npos) {
      ASSERT_FALSE(r.problems.empty()) << key;
      bool named = false;
      for (const auto& p : r.problems) named = named || (p.object == key && p.kind == "damaged");
      EXPECT_TRUE(named) << key << text_of(r);
    }
    EXPECT_FALSE(names(*to_).contains(key)) << key;
    if (key.starts_with("keys/")) continue;  // the only one: it is not opened again
    // What is there of backups is whole, and the others came.
    auto repo = open_copy();
    ASSERT_TRUE(repo) << repo.error().describe();
    size_t backups = 0;
    for (TestSource* source : {&app_, &shop_}) {
      const auto ids = repo::list_backup_ids(**repo, {}, source->name());
      ASSERT_TRUE(ids);
      for (const std::string& id : *ids) {
        auto back = source->restore(*repo, id);
        EXPECT_TRUE(back) << key << ": " << back.error().describe();
        ++backups;
      }
    }
    if (key.find("/backups/") != key.npos) {
      EXPECT_EQ(backups, 3u);
    } else if (!key.starts_with("packs/")) {
      EXPECT_EQ(backups, 4u);
    } else if (keyed()) {
      EXPECT_GE(backups, 1u);
      EXPECT_LT(backups, 4u);
    } else {
      EXPECT_EQ(backups, 0u) << "without the key it cannot be told which need it";
      EXPECT_FALSE(r.notes.empty());
    }
    // Mended, the rest follows.
    t_.mem->restore(sound);
    copy_all();
    expect_sound(true);
  }
}

TEST_P(CopyDamage, AMissingPack) {
  // Of a source without a log: where a log's base is lost, its log is copied for the backups that stand on
  // it, and stands without it at the copy too.
  const auto backups = repo::load_manifests(*t_.repo, {}, shop_.name());
  ASSERT_TRUE(backups);
  const std::string pack = repo::pack_key(backups->manifests.back().packs.back().id);
  ASSERT_TRUE(store::remove_one(*t_.mem, {}, pack));
  const CopyReport r = run_copy(t_.mem, to_, options());
  if (!keyed()) return;  // cannot be noticed
  ASSERT_EQ(r.problems.size(), 1u) << text_of(r);
  EXPECT_EQ(r.problems[0].object, pack);
  EXPECT_EQ(r.problems[0].kind, "missing");
  EXPECT_FALSE(r.problems[0].affects.empty());
  expect_sound(false);
}

// A store that stores something else than it was given, once in a while.
class Lossy : public store::Forward {
 public:
  Lossy(store::StorePtr inner, uint64_t at) : Forward(std::move(inner)), left_(at) {}
  Result<> put(const Context& ctx, const store::Key& key, store::Body body,
               const store::PutOptions& options) override {
    if (key.starts_with("copies/") || --left_ != 0) return inner().put(ctx, key, body, options);
    struck = key;
    Buffer bytes;
    for (const ByteView& part : body) append(bytes, part);
    bytes[bytes.size() / 2] ^= std::byte{1};
    return store::put_bytes(inner(), ctx, key, bytes, options);
  }
  std::string struck;

 private:
  std::atomic<uint64_t> left_;
};

TEST_P(CopyDamage, VerifiedOnArrival) {
  const size_t all = copy_all().objects;
  for (uint64_t n = 1; n < all; n += 3) {
    to_ = std::make_shared<MemStore>("copy");
    const auto lossy = std::make_shared<Lossy>(to_, n);
    const CopyReport r = run_copy(t_.mem, lossy, options());
    ASSERT_EQ(r.problems.size(), 1u) << text_of(r);
    EXPECT_EQ(r.problems[0].object, lossy->struck);
    EXPECT_EQ(r.problems[0].at, "mem://copy");
    EXPECT_FALSE(names(*to_).contains(lossy->struck)) << "it must not pass for a good one";
    copy_all();
    expect_sound(true);
  }
}

TEST_P(CopyDamage, DeepFindsWhatWasDamagedAtEitherAndRepairs) {
  copy_all();
  const auto sound = to_->snapshot();
  const auto original = t_.mem->snapshot();
  CopyOptions deep = options();
  deep.deep = true;
  EXPECT_TRUE(run_copy(t_.mem, to_, deep).problems.empty());
  for (const auto& [key, object] : sound) {
    if (key == "varve.json" || key.find("/holds/") != key.npos || key.find("/mark-") != key.npos) continue;
    SCOPED_TRACE(key);
    Buffer bytes = t_.bytes(key);
    bytes[bytes.size() / 2] ^= std::byte{4};
    // At the copy.
    ASSERT_TRUE(store::put_bytes(*to_, {}, key, bytes, {.mode = store::PutMode::kUnconditional}));
    const CopyReport found = run_copy(t_.mem, to_, deep);
    ASSERT_EQ(found.problems.size(), 1u) << text_of(found);
    EXPECT_EQ(found.problems[0].object, key);
    EXPECT_EQ(found.problems[0].at, "mem://copy");
    CopyOptions repair = deep;
    repair.repair = true;
    const CopyReport repaired = run_copy(t_.mem, to_, repair);
    EXPECT_TRUE(repaired.problems.empty()) << text_of(repaired);
    EXPECT_EQ(repaired.repaired, 1u);
    EXPECT_EQ(*store::get_bytes(*to_, {}, key, 1 << 30), t_.bytes(key));
    // At the original: the copy is left as it is.
    t_.overwrite(key, bytes);
    const CopyReport other = run_copy(t_.mem, to_, repair);
    ASSERT_EQ(other.problems.size(), 1u) << text_of(other);
    EXPECT_EQ(other.problems[0].at, t_.mem->describe());
    EXPECT_NE(*store::get_bytes(*to_, {}, key, 1 << 30), bytes);
    t_.mem->restore(original);
  }
  expect_sound(true);
}

TEST_P(CopyDamage, ACutShortObjectAtTheCopyIsNoticedWithoutDeep) {
  copy_all();
  std::string piece;
  for (const std::string& key : names(*to_))
    if (key.find("/log/") != key.npos && key.find("/mark-") == key.npos) piece = key;
  const Buffer bytes = t_.bytes(piece);
  ASSERT_TRUE(
      store::put_bytes(*to_, {}, piece, ByteView(bytes).first(40), {.mode = store::PutMode::kUnconditional}));
  CopyOptions o = options();
  EXPECT_EQ(run_copy(t_.mem, to_, o).problems.size(), 1u);
  o.repair = true;
  EXPECT_EQ(run_copy(t_.mem, to_, o).repaired, 1u);
  expect_sound(true);
}

TEST_P(CopyDamage, LockedForAsLongAsWasPromised) {
  CopyOptions o = options();
  o.retain = std::chrono::days(10);
  to_->set_clock([] { return now() - std::chrono::days(5); });
  EXPECT_TRUE(run_copy(t_.mem, to_, o).problems.empty());
  for (const auto& [key, object] : to_->snapshot()) {
    if (key.find("/holds/") != key.npos || key.find("/mark-") != key.npos) continue;
    ASSERT_TRUE(object.retain_until) << key;
    EXPECT_GT(*object.retain_until, now() + std::chrono::days(10)) << key;
  }
  to_->set_clock({});
  shop_.pass(Seconds(60));
  shop_.change(1);
  shop_.backup(shop_.backups().begin()->first);
  const auto counting = std::make_shared<FaultStore>(to_);
  const CopyReport r = run_copy(t_.mem, counting, o);
  EXPECT_EQ(r.backups, 1u);
  bool packs = false, manifest = false, keys = false;
  for (const auto& call : counting->calls()) {
    if (call.kind != store::CallKind::kExtend) continue;
    packs = packs || call.key.starts_with("packs/");
    manifest = manifest || call.key.find("/backups/") != call.key.npos;
    keys = keys || call.key.starts_with("keys/");
  }
  EXPECT_EQ(packs, keyed()) << "those that the new backup shares with the old one";
  EXPECT_TRUE(manifest);
  EXPECT_TRUE(keys);
  expect_sound(true);

  class Unable : public store::Forward {
   public:
    using Forward::Forward;
    store::Capabilities capabilities() const override { return {}; }
  };
  Progress progress;
  auto refused = copy({}, t_.mem, std::make_shared<Unable>(to_), o, progress);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnsupported);
}

}  // namespace
}  // namespace varve::backup
