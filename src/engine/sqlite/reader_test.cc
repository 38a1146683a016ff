#include "engine/sqlite/reader.h"

#include <gtest/gtest.h>

#include "engine/sqlite/testing_follow.h"

namespace varve::engine::sqlite {
namespace {

using namespace std::chrono_literals;
using testing::Child;
using testing::IndexWriter;
using testing::Program;
using testing::Told;

class ReaderTest : public ::testing::Test {
 protected:
  ReaderTest() : folder_(*os::TempDir::create("reader")), told_(Told::create()) {
    app_.exec("PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES(1)");
    reader_ = *Reader::open({}, database_, 5s);
    EXPECT_TRUE(reader_->begin());
    reader_->end();
  }
  ~ReaderTest() override { ::munmap(told_, sizeof(Told)); }

  const os::TempDir folder_;
  const os::Path database_ = folder_.path() / "a.db";
  Program app_{database_};
  std::unique_ptr<Reader> reader_;
  Told* told_;
};

TEST_F(ReaderTest, AWriterWithoutPatienceIsNeverRefused) {
  Child writer([&] {
    const IndexWriter index(database_);
    while (!told_->stop) {
      if (!index.lock()) {
        ++told_->busy;
        continue;
      }
      index.halve();
      index.halve();
      index.unlock();
      ++told_->marks;
    }
    return 0;
  });
  for (const auto until = SteadyClock::now() + 2s; SteadyClock::now() < until;) {
    const auto begun = reader_->begin();
    ASSERT_TRUE(begun) << begun.error().describe();
    reader_->end();
  }
  told_->stop = true;
  EXPECT_EQ(writer.wait(), 0);
  EXPECT_GT(told_->marks, 1000u);
  EXPECT_EQ(told_->busy, 0u);
}

TEST_F(ReaderTest, AnIndexThatADeadWriterLeftHalfWrittenIsMended) {
  Child([&] {
    IndexWriter(database_).halve();
    return 0;
  }).wait();
  const auto begun = reader_->begin();
  ASSERT_TRUE(begun) << begun.error().describe();
  EXPECT_TRUE(reader_->wal_index(0ms));
  EXPECT_EQ(app_.ask("SELECT x FROM t"), "1\n");
}

}  // namespace
}  // namespace varve::engine::sqlite
