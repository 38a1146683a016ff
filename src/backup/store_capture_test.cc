// A map of changed pages that is wrong on purpose must not become a wrong backup.
#include "backup/store_capture.h"

#include <gtest/gtest.h>
#include <set>

#include "repo/file_table.h"
#include "repo/repository_for_test.h"

namespace varve::backup {
namespace {

constexpr uint32_t kPage = 512;
using Pages = std::vector<Buffer>;

Buffer page_of(uint64_t number, uint32_t version) {
  Buffer out(kPage, std::byte{7});
  store_le<uint64_t>(out.data(), number);
  store_le<uint32_t>(out.data() + 8, version);
  return out;
}

class PagesReader final : public engine::FileReader {
 public:
  explicit PagesReader(const Pages& pages) : pages_(pages) {}
  Result<> read(uint64_t offset, MutableBytes out) override {
    for (size_t at = 0; at < out.size(); at += kPage)
      std::ranges::copy(pages_[(offset + at) / kPage], out.begin() + static_cast<ptrdiff_t>(at));
    return {};
  }

 private:
  const Pages& pages_;
};

class PagesCapture final : public engine::Capture {
 public:
  explicit PagesCapture(const Pages& pages) : pages_(pages) {
    info_.engine = "sqlite";
    info_.moment = now();
  }
  const engine::CaptureInfo& info() const override { return info_; }
  Result<std::vector<engine::FileSpec>> files(const Context&) override {
    engine::FileSpec file;
    file.path = "app.db";
    file.page_size = kPage;
    file.size = pages_.size() * kPage;
    return std::vector{file};
  }
  Result<std::unique_ptr<engine::FileReader>> open(const engine::FileSpec&) override {
    return std::make_unique<PagesReader>(pages_);
  }
  Result<engine::CaptureEnd> finish(const Context&) override { return engine::CaptureEnd{}; }

 private:
  const Pages& pages_;
  engine::CaptureInfo info_;
};

class Named final : public ChangedPages {
 public:
  explicit Named(std::set<uint64_t> pages) : pages_(std::move(pages)) {}
  std::string from() const override { return "wal"; }
  bool knows(const engine::FileSpec&) const override { return true; }
  bool changed(const engine::FileSpec&, uint64_t page) const override { return pages_.contains(page); }
  bool contradicts(ByteView parent, ByteView now) const override { return !std::ranges::equal(parent, now); }

 private:
  const std::set<uint64_t> pages_;
};

class StoreCapture : public ::testing::Test {
 protected:
  StoreCapture() {
    for (uint64_t n = 0; n < 4000; ++n) pages_.push_back(page_of(n, 0));
    auto full = store({});
    EXPECT_TRUE(full && full->type == "full");
    for (uint64_t n = 3; n < pages_.size(); n += 7) {
      pages_[n] = page_of(n, 1);
      changed_.insert(n);
    }
  }

  Result<repo::Manifest> store(CaptureHooks hooks) {
    const MakeHooks make = [&](engine::Capture&) { return hooks; };
    const OpenCapture open = [&]() -> Result<std::unique_ptr<engine::Capture>> {
      ++opened_;
      return std::make_unique<PagesCapture>(pages_);
    };
    Source source;
    source.name = "app";
    source.engine = "sqlite";
    BackupOptions options;
    options.workers = 2;
    Progress progress;
    opened_ = 0;
    return store_captures(there_.repo, {}, source, options, open, make, progress);
  }
  CaptureHooks naming(const std::set<uint64_t>& pages) {
    CaptureHooks out;
    out.changes = [pages](const repo::Manifest&, std::vector<std::string>&) {
      return std::make_unique<Named>(pages);
    };
    return out;
  }
  Pages read(const repo::Manifest& m) {
    repo::SlotReader slots(there_.repo, {}, {}, nullptr);
    slots.know(m.packs);
    repo::FileTableReader table(slots, m);
    Pages out;
    EXPECT_TRUE(table.for_each([&](const repo::FileRecord& f) -> Result<> {
      out.assign(f.attributes.pages(), Buffer(kPage));
      for (uint64_t s = 0; s < f.segments.size(); ++s) {
        TRY_ASSIGN(const repo::SegmentMap map, table.map(f, s));
        for (uint32_t i = 0; i < map.pages.size(); ++i)
          TRY_OK(slots.read_page(map.place(i), out[map.first_page + i]));
      }
      return {};
    }));
    return out;
  }

  repo::TestRepository there_;
  Pages pages_;
  std::set<uint64_t> changed_;
  int opened_ = 0;
};

TEST_F(StoreCapture, ReadsWhatTheMapNames) {
  const auto made = store(naming(changed_));
  ASSERT_TRUE(made) << made.error().describe();
  EXPECT_EQ(opened_, 1);
  EXPECT_EQ(made->changed_pages_from, "wal");
  EXPECT_TRUE(made->warnings.empty());
  EXPECT_LT(made->read, pages_.size() * kPage / 4);
  EXPECT_EQ(read(*made), pages_);
}

TEST_F(StoreCapture, AMapThatLacksAShareIsCaughtAndEverythingCompared) {
  // Some 7 % of the pages that are called unchanged did change.
  std::set<uint64_t> named;
  for (const uint64_t n : changed_)
    if (n % 2 == 0) named.insert(n);
  const auto made = store(naming(named));
  ASSERT_TRUE(made) << made.error().describe();
  EXPECT_EQ(opened_, 2);
  EXPECT_EQ(made->type, "incremental");
  EXPECT_EQ(made->changed_pages_from, "comparison");
  ASSERT_EQ(made->warnings.size(), 1u);
  EXPECT_NE(made->warnings[0].find("a sample showed that the log does not tell every change"),
            std::string::npos);
  EXPECT_EQ(read(*made), pages_);
}

TEST_F(StoreCapture, WhatElseIsIncompleteIsPassedOn) {
  CaptureHooks hooks = naming(changed_);
  hooks.before_commit = [](repo::Manifest&) -> Result<> {
    return fail(Code::kIncomplete, "the server removed the WAL");
  };
  const auto made = store(hooks);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().message, "the server removed the WAL");
  EXPECT_EQ(opened_, 1);
}

}  // namespace
}  // namespace varve::backup
