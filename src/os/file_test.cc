#include "os/file.h"

#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/trace.h"

namespace varve::os {
namespace {

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = TempDir::create("varve-file-test");
    ASSERT_TRUE(made) << made.error().describe();
    dir_.emplace(std::move(*made));
  }
  Path at(const std::string& name) const { return dir_->path() / name; }
  void write(const std::string& name, std::string_view text) {
    std::filesystem::create_directories(at(name).parent_path());
    std::ofstream(at(name), std::ios::binary) << text;
  }
  std::optional<TempDir> dir_;
};

TEST_F(FileTest, WritesAndReadsAtOffsets) {
  auto file = File::open(at("a"), File::Mode::kCreateNew);
  ASSERT_TRUE(file) << file.error().describe();
  ASSERT_TRUE(file->write_at(5, as_bytes("world")));
  ASSERT_TRUE(file->write_at(0, as_bytes("hello")));
  EXPECT_EQ(*file->size(), 10u);
  Buffer out(20);
  EXPECT_EQ(*file->read_at(3, out), 7u);
  EXPECT_EQ(as_text(ByteView(out).first(7)), "loworld");
  EXPECT_EQ(*file->read_at(10, out), 0u);
  auto exact = file->read_exact_at(3, out);
  ASSERT_FALSE(exact);
  EXPECT_EQ(exact.error().code, Code::kDamaged);
  EXPECT_NE(exact.error().message.find("is shorter than expected"), std::string::npos);
  ASSERT_TRUE(file->truncate(4));
  EXPECT_EQ(file->status()->size, 4u);
  EXPECT_TRUE(file->status()->is_regular);
  ASSERT_TRUE(file->sync());
  ASSERT_TRUE(file->close());
  EXPECT_FALSE(file->is_open());
  EXPECT_EQ(as_text(*read_file(at("a"), 100)), "hell");
}

TEST_F(FileTest, OpenModes) {
  EXPECT_EQ(File::open(at("a"), File::Mode::kReadWrite).error().code, Code::kNotFound);
  ASSERT_TRUE(File::open(at("a"), File::Mode::kCreateNew, 0400));
  EXPECT_EQ(File::open(at("a"), File::Mode::kCreateNew).error().code, Code::kExists);
  EXPECT_EQ((*os::status(at("a")))->mode & 0777, 0400u);
  auto file = File::open(at("a"), File::Mode::kRead);
  File moved = std::move(*file);
  EXPECT_FALSE(file->is_open());
  EXPECT_TRUE(moved.is_open());
}

TEST_F(FileTest, ReadFileHoldsToItsBound) {
  write("a", std::string(1000, 'x'));
  EXPECT_EQ(read_file(at("a"), 1000)->size(), 1000u);
  EXPECT_EQ(read_file(at("a"), 999).error().code, Code::kDamaged);
  EXPECT_EQ(read_file(at("b"), 10).error().code, Code::kNotFound);
  EXPECT_EQ(read_file(dir_->path(), 10).error().code, Code::kIo);
  write("empty", "");
  EXPECT_TRUE(read_file(at("empty"), 0)->empty());
  EXPECT_FALSE(read_file("/proc/self/stat", 1 << 16)->empty());  // says its size is 0
}

TEST_F(FileTest, ReplaceLeavesOldOrNewAndNothingElse) {
  ASSERT_TRUE(replace_file(at("a"), as_bytes("one")));
  ASSERT_TRUE(replace_file(at("a"), as_bytes("two"), 0640));
  EXPECT_EQ(as_text(*read_file(at("a"), 10)), "two");
  EXPECT_EQ((*os::status(at("a")))->mode & 0777, 0640u);
  for (Op failing : {Op::kCreate, Op::kWrite, Op::kSync, Op::kRename}) {
    set_tracer([&](const Call& c) -> Result<> {
      if (c.op == failing) return fail(errno_error(ENOSPC, op_name(c.op), c.path));
      return {};
    });
    EXPECT_EQ(replace_file(at("a"), as_bytes("three")).error().code, Code::kNoSpace);
    set_tracer({});
    EXPECT_EQ(as_text(*read_file(at("a"), 10)), "two");
    EXPECT_EQ(*list_directory(dir_->path()), std::vector<std::string>{"a"});
  }
}

TEST_F(FileTest, DirectoriesAreMadeWithTheirParentsSynced) {
  std::vector<std::string> calls;
  set_tracer([&](const Call& c) -> Result<> {
    calls.push_back(std::string(op_name(c.op)) + " " + c.path.substr(dir_->path().native().size()));
    return {};
  });
  ASSERT_TRUE(make_directories(at("x/y/")));
  set_tracer({});
  EXPECT_EQ(calls, (std::vector<std::string>{"make folder /x", "sync folder ", "make folder /x/y",
                                             "sync folder /x"}));
  EXPECT_TRUE((*os::status(at("x/y")))->is_directory);
  EXPECT_EQ((*os::status(at("x")))->mode & 0777, 0700u);
  ASSERT_TRUE(make_directories(at("x/y")));
  write("file", "");
  EXPECT_EQ(make_directories(at("file/below")).error().code, Code::kIo);
}

TEST_F(FileTest, LinksAndRenamesDoNotReplaceUnlessAsked) {
  write("a", "A");
  write("b", "B");
  EXPECT_EQ(link_file(at("a"), at("b")).error().code, Code::kExists);
  EXPECT_EQ(rename_no_replace(at("a"), at("b")).error().code, Code::kExists);
  EXPECT_EQ(as_text(*read_file(at("b"), 10)), "B");
  ASSERT_TRUE(link_file(at("a"), at("c")));
  EXPECT_EQ((*os::status(at("a")))->inode, (*os::status(at("c")))->inode);
  ASSERT_TRUE(rename_no_replace(at("a"), at("d")));
  ASSERT_TRUE(rename_file(at("d"), at("b")));
  EXPECT_EQ(as_text(*read_file(at("b"), 10)), "A");
  EXPECT_EQ(remove_file(at("a")).error().code, Code::kNotFound);
  ASSERT_TRUE(remove_file(at("b")));
  EXPECT_FALSE(*os::status(at("b")));
}

TEST_F(FileTest, RemoveTreeDoesNotFollowLinks) {
  write("keep/precious", "gold");
  write("tree/a/b/c", "x");
  ASSERT_EQ(::symlink(at("keep").c_str(), at("tree/a/link").c_str()), 0);
  ASSERT_TRUE(remove_tree(at("tree/")));
  EXPECT_FALSE(*os::status(at("tree")));
  EXPECT_EQ(as_text(*read_file(at("keep/precious"), 10)), "gold");
  ASSERT_EQ(::symlink(at("keep").c_str(), at("link").c_str()), 0);
  ASSERT_TRUE(remove_tree(at("link")));
  EXPECT_FALSE(*os::status(at("link"), false));
  EXPECT_TRUE(*os::status(at("keep/precious")));
  EXPECT_TRUE(remove_tree(at("absent")));
  EXPECT_TRUE(remove_tree(at("absent/deeper")));
}

TEST_F(FileTest, RemoveDirectoryWantsItEmpty) {
  write("d/a", "");
  EXPECT_FALSE(remove_directory(at("d")));
  ASSERT_TRUE(remove_file(at("d/a")));
  EXPECT_TRUE(remove_directory(at("d")));
}

TEST_F(FileTest, Glob) {
  for (const char* name :
       {"a.db", "b.db", "c.txt", ".hidden.db", "x/a.db", "x/y/a.db", "x/.h/a.db", "z[1].db"})
    write(name, "");
  std::filesystem::create_directory(at("folder.db"));
  ASSERT_EQ(::symlink(at("x").c_str(), at("loop").c_str()), 0);
  auto found = [&](const std::string& pattern) {
    std::vector<std::string> names;
    auto files = glob_files(at(pattern));
    EXPECT_TRUE(files) << files.error().describe();
    for (const Path& p : *files) names.push_back(p.native().substr(dir_->path().native().size() + 1));
    return names;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(found("*.db"), (Names{"a.db", "b.db", "z[1].db"}));
  EXPECT_EQ(found("**/a.db"), (Names{"a.db", "x/a.db", "x/y/a.db"}));
  EXPECT_EQ(found("**/**/a.db"), (Names{"a.db", "x/a.db", "x/y/a.db"}));
  EXPECT_EQ(found("x/**"), (Names{"x/a.db", "x/y/a.db"}));
  EXPECT_EQ(found("*/a.db"), (Names{"loop/a.db", "x/a.db"}));
  EXPECT_EQ(found(".*.db"), (Names{".hidden.db"}));
  EXPECT_EQ(found("[ab].db"), (Names{"a.db", "b.db"}));
  EXPECT_EQ(found("z[1].db"), (Names{"z[1].db"}));
  EXPECT_EQ(found("b.db"), (Names{"b.db"}));
  EXPECT_EQ(found("b.db/x"), Names{});
  EXPECT_EQ(found("absent/*"), Names{});
  EXPECT_EQ(glob_files("").error().code, Code::kUsage);
}

TEST_F(FileTest, FreeSpaceAndListing) {
  EXPECT_GT(*free_space(dir_->path()), 0u);
  write("b", "");
  write("a", "");
  EXPECT_EQ(*list_directory(dir_->path()), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(list_directory(at("absent")).error().code, Code::kNotFound);
  std::filesystem::create_directory(at("d"));
  ASSERT_EQ(::symlink("a", at("l").c_str()), 0);
  std::vector<std::string> seen;
  ASSERT_TRUE(for_each_entry(dir_->path(), [&](const Entry& e) -> Result<> {
    seen.push_back(e.name + (e.is_directory ? "/" : e.is_symlink ? "@" : ""));
    return {};
  }));
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(seen, (std::vector<std::string>{"a", "b", "d/", "l@"}));
}

TEST(ErrnoError, SaysWhatAndWhatToDo) {
  Error full = errno_error(ENOSPC, "write", "/srv/x\x1b[31m");
  EXPECT_EQ(full.code, Code::kNoSpace);
  EXPECT_EQ(full.message.find('\x1b'), std::string::npos);
  EXPECT_NE(full.message.find("cannot write /srv/x"), std::string::npos);
  EXPECT_NE(full.hint.find("free some space"), std::string::npos);
  EXPECT_EQ(errno_error(EACCES, "open", "x").code, Code::kDenied);
  EXPECT_NE(errno_error(EACCES, "open", "x").hint.find("run as a user who may"), std::string::npos);
  EXPECT_EQ(errno_error(ENOENT, "open", "x").code, Code::kNotFound);
  EXPECT_EQ(errno_error(EEXIST, "open", "x").code, Code::kExists);
  EXPECT_EQ(errno_error(EIO, "open", "x").code, Code::kIo);
  EXPECT_EQ(errno_error(EIO, "open", "x").retry, Retry::kNever);
  EXPECT_EQ(errno_error(ESTALE, "open", "x").retry, Retry::kTransient);
}

TEST(TempDirTest, GoesAwayWithItsContent) {
  Path path;
  {
    auto dir = TempDir::create("t");
    ASSERT_TRUE(dir);
    path = dir->path();
    std::ofstream(path / "f") << "x";
    TempDir moved = std::move(*dir);
    EXPECT_EQ(moved.path(), path);
  }
  EXPECT_FALSE(*os::status(path));
}

}  // namespace
}  // namespace varve::os
