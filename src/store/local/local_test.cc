#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "os/trace.h"
#include "store/local/local_store.h"

namespace varve::store {
namespace {

class LocalTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = os::TempDir::create("varve-local");
    ASSERT_TRUE(made);
    dir_.emplace(std::move(*made));
    ASSERT_EQ(::mkdir(root().c_str(), 0700), 0);
    store = LocalStore::open(root(), false).value();
  }
  void TearDown() override { os::set_tracer({}); }

  os::Path root() const { return dir_->path() / "repo"; }
  Result<> put(const Key& key, std::string_view text = "x", PutMode mode = PutMode::kCreateOnly) {
    return put_bytes(*store, {}, key, as_bytes(text), {.mode = mode});
  }
  std::string read(const Key& key) {
    auto b = get_bytes(*store, {}, key, 1 << 20);
    return b ? std::string(as_text(*b)) : "<" + b.error().describe() + ">";
  }
  std::vector<std::string> temporaries() {
    return os::list_directory(root() / ".varve-tmp").value_or(std::vector<std::string>{});
  }
  std::vector<Key> keys() {
    std::vector<Key> out;
    auto done = for_each(*store, {}, "", [&](const ObjectInfo& o) -> Result<> {
      out.push_back(o.key);
      return {};
    });
    EXPECT_TRUE(done) << done.error().describe();
    return out;
  }
  static void fail_calls(os::Op op, int errnum) {
    os::set_tracer([=](const os::Call& c) -> Result<> {
      if (c.op == op) return fail(os::errno_error(errnum, os::op_name(op), c.path));
      return {};
    });
  }

  std::optional<os::TempDir> dir_;
  StorePtr store;
};

TEST_F(LocalTest, FilesAreForTheOwnerAlone) {
  ASSERT_TRUE(put("a/b"));
  EXPECT_EQ((*os::status(root() / "a/b"))->mode & 0777, 0400u);
  EXPECT_EQ((*os::status(root() / "a"))->mode & 0777, 0700u);
  EXPECT_EQ((*os::status(root() / ".varve-tmp"))->mode & 0777, 0700u);
  EXPECT_TRUE(temporaries().empty());
}

TEST_F(LocalTest, WhatIsNoObjectIsNotListed) {
  ASSERT_TRUE(put("a/b"));
  ::mkdir((root() / "lost+found").c_str(), 0);
  ::mkdir((root() / "empty").c_str(), 0700);
  std::ofstream(root() / ".hidden") << "x";
  std::ofstream(root() / "a/with space") << "x";
  std::ofstream(root() / ".varve-tmp/left") << "x";
  ASSERT_EQ(::mkfifo((root() / "a/fifo").c_str(), 0600), 0);
  EXPECT_EQ(keys(), std::vector<Key>{"a/b"});
  EXPECT_EQ(store->head({}, "a/fifo").error().code, Code::kNotFound);
}

TEST_F(LocalTest, LinksAreNotFollowed) {
  const os::Path outside = dir_->path() / "outside";
  ASSERT_EQ(::mkdir(outside.c_str(), 0700), 0);
  std::ofstream(outside / "secret") << "secret";
  ASSERT_EQ(::symlink(outside.c_str(), (root() / "packs").c_str()), 0);
  ASSERT_EQ(::symlink((outside / "secret").c_str(), (root() / "file").c_str()), 0);
  for (const auto& refused : {put("packs/new"), put("file", "y", PutMode::kUnconditional),
                              remove_one(*store, {}, "packs/secret"), remove_one(*store, {}, "file")}) {
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kDenied);
    EXPECT_NE(refused.error().message.find("symbolic link"), std::string::npos);
  }
  EXPECT_EQ(store->head({}, "packs/secret").error().code, Code::kDenied);
  EXPECT_EQ(get_bytes(*store, {}, "file", 100).error().code, Code::kDenied);
  for (const char* prefix : {"", "packs/", "packs/s", "fi"})
    EXPECT_EQ(store->list({}, prefix, "").error().code, Code::kDenied) << prefix;
  EXPECT_EQ(*os::list_directory(outside), std::vector<std::string>{"secret"});
  // The folder itself may be reached by a link: that is the address's affair.
  ASSERT_EQ(::symlink(root().c_str(), (dir_->path() / "link").c_str()), 0);
  EXPECT_EQ((*LocalStore::open(dir_->path() / "link", false))->describe(), "file://" + root().native());
}

TEST_F(LocalTest, LeftOversOfCrashesGoAfterADay) {
  ASSERT_TRUE(put("a"));
  for (const char* name : {"old", "young"}) std::ofstream(root() / ".varve-tmp" / name) << "x";
  const timeval long_ago[2] = {{::time(nullptr) - 25 * 3600, 0}, {::time(nullptr) - 25 * 3600, 0}};
  ASSERT_EQ(::utimes((root() / ".varve-tmp/old").c_str(), long_ago), 0);
  ASSERT_TRUE(put("b"));
  EXPECT_EQ(temporaries().size(), 2u) << "once in the life of a store";
  store = LocalStore::open(root(), false).value();
  EXPECT_EQ(read("a"), "x");
  EXPECT_EQ(temporaries().size(), 2u) << "reading changes nothing";
  ASSERT_TRUE(put("c"));
  EXPECT_EQ(temporaries(), std::vector<std::string>{"young"});
  // Or when somebody asks for it.
  std::ofstream(root() / ".varve-tmp/old") << "x";
  ASSERT_EQ(::utimes((root() / ".varve-tmp/old").c_str(), long_ago), 0);
  EXPECT_EQ(store->remove_unfinished({}, std::chrono::hours(26)).value(), 0u);
  EXPECT_EQ(store->remove_unfinished({}, std::chrono::hours(24)).value(), 1u);
  EXPECT_EQ(temporaries(), std::vector<std::string>{"young"});
  EXPECT_EQ(store->remove_unfinished({}, std::chrono::seconds(-1)).value(), 1u);
  EXPECT_EQ(read("a") + read("b") + read("c"), "xxx");
}

TEST_F(LocalTest, AFailedPutLeavesNothing) {
  for (os::Op op : {os::Op::kCreate, os::Op::kWrite, os::Op::kSync, os::Op::kLink, os::Op::kMkdir}) {
    fail_calls(op, ENOSPC);
    auto done = put(fmt::format("a{}/b", static_cast<int>(op)));
    os::set_tracer({});
    ASSERT_FALSE(done) << os::op_name(op);
    EXPECT_EQ(done.error().code, Code::kNoSpace);
    EXPECT_NE(done.error().hint.find("free some space"), std::string::npos);
    EXPECT_TRUE(temporaries().empty()) << os::op_name(op);
    EXPECT_TRUE(keys().empty()) << os::op_name(op);
  }
  fail_calls(os::Op::kSyncDir, EIO);
  EXPECT_EQ(put("a/b").error().code, Code::kIo);
  os::set_tracer({});
  EXPECT_TRUE(put("c"));
}

TEST_F(LocalTest, WithoutHardLinksARenameThatDoesNotReplace) {
  os::set_tracer([](const os::Call& c) -> Result<> {
    if (c.op == os::Op::kLink) return fail(Code::kUnsupported, "no links here");
    return {};
  });
  ASSERT_TRUE(put("a/b", "first"));
  EXPECT_EQ(put("a/b", "second").error().code, Code::kExists);
  EXPECT_EQ(read("a/b"), "first");
  EXPECT_TRUE(temporaries().empty());
  // Taken between the look and the rename.
  os::set_tracer([](const os::Call& c) -> Result<> {
    if (c.op == os::Op::kRename) std::ofstream(c.other) << "theirs";
    return {};
  });
  EXPECT_EQ(put("a/c", "ours").error().code, Code::kExists);
  EXPECT_EQ(read("a/c"), "theirs");
  os::set_tracer([](const os::Call& c) -> Result<> {
    if (c.op == os::Op::kRename || c.op == os::Op::kLink) return fail(Code::kUnsupported, "nor that");
    return {};
  });
  auto done = put("a/d");
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kUnsupported);
  EXPECT_FALSE(done.error().hint.empty());
}

TEST_F(LocalTest, ALinkWhoseAnswerWasLostIsOurs) {
  os::set_tracer([](const os::Call& c) -> Result<> {
    if (c.op != os::Op::kLink) return {};
    EXPECT_EQ(::link(c.path.c_str(), c.other.c_str()), 0);
    return fail(os::errno_error(EEXIST, "link", c.other));
  });
  EXPECT_TRUE(put("a", "ours"));
  EXPECT_EQ(read("a"), "ours");
}

TEST_F(LocalTest, AFolderTidiedAwayMeanwhileIsMadeAgain) {
  ASSERT_TRUE(put("d/e/first"));
  ASSERT_TRUE(remove_one(*store, {}, "d/e/first"));
  int left = 2;
  os::set_tracer([&](const os::Call& c) -> Result<> {
    if (c.op == os::Op::kLink && left-- > 0) {
      ::rmdir((root() / "d/e").c_str());
      ::rmdir((root() / "d").c_str());
    }
    return {};
  });
  auto done = put("d/e/second", "there");
  EXPECT_TRUE(done) << done.error().describe();
  EXPECT_EQ(read("d/e/second"), "there");
}

TEST_F(LocalTest, AnUnmountedFolderIsNotFilled) {
  ASSERT_TRUE(put("a"));
  ASSERT_EQ(::rename(root().c_str(), (dir_->path() / "away").c_str()), 0);
  EXPECT_EQ(put("b").error().code, Code::kUnreachable);
  ASSERT_EQ(::mkdir(root().c_str(), 0700), 0);  // what was below the mount point
  auto done = put("b");
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kUnreachable);
  EXPECT_NE(done.error().hint.find("unmounted"), std::string::npos);
  EXPECT_TRUE(os::list_directory(root())->empty());
}

TEST_F(LocalTest, UnwritableFolder) {
  if (::geteuid() == 0) {
    // root may write anywhere: what the system would say is said in its place
    fail_calls(os::Op::kMkdir, EACCES);
  } else {
    ::chmod(root().c_str(), 0500);
  }
  auto done = put("a");
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kDenied);
  EXPECT_FALSE(done.error().hint.empty());
}

TEST_F(LocalTest, AStopInAPutLeavesNothing) {
  std::stop_source source;
  Context ctx;
  ctx.stop = source.get_token();
  os::set_tracer([&](const os::Call& c) -> Result<> {
    if (c.op == os::Op::kWrite) source.request_stop();
    return {};
  });
  const std::string body(5 << 20, 'x');
  EXPECT_EQ(put_bytes(*store, ctx, "a", as_bytes(body)).error().code, Code::kInterrupted);
  os::set_tracer({});
  EXPECT_TRUE(temporaries().empty());
  EXPECT_TRUE(keys().empty());
}

// More names in a folder than a page's heap holds, beside folders that turn out to be empty.
TEST_F(LocalTest, LargeFoldersAreListedInPartsOfBoundedSize) {
  std::vector<Key> expected;
  ::mkdir((root() / "k").c_str(), 0700);
  for (int i = 0; i < 2000; ++i) {
    const Key key = fmt::format("k/{:05}", i);
    if (i % 4 == 0) {
      ::mkdir((root() / key).c_str(), 0700);
      continue;
    }
    std::ofstream(root() / key) << i;
    expected.push_back(key);
  }
  EXPECT_EQ(keys(), expected);
  std::vector<Key> paged;
  std::string token;
  do {
    auto page = store->list({}, "k/", token, 300);
    ASSERT_TRUE(page) << page.error().describe();
    for (const ObjectInfo& o : page->objects) paged.push_back(o.key);
    token = page->next;
  } while (!token.empty());
  EXPECT_EQ(paged, expected);
  EXPECT_EQ(store->list({}, "k/", "k/01990", 3)->objects.front().key, "k/01991");
  EXPECT_EQ(store->list({}, "k/", "", 1499)->next, "k/01998");
  EXPECT_EQ(store->list({}, "k/", "", 1500)->next, "");
}

}  // namespace
}  // namespace varve::store
