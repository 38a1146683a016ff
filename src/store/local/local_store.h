// Objects as files below a folder: a key is a path, written once.
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <unordered_set>

#include "os/file.h"
#include "store/store.h"

namespace varve::store {

// A put writes a temporary file below ".varve-tmp", syncs it, links it to its name (which never replaces),
// and syncs the folder; folders it makes are synced in theirs first. Temporary files that a crash left are
// not visible, and a put removes those older than a day. Where there are no hard links,
// renameat2(RENAME_NOREPLACE) takes their place. Symbolic links below the folder are refused, never followed.
// Files are made 0400 and folders 0700.
class LocalStore : public Store {
 public:
  // kNotFound when the folder is not there and `create` is false.
  static Result<StorePtr> open(const os::Path& folder, bool create);

  Capabilities capabilities() const override { return {}; }
  Result<> put(const Context& ctx, const Key& key, Body body, const PutOptions& options) override;
  Result<uint64_t> get(const Context& ctx, const Key& key, Range range, const Sink& sink) override;
  Result<ObjectInfo> head(const Context& ctx, const Key& key) override;
  Result<ListPage> list(const Context& ctx, const std::string& prefix, const std::string& token,
                        size_t most) override;
  Result<std::vector<RemoveResult>> remove(const Context& ctx, std::span<const Key> keys) override;
  Result<> extend_retention(const Context& ctx, const Key& key, Timestamp until) override;
  Result<uint64_t> remove_unfinished(const Context& ctx, Seconds age) override;
  std::string describe() const override { return "file://" + root_.native(); }

  LocalStore(os::Path root, const os::FileStatus& status);

 private:
  struct Temporary;

  // The folder is the one that was opened: not unmounted, not replaced.
  Result<> check_root() const;
  // The file of a key; nullopt when there is none. kDenied when a link is in the way.
  Result<std::optional<os::FileStatus>> look(const Key& key) const;
  Result<> taken(const Key& key) const;
  // Makes the folder (relative to the root; empty: the root) and sees to it that its name survives a power
  // loss.
  Result<> ensure_folder(const std::string& folder);
  void forget_folder(std::string folder);
  Result<Temporary> write_temporary(const Context& ctx, Body body);
  Result<> publish(Temporary& temporary, const Key& key, PutMode mode);
  Result<> name_without_replacing(Temporary& temporary, const os::Path& target);
  Result<uint64_t> remove_stale(Seconds age) const;

  const os::Path root_;
  const uint64_t device_, inode_;  // of the root
  const os::Path temporaries_;
  const std::string unique_;  // begins the names of this store's temporary files
  std::atomic<uint64_t> serial_ = 0;
  std::atomic<bool> links_work_ = true;
  std::once_flag cleaned_;
  std::mutex mutex_;
  std::unordered_set<std::string> durable_folders_;
};

}  // namespace varve::store
