// The keys of a repository, and its recovery kit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/text.h"
#include "repo/repository_for_test.h"
#include "store/wrap/fault.h"

namespace varve::repo {
namespace {

using testing::HasSubstr;

TEST(RepositoryKeys, ManyKeysEachOpen) {
  const TestRepository t;
  ASSERT_TRUE(t.repo->put_object({}, "pin", "pins/a", as_bytes("x")));
  const std::string second = generate_key_file();
  auto added = t.repo->add_key({}, file_key(second), "in the safe");
  ASSERT_TRUE(added) << added.error().describe();
  EXPECT_EQ(added->kind, "key-file");
  EXPECT_FALSE(added->current);
  ASSERT_TRUE(t.repo->add_key({}, passphrase("a passphrase"), ""));
  for (const KeySource& key : {t.key(), file_key(second), passphrase("a passphrase")}) {
    auto r = Repository::open({}, t.mem, key);
    ASSERT_TRUE(r) << r.error().describe();
    EXPECT_TRUE((*r)->get_object({}, "pin", "pins/a"));
  }
  auto keys = t.repo->list_keys({});
  ASSERT_TRUE(keys);
  ASSERT_EQ(keys->size(), 3u);
  EXPECT_EQ(std::count_if(keys->begin(), keys->end(), [](const auto& k) { return k.current; }), 1);
  EXPECT_EQ(std::count_if(keys->begin(), keys->end(), [](const auto& k) { return k.label == "in the safe"; }),
            1);
}

TEST(RepositoryKeys, TheLastAndTheCurrentAreKept) {
  const TestRepository t;
  const std::string first = t.repo->list_keys({})->front().id;
  EXPECT_EQ(t.repo->remove_key({}, first, true).error().code, Code::kConflict) << "the last";
  const std::string second = generate_key_file();
  ASSERT_TRUE(t.repo->add_key({}, file_key(second), ""));
  EXPECT_EQ(t.repo->remove_key({}, first, false).error().code, Code::kConflict) << "in use";
  EXPECT_EQ(t.repo->remove_key({}, "0123456789abcdef", false).error().code, Code::kNotFound);
  ASSERT_TRUE(t.repo->remove_key({}, first, true));
  EXPECT_EQ(t.open().error().code, Code::kUsage);
  EXPECT_TRUE(Repository::open({}, t.mem, file_key(second)));
}

TEST(RepositoryKeys, TwoWhoRemoveTheLastTwoLeaveOne) {
  const TestRepository t;
  const std::string first = t.repo->list_keys({})->front().id;
  auto second = t.repo->add_key({}, file_key(generate_key_file()), "");
  ASSERT_TRUE(second);
  auto slow = std::make_shared<store::FaultStore>(t.mem);
  auto other = t.open(slow);
  ASSERT_TRUE(other);
  bool done = false;
  slow->set_policy([&](const store::StoreCall& call) {
    if (!done && call.kind == store::CallKind::kRemove) {
      done = true;
      EXPECT_TRUE(t.repo->remove_key({}, second->id, true));
    }
    return store::Fault{};
  });
  EXPECT_EQ((*other)->remove_key({}, first, true).error().code, Code::kConflict);
  EXPECT_TRUE(t.open());
}

TEST(RepositoryKeys, ADamagedKeyObjectHidesNoGoodOne) {
  const TestRepository t;
  ASSERT_TRUE(store::put_bytes(*t.mem, {}, "keys/0000000000000000", as_bytes("{}")));
  ASSERT_TRUE(store::put_bytes(*t.mem, {}, "keys/ffffffffffffffff", Buffer(100000, std::byte{'x'})));
  EXPECT_TRUE(t.open());
  EXPECT_EQ(t.repo->list_keys({})->size(), 1u);
  const std::string only = t.repo->list_keys({})->front().id;
  EXPECT_EQ(t.repo->remove_key({}, only, true).error().code, Code::kConflict) << "the damaged do not count";
  EXPECT_TRUE(t.repo->remove_key({}, "0000000000000000", false));
}

TEST(RepositoryKeys, ObjectsOfAnotherRepositoryOpenNothing) {
  const TestRepository t, other;
  const store::Key theirs = other.names("keys/").front();
  ASSERT_TRUE(store::put_bytes(*t.mem, {}, theirs, other.bytes(theirs)));
  EXPECT_TRUE(t.open()) << "left by an init that did not end: harmless";
  auto r = Repository::open({}, t.mem, other.key());
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, Code::kUsage);
}

TEST(RepositoryKeys, KeyFilesAreTakenStrictly) {
  const TestRepository t;
  const std::string good = t.key_file;
  EXPECT_TRUE(Repository::open({}, t.mem, file_key(good.substr(0, good.size() - 1))))
      << "without the line's end";
  for (const std::string& bad :
       {good + "\n", " " + good, good.substr(1), std::string("VARVE-KEY-1 \n"), std::string("x"),
        good.substr(0, good.size() - 6) + "\n", std::string("VARVE-KEY-2") + good.substr(11)}) {
    auto r = Repository::open({}, t.mem, file_key(bad));
    ASSERT_FALSE(r) << bad;
    EXPECT_EQ(r.error().code, Code::kUsage);
    EXPECT_THAT(r.error().message, HasSubstr("not one that varve made"));
    EXPECT_THAT(r.error().describe(), Not(HasSubstr(good.substr(20, 10))))
        << "nothing of the key in an error";
  }
}

TEST(RepositoryKeys, AnyLabelCanBeReadAgain) {
  const TestRepository t;
  for (const std::string& label :
       {std::string("Schl\u00fcssel \"2\"\n\\"), std::string("\xff\xfe"), std::string(200, 'x')}) {
    const std::string file = generate_key_file();
    auto added = t.repo->add_key({}, file_key(file), label);
    ASSERT_TRUE(added) << added.error().describe();
    EXPECT_TRUE(Repository::open({}, t.mem, file_key(file))) << label;
  }
  EXPECT_EQ(t.repo->add_key({}, file_key(generate_key_file()), std::string(1000, 'x')).error().code,
            Code::kUsage);
  EXPECT_EQ(t.names("keys/").size(), 4u);
}

TEST(RecoveryKit, IsOnePageWithoutSecrets) {
  auto mem = std::make_shared<store::MemStore>();
  auto repo = Repository::create({}, mem, passphrase("hunter2"), {});
  ASSERT_TRUE(repo);
  auto kit = (*repo)->recovery_kit({}, "s3://backups/prod");
  ASSERT_TRUE(kit);
  EXPECT_THAT(*kit, HasSubstr("s3://backups/prod"));
  EXPECT_THAT(*kit, HasSubstr((*repo)->id().hex()));
  EXPECT_THAT(*kit, HasSubstr("varve restore"));
  EXPECT_THAT(*kit, Not(HasSubstr("hunter2")));
  size_t lines = 0;
  for (std::string_view line : split(*kit, '\n')) {
    EXPECT_LE(line.size(), 80u) << line;
    ++lines;
  }
  EXPECT_LE(lines, 72u);
}

TEST(RecoveryKit, BringsBackWhatIsLostOrDamaged) {
  const TestRepository t;
  ASSERT_TRUE(t.repo->put_object({}, "pin", "pins/a", as_bytes("x")));
  const std::string kit = *t.repo->recovery_kit({}, "file:///srv");
  const store::Key key = t.names("keys/").front();
  auto nothing = Repository::restore_from_kit({}, *t.mem, kit);
  ASSERT_TRUE(nothing) << nothing.error().describe();
  EXPECT_TRUE(nothing->empty());

  ASSERT_TRUE(store::remove_one(*t.mem, {}, key));
  EXPECT_EQ(t.open().error().code, Code::kDamaged);
  ASSERT_TRUE(store::remove_one(*t.mem, {}, "varve.json"));
  EXPECT_EQ(*Repository::restore_from_kit({}, *t.mem, kit), (std::vector<store::Key>{key, "varve.json"}));
  ASSERT_TRUE(t.open());

  t.overwrite(key, as_bytes("rot"));
  t.overwrite("varve.json", Buffer(1 << 17, std::byte{'x'}));
  EXPECT_EQ(Repository::restore_from_kit({}, *t.mem, kit)->size(), 2u);
  ASSERT_TRUE(t.open());
  EXPECT_TRUE((*t.open())->get_object({}, "pin", "pins/a"));

  std::string mailed;  // as some programs save a text
  for (char c : kit) mailed += c == '\n' ? std::string("\r\n") : std::string(1, c);
  ASSERT_TRUE(store::remove_one(*t.mem, {}, key));
  EXPECT_TRUE(Repository::restore_from_kit({}, *t.mem, mailed));
  EXPECT_TRUE(t.open());
}

TEST(RecoveryKit, IsRefusedWhenItDoesNotFit) {
  const TestRepository t, other;
  const std::string kit = *t.repo->recovery_kit({}, "file:///srv");
  const store::Key key = t.names("keys/").front();
  auto theirs = Repository::restore_from_kit({}, *other.mem, kit);
  ASSERT_FALSE(theirs);
  EXPECT_EQ(theirs.error().code, Code::kConflict);
  EXPECT_TRUE(other.open());
  EXPECT_EQ(other.names().size(), 2u) << "nothing was written";

  ASSERT_TRUE(store::remove_one(*t.mem, {}, key));
  std::string typo = kit;
  typo[typo.find("\"wrapped\"") + 20] ^= 1;
  EXPECT_EQ(Repository::restore_from_kit({}, *t.mem, typo).error().code, Code::kDamaged);
  EXPECT_EQ(Repository::restore_from_kit({}, *t.mem, kit.substr(0, kit.size() - 200)).error().code,
            Code::kDamaged);
  EXPECT_EQ(Repository::restore_from_kit({}, *t.mem, "shopping list").error().code, Code::kUsage);
  const std::string smuggled = "-----BEGIN packs/00/x-----\nx\n-----END packs/00/x-----\n";
  EXPECT_EQ(Repository::restore_from_kit({}, *t.mem, kit + smuggled).error().code, Code::kDamaged);
  EXPECT_EQ(t.names("keys/").size(), 0u);
}

}  // namespace
}  // namespace varve::repo
