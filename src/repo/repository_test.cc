#include "repo/repository.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/text.h"
#include "repo/probe.h"
#include "repo/repository_for_test.h"
#include "repo/sealed_json.h"
#include "store/wrap/fault.h"

namespace varve::repo {
namespace {

using store::MemStore;
using testing::HasSubstr;

Result<RepositoryPtr> create(store::StorePtr s, const KeySource& key, Encryption e = Encryption::kAes256Gcm) {
  return Repository::create({}, std::move(s), key, {e});
}

// The same text with another value and a checksum that fits: what a forger would write.
std::string forged(std::string text, std::string_view from, std::string_view to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos);
  text.replace(at, from.size(), to);
  auto json = nlohmann::ordered_json::parse(text);
  json.erase("checksum");
  return json_with_checksum(json);
}

TEST(RepositoryTest, OpensWithItsKeyOnly) {
  auto mem = std::make_shared<MemStore>();
  auto made = create(mem, passphrase("correct horse"));
  ASSERT_TRUE(made) << made.error().describe();
  ASSERT_TRUE((*made)->put_object({}, "pin", "pins/a", as_bytes("x")));

  auto again = Repository::open({}, mem, passphrase("correct horse"));
  ASSERT_TRUE(again) << again.error().describe();
  EXPECT_EQ((*again)->id(), (*made)->id());
  EXPECT_TRUE((*again)->get_object({}, "pin", "pins/a"));

  auto wrong = Repository::open({}, mem, passphrase("correct hors"));
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, Code::kUsage);
  EXPECT_THAT(wrong.error().message, HasSubstr("wrong passphrase"));
  EXPECT_THAT(wrong.error().describe(), Not(HasSubstr("hors")));

  auto none = Repository::open({}, mem, {});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Code::kUsage);
  EXPECT_THAT(none.error().message, HasSubstr("no key is given"));

  auto other_kind = Repository::open({}, mem, file_key(generate_key_file()));
  ASSERT_FALSE(other_kind);
  EXPECT_EQ(other_kind.error().code, Code::kUsage);
  EXPECT_THAT(other_kind.error().message, HasSubstr("not opened by a key file"));
}

TEST(RepositoryTest, UnencryptedOnlyWhenSaid) {
  auto mem = std::make_shared<MemStore>();
  EXPECT_EQ(create(mem, {}).error().code, Code::kUsage) << "encrypted without a key";
  EXPECT_EQ(create(mem, passphrase("x"), Encryption::kNone).error().code, Code::kUsage);
  ASSERT_TRUE(create(mem, {}, Encryption::kNone));
  EXPECT_TRUE(Repository::open({}, mem, {}));
  EXPECT_EQ(Repository::open({}, mem, passphrase("x")).error().code, Code::kUsage);
}

TEST(RepositoryTest, ThereAndNotThere) {
  auto mem = std::make_shared<MemStore>();
  auto none = Repository::open({}, mem, passphrase("x"));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Code::kNotFound);
  EXPECT_THAT(none.error().hint, HasSubstr("varve init"));
  ASSERT_TRUE(create(mem, {}, Encryption::kNone));
  EXPECT_EQ(create(mem, {}, Encryption::kNone).error().code, Code::kExists);
}

TEST(RepositoryTest, NotBesideOtherThings) {
  auto foreign = std::make_shared<MemStore>();
  ASSERT_TRUE(store::put_bytes(*foreign, {}, "photos/cat.jpg", as_bytes("x")));
  auto r = create(foreign, {}, Encryption::kNone);
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, Code::kConflict);
  EXPECT_THAT(r.error().message, HasSubstr("photos/cat.jpg"));

  TestRepository beheaded(Encryption::kNone);
  ASSERT_TRUE(beheaded.repo->put_object({}, "manifest", "sources/a/backups/b", as_bytes("x")));
  ASSERT_TRUE(store::remove_one(*beheaded.mem, {}, "varve.json"));
  EXPECT_EQ(create(beheaded.mem, {}, Encryption::kNone).error().code, Code::kConflict);
  EXPECT_EQ(beheaded.open().error().code, Code::kDamaged);
}

TEST(RepositoryTest, OnAFolder) {
  auto dir = os::TempDir::create();
  ASSERT_TRUE(dir);
  auto local = store::LocalStore::open(dir->path() / "r", true);
  ASSERT_TRUE(local);
  const std::string key = generate_key_file();
  auto made = create(*local, file_key(key));
  ASSERT_TRUE(made) << made.error().describe();
  EXPECT_TRUE((*made)->config().create_only_honoured);
  EXPECT_TRUE(Repository::open({}, *local, file_key(key)));
}

// What is cut short at any call can be begun again, and leaves no repository that nobody can open.
TEST(RepositoryTest, CreatingIsCutAtEveryCall) {
  const std::string key = generate_key_file();
  for (bool reply_lost : {false, true}) {
    for (uint64_t n = 1;; ++n) {
      auto mem = std::make_shared<MemStore>();
      auto faulty = std::make_shared<store::FaultStore>(mem, store::killed_at(n, reply_lost));
      auto first = create(faulty, file_key(key));
      if (first) {
        EXPECT_GT(n, 5u);
        break;
      }
      auto second = create(mem, file_key(key));
      EXPECT_TRUE(second || second.error().code == Code::kExists) << n << ": " << second.error().describe();
      auto opened = Repository::open({}, mem, file_key(key));
      ASSERT_TRUE(opened) << n << ": " << opened.error().describe();
    }
  }
}

TEST(RepositoryTest, OfTwoInitsOneWins) {
  auto mem = std::make_shared<MemStore>();
  const std::string ours = generate_key_file(), theirs = generate_key_file();
  auto slow = std::make_shared<store::FaultStore>(mem);
  bool done = false;
  slow->set_policy([&](const store::StoreCall& call) {
    if (!done && call.kind == store::CallKind::kPut && call.key == "varve.json") {
      done = true;
      EXPECT_TRUE(create(mem, file_key(theirs)));
    }
    return store::Fault{};
  });
  auto lost = create(slow, file_key(ours));
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code, Code::kExists);
  EXPECT_TRUE(Repository::open({}, mem, file_key(theirs)));
  EXPECT_FALSE(Repository::open({}, mem, file_key(ours)));
}

class Overwriting : public store::Forward {
 public:
  using Forward::Forward;
  Result<> put(const Context& ctx, const store::Key& key, store::Body body,
               const store::PutOptions&) override {
    return inner().put(ctx, key, body, {.mode = store::PutMode::kUnconditional});
  }
};

TEST(RepositoryTest, TellsAStoreThatOverwrites) {
  auto mem = std::make_shared<MemStore>();
  auto honest = probe_create_only({}, *mem);
  ASSERT_TRUE(honest);
  EXPECT_TRUE(*honest);
  auto made = create(std::make_shared<Overwriting>(mem), {}, Encryption::kNone);
  ASSERT_TRUE(made) << made.error().describe();
  EXPECT_FALSE((*made)->config().create_only_honoured);
  auto page = mem->list({}, "probe/", "", 10);
  ASSERT_TRUE(page);
  EXPECT_TRUE(page->objects.empty());
}

TEST(RepositoryTest, EveryChangedByteOfItsConfigAndKeysIsFound) {
  const TestRepository t;
  for (const store::Key& name : t.names()) {
    const Buffer good = t.bytes(name);
    for (size_t i = 0; i < good.size(); ++i) {
      Buffer bad = good;
      bad[i] ^= std::byte{1};
      t.overwrite(name, bad);
      auto r = t.open();
      ASSERT_FALSE(r) << name << " byte " << i;
      EXPECT_EQ(r.error().code, Code::kDamaged) << name << " byte " << i << ": " << r.error().describe();
    }
    t.overwrite(name, ByteView(good).first(good.size() / 2));
    EXPECT_EQ(t.open().error().code, Code::kDamaged);
    t.overwrite(name, good);
  }
  EXPECT_TRUE(t.open());
}

TEST(RepositoryTest, AForgedConfigOpensWithNoKeyAndSaysSo) {
  const TestRepository t;
  const std::string good(as_text(t.bytes("varve.json")));
  struct Forgery {
    const char *from, *to;
    Code code;
  };
  for (const Forgery& f : {Forgery{"\"create_only\": true", "\"create_only\": false", Code::kDamaged},
                           Forgery{"\"collect\": []", "\"collect\": [\"x\"]", Code::kDamaged},
                           Forgery{"\"created\": \"20", "\"created\": \"19", Code::kDamaged},
                           Forgery{"\"aes-256-gcm\"", "\"none\"", Code::kUsage},
                           Forgery{"\"aes-256-gcm\"", "\"rot13\"", Code::kUnsupported}}) {
    t.overwrite("varve.json", as_bytes(forged(good, f.from, f.to)));
    auto r = t.open();
    ASSERT_FALSE(r) << f.to;
    EXPECT_EQ(r.error().code, f.code) << f.to << ": " << r.error().describe();
  }
  const std::string id = t.repo->id().hex();
  t.overwrite("varve.json", as_bytes(forged(good, id, std::string(32, '0'))));
  auto r = t.open();
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, Code::kDamaged);
  EXPECT_THAT(r.error().message, HasSubstr("another repository"));
}

TEST(RepositoryTest, AForgedKeyObjectIsNotAWrongPassphrase) {
  const TestRepository t;
  const store::Key name = t.names("keys/").front();
  const std::string good(as_text(t.bytes(name)));
  t.overwrite(name, as_bytes(forged(good, "made at init", "spare key")));
  auto r = t.open();
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, Code::kDamaged);
  EXPECT_THAT(r.error().message, HasSubstr("was altered after the key was made"));
}

TEST(RepositoryTest, HostileParametersOfAKeyObjectAreRefused) {
  auto mem = std::make_shared<MemStore>();
  ASSERT_TRUE(create(mem, passphrase("p")));
  const store::Key name = mem->list({}, "keys/", "", 10)->objects.front().key;
  const std::string good(as_text(*store::get_bytes(*mem, {}, name, 1 << 20)));
  const std::string bad = forged(good, "\"memory\": 67108864", "\"memory\": 67108864000000");
  ASSERT_TRUE(store::put_bytes(*mem, {}, name, as_bytes(bad), {.mode = store::PutMode::kUnconditional}));
  EXPECT_EQ(Repository::open({}, mem, passphrase("p")).error().code, Code::kDamaged);
}

TEST(RepositoryTest, ANewerFormatOrFeatureAsksForAnUpdate) {
  TestRepository t(Encryption::kNone);
  const std::string good(as_text(t.bytes("varve.json")));
  const auto open_with = [&](const char* from, const char* to) {
    t.overwrite("varve.json", as_bytes(forged(good, from, to)));
    return t.open();
  };
  for (auto [from, to] :
       {std::pair("\"format\": 1", "\"format\": 2"), std::pair("\"read\": []", "\"read\": [\"erasure\"]")}) {
    auto r = open_with(from, to);
    ASSERT_FALSE(r);
    EXPECT_EQ(r.error().code, Code::kUnsupported);
    EXPECT_THAT(r.error().message, HasSubstr("written by a newer varve"));
    EXPECT_THAT(r.error().hint, HasSubstr("update"));
  }
  auto reader = open_with("\"write\": []", "\"write\": [\"erasure\"]");
  ASSERT_TRUE(reader) << "reading is still possible";
  auto put = (*reader)->put_object({}, "pin", "pins/a", {});
  ASSERT_FALSE(put);
  EXPECT_EQ(put.error().code, Code::kUnsupported);
  EXPECT_THAT(put.error().message, HasSubstr("erasure"));
  EXPECT_TRUE((*reader)->check_may_collect());
  auto keeper = open_with("\"collect\": []", "\"collect\": [\"locks\"]");
  ASSERT_TRUE(keeper);
  EXPECT_EQ((*keeper)->check_may_collect().error().code, Code::kUnsupported);
}

TEST(RepositoryTest, PageIdentitiesAreTheRepositorysOwn) {
  const TestRepository a, b;
  const Buffer page(4096, std::byte{7});
  EXPECT_EQ(a.repo->page_hasher()(page), (*a.open())->page_hasher()(page));
  EXPECT_NE(a.repo->page_hasher()(page), b.repo->page_hasher()(page));
}

TEST(Abilities, EachThatIsDeniedIsNamed) {
  auto mem = std::make_shared<store::MemStore>();
  auto faulty = std::make_shared<store::FaultStore>(mem);
  const auto denied = [&] {
    std::string out;
    for (const Ability& a : probe_abilities({}, *faulty, now() + std::chrono::hours(1)))
      if (!a.tried) out += std::string(out.empty() ? "" : " ") + a.what;
    return out;
  };
  ASSERT_TRUE(store::put_bytes(*mem, {}, "varve.json", as_bytes("{}")));
  EXPECT_EQ(denied(), "");
  EXPECT_TRUE(mem->list({}, "probe/", "", 10)->objects.empty());
  const std::pair<store::CallKind, const char*> kinds[] = {{store::CallKind::kPut, "put"},
                                                           {store::CallKind::kGet, "get"},
                                                           {store::CallKind::kList, "list"},
                                                           {store::CallKind::kRemove, "remove"},
                                                           {store::CallKind::kExtend, "lock"}};
  for (const auto& [kind, name] : kinds) {
    faulty->set_policy(store::only(kind, store::fault_at(1, {.what = store::Fault::What::kFail,
                                                             .error = Error{Code::kDenied, "forbidden"}})));
    EXPECT_EQ(denied(), name);
  }
}

}  // namespace
}  // namespace varve::repo
