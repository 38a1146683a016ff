// The order of syncs, and what a power loss may leave: at each call, with every choice of what was not
// synced.
#include <fmt/format.h>
#include <functional>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "contract/disk_recorder.h"
#include "store/local/local_store.h"

namespace varve::store {
namespace {

using testing::DiskAfterPowerLoss;
using testing::DiskRecorder;
using Unsynced = DiskAfterPowerLoss::Unsynced;

std::string body_of(const Key& key) {
  std::string out;
  while (out.size() < 3000) out += key + " ";
  return out;
}

// A put or removal, and how many calls had been made when it began and when it returned.
struct Done {
  Key key;
  size_t begun, returned;
  bool removed = false;
};

class DurabilityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = os::TempDir::create("varve-durability");
    ASSERT_TRUE(made);
    dir_.emplace(std::move(*made));
    store_ = LocalStore::open(dir_->path(), false).value();
  }

  std::string short_path(const std::string& path) const {
    std::string out = path.substr(std::min(path.size(), dir_->path().native().size() + 1));
    return out.starts_with(".varve-tmp/") ? "TMP" : out;
  }

  Result<> put(const Key& key, PutMode mode = PutMode::kCreateOnly) {
    const std::string body = body_of(key);
    const std::vector<ByteView> pieces = {as_bytes(body).first(1000), as_bytes(body).subspan(1000)};
    return store_->put({}, key, pieces, {.mode = mode});
  }

  // The first breach of the promise that `calls` allow, or empty. A missing sync must be found, so the calls
  // are given.
  std::string breach(const std::vector<os::Call>& calls, const std::vector<Done>& done) const {
    for (size_t n = 0; n <= calls.size(); ++n) {
      const DiskAfterPowerLoss disk(dir_->path(), std::span(calls).first(n));
      for (uint64_t seed = 0; seed < 6; ++seed) {
        const Unsynced choice = seed == 0 ? Unsynced::kLost : seed == 1 ? Unsynced::kKept : Unsynced::kRandom;
        std::string what = breach_of(disk.survivors(choice, seed), n, done);
        if (!what.empty()) return fmt::format("{} after {} calls, choice {}", what, n, seed);
      }
    }
    return "";
  }

  // Lays the survivors out on a real disk, and reads them as the store does.
  std::string breach_of(const DiskAfterPowerLoss::Survivors& survivors, size_t calls,
                        const std::vector<Done>& done) const {
    static const bool memory = os::status("/dev/shm").value_or(std::nullopt).has_value();
    auto place = os::TempDir::create("varve-survivors", memory ? "/dev/shm" : "");
    if (!place) return "cannot build the state";
    for (const auto& [path, file] : survivors) {
      if (file.is_folder) {
        ::mkdir((place->path() / path).c_str(), 0700);
        continue;
      }
      std::string bytes = path.starts_with(".varve-tmp") ? std::string(file.size, '?') : body_of(path);
      bytes.resize(file.size);
      std::fill(bytes.begin() + static_cast<ptrdiff_t>(file.durable), bytes.end(), '\0');
      std::ofstream(place->path() / path, std::ios::binary) << bytes;
    }
    auto store = LocalStore::open(place->path(), false);
    if (!store) return store.error().describe();
    std::map<Key, bool> seen;
    std::string wrong;
    auto listed = for_each(**store, {}, "", [&](const ObjectInfo& o) -> Result<> {
      seen[o.key] = true;
      TRY_ASSIGN(const Buffer bytes, get_bytes(**store, {}, o.key, 1 << 20));
      if (as_text(bytes) != body_of(o.key)) wrong = o.key + " is not whole";
      return {};
    });
    if (!listed) return listed.error().describe();
    for (const Done& d : done) {
      if (d.returned > calls) continue;
      if (!d.removed && !seen.contains(d.key) && !removal_begun(d.key, calls, done))
        return d.key + " is lost";
      if (d.removed && seen.contains(d.key)) return d.key + " came back";
    }
    return wrong;
  }

  static bool removal_begun(const Key& key, size_t calls, const std::vector<Done>& done) {
    return std::any_of(done.begin(), done.end(),
                       [&](const Done& d) { return d.removed && d.key == key && d.begun < calls; });
  }

  std::optional<os::TempDir> dir_;
  StorePtr store_;
};

TEST_F(DurabilityTest, WriteSyncLinkSync) {
  ASSERT_TRUE(put("first"));  // the folder for temporary files is made by the first put
  std::vector<std::string> seen;
  DiskRecorder recorder;
  ASSERT_TRUE(put("packs/ab/one"));
  for (const os::Call& c : recorder.calls())
    seen.push_back(fmt::format("{} {}{}", os::op_name(c.op), short_path(c.path),
                               c.other.empty() ? "" : " > " + short_path(c.other)));
  EXPECT_EQ(seen,
            (std::vector<std::string>{"create TMP", "write TMP", "write TMP", "sync TMP", "make folder packs",
                                      "sync folder ", "make folder packs/ab", "sync folder packs",
                                      "link TMP > packs/ab/one", "sync folder packs/ab", "remove TMP"}));
}

TEST_F(DurabilityTest, ReplacingRenames) {
  ASSERT_TRUE(put("k"));
  std::vector<os::Op> seen;
  DiskRecorder recorder;
  ASSERT_TRUE(put("k", PutMode::kUnconditional));
  for (const os::Call& c : recorder.calls()) seen.push_back(c.op);
  using os::Op;
  EXPECT_EQ(seen,
            (std::vector<Op>{Op::kCreate, Op::kWrite, Op::kWrite, Op::kSync, Op::kRename, Op::kSyncDir}));
}

TEST_F(DurabilityTest, AFolderOfAnotherProcessIsSyncedBeforeItIsCountedOn) {
  ASSERT_TRUE(put("first"));
  ASSERT_EQ(::mkdir((dir_->path() / "packs").c_str(), 0700), 0);
  DiskRecorder recorder;
  ASSERT_TRUE(put("packs/one"));
  bool root_synced = false;
  for (const os::Call& c : recorder.calls()) {
    root_synced = root_synced || (c.op == os::Op::kSyncDir && c.path == dir_->path().native());
    EXPECT_TRUE(root_synced || c.op != os::Op::kLink);
  }
}

TEST_F(DurabilityTest, ATakenKeyIsDurableWhenItIsReported) {
  ASSERT_TRUE(put("packs/one"));
  DiskRecorder recorder;
  EXPECT_EQ(put("packs/one").error().code, Code::kExists);
  auto calls = recorder.calls();
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(calls[0].op, os::Op::kSyncDir);
  EXPECT_EQ(short_path(calls[0].path), "packs");
}

TEST_F(DurabilityTest, NoPowerLossBreaksThePromise) {
  std::vector<Done> done;
  std::vector<os::Call> calls;
  {
    DiskRecorder recorder;
    auto note = [&](const Key& key, bool removed, const std::function<Result<>()>& action) {
      const size_t begun = recorder.calls().size();
      auto result = action();
      EXPECT_TRUE(result) << result.error().describe();
      done.push_back({key, begun, recorder.calls().size(), removed});
    };
    for (const char* key : {"varve.json", "packs/aa/1", "packs/aa/2", "packs/ab/1", "sources/app/backups/x"})
      note(key, false, [&] { return put(key); });
    note("packs/aa/1", true, [&] { return remove_one(*store_, {}, "packs/aa/1"); });
    note("packs/aa/3", false, [&] { return put("packs/aa/3"); });
    calls = recorder.calls();
  }
  EXPECT_EQ(breach(calls, done), "");

  // The test is not blind: leave out any kind of sync, and it sees.
  for (os::Op left_out : {os::Op::kSync, os::Op::kSyncDir}) {
    auto fewer = calls;
    std::erase_if(fewer, [&](const os::Call& c) { return c.op == left_out; });
    auto left_before = [&](size_t n) {
      return static_cast<size_t>(std::count_if(calls.begin(), calls.begin() + static_cast<ptrdiff_t>(n),
                                               [&](const os::Call& c) { return c.op != left_out; }));
    };
    auto shifted = done;
    for (Done& d : shifted) d.begun = left_before(d.begun), d.returned = left_before(d.returned);
    EXPECT_NE(breach(fewer, shifted), "") << os::op_name(left_out);
  }
  // A link before the file's sync is found as well.
  auto swapped = calls;
  for (size_t i = 0; i + 1 < swapped.size(); ++i) {
    auto link = std::find_if(swapped.begin() + static_cast<ptrdiff_t>(i), swapped.end(),
                             [](const os::Call& c) { return c.op == os::Op::kLink; });
    if (swapped[i].op != os::Op::kSync || link == swapped.end()) continue;
    std::rotate(swapped.begin() + static_cast<ptrdiff_t>(i), swapped.begin() + static_cast<ptrdiff_t>(i) + 1,
                link + 1);
    break;
  }
  EXPECT_NE(breach(swapped, done), "");
}

}  // namespace
}  // namespace varve::store
