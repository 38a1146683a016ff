// What may be left of a folder after a power loss: records the calls that change the disk, and builds the
// states they allow.
//
// The model is the weakest that POSIX allows: bytes that were written and not synced may be lost, and so may
// each name made or removed since its folder was last synced, each for itself. Calls are taken to have
// succeeded; record no others.
#pragma once

#include <algorithm>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "os/file.h"
#include "os/trace.h"

namespace varve::testing {

// Records while it lives. One at a time.
class DiskRecorder {
 public:
  DiskRecorder() {
    os::set_tracer([this](const os::Call& call) -> Result<> {
      std::lock_guard lock(mutex_);
      calls_.push_back(call);
      return {};
    });
  }
  ~DiskRecorder() { os::set_tracer({}); }
  DiskRecorder(const DiskRecorder&) = delete;
  DiskRecorder& operator=(const DiskRecorder&) = delete;

  std::vector<os::Call> calls() const {
    std::lock_guard lock(mutex_);
    return calls_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<os::Call> calls_;
};

// The disk below `root` after the first calls of a record, none of it there before.
class DiskAfterPowerLoss {
 public:
  // What becomes of each name that is not synced.
  enum class Unsynced { kLost, kKept, kRandom };

  struct File {
    uint64_t size = 0, durable = 0;  // bytes written; bytes that were there at the last sync
    bool is_folder = false;
  };
  using Survivors = std::map<std::string, File>;  // by path below the root

  DiskAfterPowerLoss(os::Path root, std::span<const os::Call> calls) : root_(std::move(root)) {
    for (const os::Call& call : calls) apply(call);
  }

  Survivors survivors(Unsynced choice, uint64_t seed = 0) const {
    std::mt19937_64 random(seed);
    Survivors out;
    for (const auto& [path, name] : names_) {
      std::optional<size_t> file = name.durable;
      if (!name.pending.empty()) {
        if (choice == Unsynced::kKept) file = name.pending.back();
        if (choice == Unsynced::kRandom) {
          const size_t n = random() % (name.pending.size() + 1);
          if (n > 0) file = name.pending[n - 1];
        }
      }
      const std::string folder = folder_of(path);
      // Parents sort before what is in them.
      if (file && (folder.empty() || out.contains(folder))) out[path] = files_[*file];
    }
    return out;
  }

  static std::string folder_of(const std::string& path) {
    const size_t slash = path.rfind('/');
    return slash == path.npos ? "" : path.substr(0, slash);
  }

 private:
  struct Name {
    std::optional<size_t> durable;
    std::vector<std::optional<size_t>> pending;  // what it became since its folder was synced, in order
    std::optional<size_t> current() const { return pending.empty() ? durable : pending.back(); }
  };

  // Empty for the root itself; nullopt for what is elsewhere.
  std::optional<std::string> below(const std::string& path) const {
    const std::string& root = root_.native();
    if (path == root) return "";
    if (!path.starts_with(root + "/")) return std::nullopt;
    return path.substr(root.size() + 1);
  }

  void set(const std::string& path, std::optional<size_t> file) { names_[path].pending.push_back(file); }

  size_t add(bool is_folder) {
    files_.push_back({.is_folder = is_folder});
    return files_.size() - 1;
  }

  File& file(const std::string& path) { return files_[names_[path].current().value()]; }

  void apply(const os::Call& call) {
    const auto path = below(call.path);
    if (!path) return;
    switch (call.op) {
      case os::Op::kCreate:
        set(*path, add(false));
        break;
      case os::Op::kMkdir:
        set(*path, add(true));
        break;
      case os::Op::kWrite:
        file(*path).size = std::max(file(*path).size, call.offset + call.size);
        break;
      case os::Op::kTruncate:
        file(*path).size = file(*path).durable = call.size;
        break;
      case os::Op::kSync:
        file(*path).durable = file(*path).size;
        break;
      case os::Op::kSyncDir:
        for (auto& [child, name] : names_) {
          if (folder_of(child) != *path || name.pending.empty()) continue;
          name.durable = name.pending.back();
          name.pending.clear();
        }
        break;
      case os::Op::kLink:
        set(below(call.other).value(), names_[*path].current());
        break;
      case os::Op::kRename:
        set(below(call.other).value(), names_[*path].current());
        set(*path, std::nullopt);
        break;
      case os::Op::kRemove:
      case os::Op::kRemoveDir:
        set(*path, std::nullopt);
        break;
      case os::Op::kPutObject:  // of stores that are no folder
      case os::Op::kRemoveObject:
        break;
    }
  }

  os::Path root_;
  std::vector<File> files_;
  std::map<std::string, Name> names_;
};

}  // namespace varve::testing
