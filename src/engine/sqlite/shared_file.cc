#include "engine/sqlite/shared_file.h"

#include <fmt/format.h>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "base/text.h"

namespace varve::engine::sqlite {

struct SharedFile::Entry {
  std::pair<uint64_t, uint64_t> key;  // device, inode
  // The first is used; others were opened while the file was being replaced and must live as long.
  std::vector<os::File> files;
  int shares = 0;
};

namespace {

// Opening, closing and counting are one critical section: a share taken while the last one is being dropped
// must not see its locks fall with the old descriptor.
std::mutex mutex;
template <typename Entry>
std::map<std::pair<uint64_t, uint64_t>, Entry>& entries() {
  static auto* all =
      new std::map<std::pair<uint64_t, uint64_t>, Entry>;  // outlives every static that holds a share
  return *all;
}

}  // namespace

Result<SharedFile> SharedFile::open(const os::Path& path) {
  const std::scoped_lock lock(mutex);
  TRY_ASSIGN(const auto there, os::status(path));
  if (!there) return fail(Code::kNotFound, fmt::format("{} does not exist", printable(path.native())));
  if (!there->is_regular) {
    return fail(Code::kDatabase, fmt::format("{} is not a file", printable(path.native())),
                "name the database file itself");
  }
  auto& all = entries<Entry>();
  std::pair<uint64_t, uint64_t> key{there->device, there->inode};
  auto found = all.find(key);
  if (found == all.end()) {
    TRY_ASSIGN(os::File file, os::File::open(path, os::File::Mode::kRead));
    auto opened = file.status();
    // Only a file that is known by its number can be closed without harm; this one nobody else shares yet.
    if (!opened) return fail(std::move(opened).error());
    key = {opened->device, opened->inode};
    found = all.try_emplace(key).first;
    found->second.key = key;
    found->second.files.push_back(std::move(file));
  }
  ++found->second.shares;
  return SharedFile(&found->second);
}

SharedFile::SharedFile(SharedFile&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}

SharedFile& SharedFile::operator=(SharedFile&& other) noexcept {
  SharedFile old(std::exchange(entry_, std::exchange(other.entry_, nullptr)));
  return *this;
}

SharedFile::~SharedFile() {
  if (entry_ == nullptr) return;
  const std::scoped_lock lock(mutex);
  if (--entry_->shares == 0) entries<Entry>().erase(std::pair(entry_->key));
}

Result<size_t> SharedFile::read_at(uint64_t offset, MutableBytes out) const {
  return entry_->files.front().read_at(offset, out);
}

Result<os::FileStatus> SharedFile::status() const {
  return entry_->files.front().status();
}

int SharedFile::fd() const {
  return entry_->files.front().fd();
}

}  // namespace varve::engine::sqlite
