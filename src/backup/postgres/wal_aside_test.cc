#include "backup/postgres/wal_aside.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace varve::backup::postgres {
namespace {

const std::string kSegment = "000000010000000000000003";

class WalAsideTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = os::TempDir::create();
    ASSERT_TRUE(made);
    folder_.emplace(std::move(*made));
  }
  os::Path wal() const { return folder_->path(); }
  os::Path kept() const { return wal() / "varve" / kSegment; }
  WalAside aside(const std::string& origin = "file:///r\napp\n7") const { return {wal(), origin}; }
  os::Path file(const std::string& name, std::string_view text) const {
    EXPECT_TRUE(os::replace_file(wal() / name, as_bytes(text)));
    return wal() / name;
  }
  std::string read(const os::Path& path) const {
    const auto bytes = os::read_file(path, 1 << 20);
    return bytes ? std::string(as_text(*bytes)) : "nothing";
  }
  std::optional<os::TempDir> folder_;
};

TEST_F(WalAsideTest, WhatWasSentIsKnownUntilItChanges) {
  const os::Path path = file(kSegment, "content");
  EXPECT_FALSE(aside().was_sent(path));
  const auto mark = WalAside::mark(path);
  ASSERT_TRUE(mark);
  ASSERT_TRUE(aside().note_sent({*mark}));
  EXPECT_TRUE(aside().was_sent(path));
  EXPECT_FALSE(aside("file:///other\napp\n7").was_sent(path));

  // Written to, as long as it was; the kernel's clock has to move on before.
  usleep(20'000);
  auto open = os::File::open(path, os::File::Mode::kReadWrite);
  ASSERT_TRUE(open && open->write_at(0, as_bytes("CONTENT")));
  EXPECT_FALSE(aside().was_sent(path));
}

TEST_F(WalAsideTest, ARecycledSegmentIsAnother) {
  const os::Path path = file(kSegment, "content");
  ASSERT_TRUE(aside().note_sent({*WalAside::mark(path)}));
  const os::Path away = wal() / "000000010000000000000009";
  usleep(20'000);
  ASSERT_TRUE(os::rename_file(path, away));
  EXPECT_FALSE(aside().was_sent(path));
  EXPECT_FALSE(aside().was_sent(away));
  ASSERT_TRUE(os::rename_file(away, path));
  EXPECT_FALSE(aside().was_sent(path));
}

TEST_F(WalAsideTest, ADamagedNoteSaysNothing) {
  const os::Path path = file(kSegment, "content");
  ASSERT_TRUE(aside().note_sent({*WalAside::mark(path)}));
  const os::Path note = wal() / "varve" / "sent";
  const std::string text = read(note);
  for (const size_t length : {size_t{0}, size_t{10}, text.size() - 1}) {
    ASSERT_TRUE(os::replace_file(note, as_bytes(text.substr(0, length))));
    EXPECT_FALSE(aside().was_sent(path)) << length;
  }
  std::string other = text;
  other.back() = '8';
  ASSERT_TRUE(os::replace_file(note, as_bytes(other)));
  EXPECT_FALSE(aside().was_sent(path));
  ASSERT_TRUE(os::replace_file(note, as_bytes(text)));
  EXPECT_TRUE(aside().was_sent(path));
}

TEST_F(WalAsideTest, WhatIsKeptIsTakenOnce) {
  ASSERT_TRUE(aside().keep(kSegment, as_bytes("a segment")));
  const os::Path target = wal() / "RECOVERYXLOG";
  EXPECT_TRUE(aside().take(kSegment, target));
  EXPECT_EQ(read(target), "a segment");
  EXPECT_FALSE(aside().take(kSegment, target));
}

TEST_F(WalAsideTest, WhatIsNotWholeIsNotTaken) {
  const os::Path target = wal() / "RECOVERYXLOG";
  ASSERT_TRUE(aside().keep(kSegment, as_bytes("a segment")));
  const std::string whole = read(kept());
  std::string damaged = whole;
  damaged[3] ^= 1;
  for (const std::string& content : {std::string(), whole.substr(0, 9), whole.substr(0, whole.size() - 1),
                                     damaged, whole + "x", std::string(whole.size(), '\0')}) {
    ASSERT_TRUE(os::replace_file(kept(), as_bytes(content)));
    EXPECT_FALSE(aside().take(kSegment, target));
    EXPECT_EQ(read(target), "nothing");
    EXPECT_EQ(read(kept()), "nothing");
  }
}

TEST_F(WalAsideTest, WhatIsFromElsewhereIsNotTaken) {
  const os::Path target = wal() / "RECOVERYXLOG";
  ASSERT_TRUE(aside("file:///r\napp\n8").keep(kSegment, as_bytes("of another cluster")));
  EXPECT_FALSE(aside().take(kSegment, target));
  ASSERT_TRUE(aside().keep("000000010000000000000004", as_bytes("the next")));
  ASSERT_TRUE(os::rename_file(wal() / "varve" / "000000010000000000000004", kept()));
  EXPECT_FALSE(aside().take(kSegment, target));
}

TEST_F(WalAsideTest, AFolderThatOthersMayWriteToIsNotTrusted) {
  const os::Path path = file(kSegment, "content");
  ASSERT_TRUE(aside().note_sent({*WalAside::mark(path)}));
  ASSERT_TRUE(aside().keep(kSegment, as_bytes("a segment")));
  ASSERT_EQ(::chmod((wal() / "varve").c_str(), 0777), 0);
  EXPECT_FALSE(aside().was_sent(path));
  EXPECT_FALSE(aside().take(kSegment, wal() / "RECOVERYXLOG"));
  EXPECT_FALSE(aside().keep(kSegment, as_bytes("a segment")));
}

TEST_F(WalAsideTest, WhatWasFetchedIsForgottenAndWhatWasSentIsNot) {
  const os::Path path = file("000000010000000000000001", "content");
  ASSERT_TRUE(aside().keep(kSegment, as_bytes("a segment")));
  ASSERT_TRUE(aside().expect({kSegment, 8}));
  ASSERT_TRUE(aside().next());
  EXPECT_EQ(aside().next()->segment, kSegment);
  EXPECT_EQ(aside().next()->ahead, 8u);
  aside().forget_fetched();
  EXPECT_FALSE(os::list_directory(wal() / "varve"));
  ASSERT_TRUE(aside().note_sent({*WalAside::mark(path)}));
  ASSERT_TRUE(aside().keep(kSegment, as_bytes("a segment")));
  aside().forget_fetched();
  EXPECT_TRUE(aside().was_sent(path));
  EXPECT_FALSE(aside().take(kSegment, wal() / "RECOVERYXLOG"));
}

}  // namespace
}  // namespace varve::backup::postgres
