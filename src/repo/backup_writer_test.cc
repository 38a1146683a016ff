// Backups of synthetic files through the whole of the module, on the strict in-memory store.
#include "repo/backup_writer.h"

#include <algorithm>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <map>
#include <random>

#include "crypto/crypto.h"
#include "store/open.h"

namespace varve::repo {
namespace {

using Files = std::map<std::string, Buffer>;

FileAttributes regular(const std::string& path, uint64_t size, uint32_t page_size = 512) {
  FileAttributes a;
  a.path = path;
  a.size = size;
  a.page_size = page_size;
  return a;
}

class BackupWriterTest : public ::testing::TestWithParam<Encryption> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(crypto::init());
    static int number = 0;
    auto store = store::open_store(ctx_, "mem://backup-writer-" + std::to_string(number++), {.create = true});
    ASSERT_TRUE(store) << store.error().describe();
    store_ = *store;
    KeySource key;
    if (GetParam() != Encryption::kNone) key.key_file = to_buffer(as_bytes(generate_key_file()));
    auto repo = Repository::create(ctx_, store_, key, {GetParam()});
    ASSERT_TRUE(repo) << repo.error().describe();
    repo_ = *repo;
  }

  // known: pages that are the parent's are called unchanged, as by an engine that knows what changed.
  Result<Manifest> backup(const Files& files, const std::string& id, const std::string& parent,
                          uint32_t page_size = 512, const Files* known = nullptr) {
    BackupWriter::Options options;
    options.packs.pack_size = 256 << 10;
    options.segment_pages = 64;
    TRY_ASSIGN(auto writer, BackupWriter::begin(repo_, ctx_, "app", parent, options, nullptr));
    Manifest m;
    for (const auto& [path, bytes] : files) {
      const FileAttributes a = regular(path, bytes.size(), page_size);
      TRY_ASSIGN(auto file, writer->file(a));
      for (uint64_t p = 0; p < a.pages(); ++p) {
        const ByteView page = ByteView(bytes).subspan(p * page_size, a.page_bytes(p));
        TRY_ASSIGN(const bool folded, file->folds(p));
        const bool same =
            known && p < file->parent_pages() &&
            std::ranges::equal(page, ByteView(known->at(path)).subspan(p * page_size, page.size()));
        TRY_OK(same && !folded ? file->unchanged(1) : file->page(page));
      }
      TRY_OK(file->finish());
      m.size += bytes.size();
    }
    m.id = id;
    m.source = "app";
    m.engine = "sqlite";
    m.type = parent.empty() ? "full" : "incremental";
    m.parent = parent;
    m.base = parent.empty() ? id : writer->parent()->base;
    m.started = m.moment = now();
    return writer->commit(m);
  }

  Result<Files> restore(const std::string& id) {
    TRY_ASSIGN(Manifest m, load_manifest(*repo_, ctx_, "app", id));
    SlotReader slots(repo_, ctx_, {}, nullptr);
    slots.know(m.packs);
    FileTableReader table(slots, m);
    Files out;
    TRY_OK(table.for_each([&](const FileRecord& f) -> Result<> {
      Buffer bytes(f.attributes.size);
      std::fill(bytes.begin(), bytes.end(), std::byte{0});
      std::vector<SlotReader::Request> requests;
      for (uint64_t s = 0; s < f.segments.size(); ++s) {
        TRY_ASSIGN(SegmentMap map, table.map(f, s));
        for (uint32_t i = 0; i < map.pages.size(); ++i)
          if (!map.is_zero(i)) requests.push_back({map.place(i), map.first_page + i});
      }
      std::mutex mutex;
      std::map<uint64_t, int> seen;
      TRY_OK(slots.read_pages(std::move(requests), [&](uint64_t page, ByteView b) -> Result<> {
        if (b.size() != f.attributes.page_bytes(page)) return fail(Code::kDamaged, "length");
        std::memcpy(bytes.data() + page * f.attributes.page_size, b.data(), b.size());
        std::lock_guard lock(mutex);
        ++seen[page];
        return {};
      }));
      for (const auto& [page, times] : seen) EXPECT_EQ(times, 1) << page;
      out[f.attributes.path] = std::move(bytes);
      return {};
    }));
    return out;
  }

  Buffer noise(size_t n, unsigned zero_every = 0) {
    Buffer b(n);
    for (size_t i = 0; i < n; ++i) b[i] = static_cast<std::byte>(random_() % 7 == 0 ? random_() : 'a');
    if (zero_every) {
      for (size_t p = 0; p * 512 < n; p += zero_every)
        std::fill(b.begin() + static_cast<ptrdiff_t>(p * 512),
                  b.begin() + static_cast<ptrdiff_t>(std::min(n, p * 512 + 512)), std::byte{0});
    }
    return b;
  }

  Context ctx_;
  store::StorePtr store_;
  RepositoryPtr repo_;
  std::mt19937 random_{42};
};

TEST_P(BackupWriterTest, EveryBackupOfAChainRestoresExactly) {
  Files files{{"a.db", noise(512 * 1000, 5)}, {"b/short", noise(1300)}, {"b/tiny", noise(3)}, {"empty", {}}};
  for (int i = 0; i < 200; ++i) files["many/" + std::to_string(i)] = noise(100 + i);
  std::map<std::string, Files> states;
  std::string parent;
  uint64_t full_new = 0;
  for (int round = 0; round < 6; ++round) {
    const std::string id =
        new_backup_id(now() + std::chrono::seconds(round), parent.empty() ? "full" : "incremental");
    auto m = backup(files, id, parent);
    ASSERT_TRUE(m) << m.error().describe();
    if (round == 0) full_new = m->pages_new;
    if (round > 0) {
      EXPECT_LE(m->pages_new, full_new / 4);
    }
    states[id] = files;
    parent = id;
    Buffer& a = files["a.db"];
    for (int k = 0; k < 20; ++k) a[random_() % a.size()] ^= std::byte{1};
    a.resize(a.size() + 512 * (round % 3) - 512 * (round == 4 ? 300 : 0));  // grows, shrinks
    files["b/short"].resize(1300 + round * 10, std::byte{'x'});
    files.erase("many/" + std::to_string(round));
    files["new/" + std::to_string(round)] = noise(2000);
  }
  for (const auto& [id, expected] : states) {
    auto got = restore(id);
    ASSERT_TRUE(got) << id << ": " << got.error().describe();
    EXPECT_EQ(*got, expected) << id;
  }
}

TEST_P(BackupWriterTest, UnchangedFilesCostNothing) {
  Files files{{"a.db", noise(512 * 500)}};
  for (int i = 0; i < 3000; ++i) files["t/" + std::to_string(i)] = noise(20);
  auto full = backup(files, "20260101-000000-full-0000", "");
  ASSERT_TRUE(full);
  auto again = backup(files, "20260101-000001-incremental-0000", full->id);
  ASSERT_TRUE(again) << again.error().describe();
  EXPECT_EQ(again->pages_new, 0u);
  EXPECT_LT(again->stored, 4096u + full->packs.size() * 64);  // the manifest alone
  EXPECT_EQ(again->packs.size(), full->packs.size());
}

TEST_P(BackupWriterTest, PagesThatTheCallerKnowsUnchangedAreNotRead) {
  Files files{{"a.db", noise(512 * 300, 7)}};
  auto full = backup(files, "20260101-000000-full-0000", "");
  ASSERT_TRUE(full);
  auto writer =
      BackupWriter::begin(repo_, ctx_, "app", full->id, {.packs = {}, .segment_pages = 64}, nullptr);
  ASSERT_TRUE(writer);
  auto file = (*writer)->file(regular("a.db", 512 * 300));
  ASSERT_TRUE(file);
  Buffer changed = noise(512);
  ASSERT_TRUE((*file)->unchanged(100));
  ASSERT_TRUE((*file)->page(changed));
  ASSERT_TRUE((*file)->unchanged(199));
  EXPECT_FALSE((*file)->unchanged(1));
  ASSERT_TRUE((*file)->finish());
  Manifest m = *full;
  m.id = "20260101-000001-incremental-0000";
  m.type = "incremental";
  m.parent = full->id;
  auto made = (*writer)->commit(m);
  ASSERT_TRUE(made) << made.error().describe();
  EXPECT_EQ(made->pages_new, 1u);
  auto got = restore(m.id);
  ASSERT_TRUE(got) << got.error().describe();
  std::copy(changed.begin(), changed.end(), files["a.db"].begin() + 512 * 100);
  EXPECT_EQ(*got, files);
}

// Else the hundredth incremental would ask for a hundred indexes, and a restore of it for a hundred packs.
TEST_P(BackupWriterTest, ManySmallPacksAreFolded) {
  for (const bool knows : {false, true}) {
    const std::string of = knows ? "b" : "a";
    Files files{{"a.db", noise(512 * 500, 9)}, {"b.db", noise(512 * 70)}};
    auto last = backup(files, "20260101-000000-full-000" + of, "");
    ASSERT_TRUE(last);
    const size_t of_full = last->packs.size();
    uint64_t most_new = 0;
    size_t folds = 0;
    for (int i = 1; i <= 100; ++i) {
      const Files before = files;
      files["a.db"][512 * static_cast<size_t>(i * 3) + 7] ^= std::byte{1};
      if (i % 10 == 0) files["b.db"][512 * static_cast<size_t>(i / 2)] ^= std::byte{1};
      const std::string id = fmt::format("20260101-{:06}-incremental-000{}", i, of);
      last = backup(files, id, last->id, 512, knows ? &before : nullptr);
      ASSERT_TRUE(last) << last.error().describe();
      // A pack that holds what was folded may be small itself, or large enough to stay.
      if (last->pages_new > 2) ++folds;
      const auto small = static_cast<size_t>(std::ranges::count_if(
          last->packs, [](const PackInfo& p) { return p.size < (256u << 10) / kSmallShare; }));
      EXPECT_LE(small, kMostSmallPacks + 1) << i;
      EXPECT_LE(last->packs.size() - small, of_full + folds) << i;
      most_new = std::max(most_new, last->pages_new);
      if (i % 20 == 0 || last->pages_new > 2) {
        auto got = restore(id);
        ASSERT_TRUE(got) << got.error().describe();
        EXPECT_EQ(*got, files) << i;
      }
    }
    EXPECT_GT(most_new, kMostSmallPacks / 2);
    EXPECT_LE(most_new, 110u) << "only what was in small packs";
  }
}

// Chosen, and expired before the pin stood: whoever chose chooses anew.
TEST_P(BackupWriterTest, AParentThatHasExpiredIsAConflict) {
  auto writer = BackupWriter::begin(repo_, ctx_, "app", "20260101-000000-full-0000", {}, nullptr);
  ASSERT_FALSE(writer);
  EXPECT_EQ(writer.error().code, Code::kConflict) << writer.error().describe();
}

TEST_P(BackupWriterTest, AFileReadShortIsNotCommitted) {
  auto writer = BackupWriter::begin(repo_, ctx_, "app", "", {}, nullptr);
  ASSERT_TRUE(writer);
  auto file = (*writer)->file(regular("a.db", 1024));
  ASSERT_TRUE((*file)->page(noise(512)));
  auto r = (*file)->finish();
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, Code::kIncomplete);
}

TEST_P(BackupWriterTest, APackInAnothersPlaceIsRefused) {
  Files files{{"a.db", noise(512 * 2000)}};
  auto full = backup(files, "20260101-000000-full-0000", "");
  ASSERT_TRUE(full);
  ASSERT_GE(full->packs.size(), 2u);
  const auto a = pack_key(full->packs[0].id), b = pack_key(full->packs[1].id);
  auto bytes = store::get_bytes(*store_, ctx_, b, UINT64_MAX);
  ASSERT_TRUE(bytes);
  ASSERT_TRUE(store_->put(ctx_, a, std::array{ByteView(*bytes)}, {.mode = store::PutMode::kUnconditional}));
  auto got = restore(full->id);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kDamaged);
  EXPECT_NE(got.error().message.find(a), std::string::npos) << got.error().describe();
}

TEST_P(BackupWriterTest, EveryFlippedBitOfAPackIsRefusedOrHarmless) {
  Files files{{"a.db", noise(512 * 40)}};
  auto full = backup(files, "20260101-000000-full-0000", "");
  ASSERT_TRUE(full);
  const auto key = pack_key(full->packs[0].id);
  auto original = store::get_bytes(*store_, ctx_, key, UINT64_MAX);
  ASSERT_TRUE(original);
  for (size_t at = 0; at < original->size(); at += 1 + original->size() / 400) {
    Buffer bad = *original;
    bad[at] ^= std::byte{0x10};
    ASSERT_TRUE(store_->put(ctx_, key, std::array{ByteView(bad)}, {.mode = store::PutMode::kUnconditional}));
    auto got = restore(full->id);
    if (got) {
      EXPECT_EQ(*got, files) << at;
      EXPECT_LT(at, kPackHeaderSize) << "only the header is no part of a restore";
    } else {
      EXPECT_EQ(got.error().code, Code::kDamaged) << at;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Encryptions, BackupWriterTest,
                         ::testing::Values(Encryption::kAes256Gcm, Encryption::kNone),
                         [](const auto& i) { return i.param == Encryption::kNone ? "none" : "aes256gcm"; });

}  // namespace
}  // namespace varve::repo
