#include "store/local/local_store.h"

#include <algorithm>
#include <fmt/format.h>
#include <random>
#include <set>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "store/folder/walk.h"

namespace varve::store {
namespace {

constexpr size_t kReadPiece = size_t{1} << 20;
constexpr size_t kWritePiece = size_t{4} << 20;  // between two looks at the stop token
constexpr std::chrono::hours kStale{24};
constexpr size_t kMostRemembered = 1 << 16;

std::string folder_of(std::string_view key) {
  const size_t slash = key.rfind('/');
  return std::string(slash == key.npos ? std::string_view() : key.substr(0, slash));
}

std::string unique_name() {
  std::random_device random;
  const uint64_t bits = (uint64_t{random()} << 32) | random();
  return fmt::format("{}-{:016x}", ::getpid(), bits);
}

ObjectInfo info_from(const Key& key, const os::FileStatus& s) {
  return {.key = key,
          .size = s.size,
          .modified = Timestamp(std::chrono::microseconds(s.mtime_us)),
          .retain_until = {}};
}

class LocalReader : public folder::Reader {
 public:
  explicit LocalReader(const os::Path& root) : root_(root) {}

  Result<> entries(const Context&, const std::string& place,
                   const std::function<Result<>(folder::Entry&&)>& callback) override {
    auto read = os::for_each_entry(root_ / place, [&](const os::Entry& e) {
      return callback({.name = e.name, .is_directory = e.is_directory, .is_symlink = e.is_symlink});
    });
    // Absent, or no folder: removed since its parent was read, or never there.
    if (read || read.error().code == Code::kNotFound) return {};
    TRY_ASSIGN(const auto s, os::status(root_ / place));
    return s && s->is_directory ? read : Result<>();
  }
  Result<std::optional<ObjectInfo>> file(const Context&, const Key& key) override {
    TRY_ASSIGN(const auto s, os::status(root_ / key, false));
    if (!s || !s->is_regular) return std::nullopt;
    return info_from(key, *s);
  }
  Result<bool> is_symlink(const Context&, const std::string& place) override {
    TRY_ASSIGN(const auto s, os::status(root_ / place, false));
    return s && s->is_symlink;
  }
  std::string describe(const std::string& place) const override { return (root_ / place).native(); }

 private:
  const os::Path& root_;
};

}  // namespace

// Removes itself unless its name was given away by a rename.
struct LocalStore::Temporary {
  os::Path path;
  explicit Temporary(os::Path p) : path(std::move(p)) {}
  Temporary(Temporary&& o) noexcept : path(std::exchange(o.path, {})) {}
  Temporary& operator=(Temporary&&) = delete;
  ~Temporary() {
    if (!path.empty()) (void)os::remove_file(path);
  }
};

LocalStore::LocalStore(os::Path root, const os::FileStatus& status)
    : root_(std::move(root)),
      device_(status.device),
      inode_(status.inode),
      temporaries_(root_ / ".varve-tmp"),
      unique_(unique_name()) {}

Result<StorePtr> LocalStore::open(const os::Path& folder, bool create) {
  std::error_code error;
  os::Path root = std::filesystem::absolute(folder, error);
  if (!error) root = std::filesystem::weakly_canonical(root, error);
  if (error) return fail(os::errno_error(error.value(), "find", folder));
  if (!root.has_filename() && root.has_relative_path()) root = root.parent_path();
  if (create) TRY_OK(os::make_directories(root));
  TRY_ASSIGN(const auto s, os::status(root));
  if (!s) {
    return fail(Code::kNotFound, fmt::format("there is no folder {}", printable(root.native())),
                "check the address; if the folder is on another disk or a network, check that it is mounted");
  }
  if (!s->is_directory)
    return fail(Code::kUsage, fmt::format("{} is not a folder", printable(root.native())));
  return std::make_shared<LocalStore>(std::move(root), *s);
}

Result<> LocalStore::check_root() const {
  TRY_ASSIGN(const auto s, os::status(root_));
  if (s && s->device == device_ && s->inode == inode_) return {};
  return fail(Code::kUnreachable,
              fmt::format("{} is not the folder any more that it was", printable(root_.native())),
              "its disk may have been unmounted: mount it, and run again");
}

// Component by component, so that a link put in the place of a folder cannot lead a write or read elsewhere.
// It guards against accidents and left-overs; who can write the folder at the same moment is trusted with it.
Result<std::optional<os::FileStatus>> LocalStore::look(const Key& key) const {
  for (size_t slash = key.find('/');; slash = key.find('/', slash + 1)) {
    const os::Path path = root_ / key.substr(0, slash);
    TRY_ASSIGN(const auto s, os::status(path, false));
    if (!s) return std::nullopt;
    if (s->is_symlink) {
      return fail(Code::kDenied, fmt::format("{} is a symbolic link", printable(path.native())),
                  "links inside a repository are not followed: put the folder itself there (a bind mount, "
                  "for instance)");
    }
    if (slash != key.npos) continue;
    if (!s->is_regular) return std::nullopt;
    return s;
  }
}

Result<> LocalStore::taken(const Key& key) const {
  TRY_ASSIGN(const auto s, os::status(root_ / key));
  if (s && s->is_directory)
    return fail(Code::kConflict, fmt::format("{} in {} is a folder of other objects", key, describe()));
  // Whoever wrote it may not have come to sync the folder, and our caller will now count on the object.
  TRY_OK(os::sync_directory((root_ / key).parent_path()));
  return fail(Code::kExists, fmt::format("{} exists already in {}", key, describe()));
}

Result<> LocalStore::ensure_folder(const std::string& folder) {
  if (folder.empty()) return {};
  {
    std::lock_guard lock(mutex_);
    if (durable_folders_.contains(folder)) return {};
  }
  TRY_OK(ensure_folder(folder_of(folder)));
  const os::Path path = root_ / folder;
  TRY_ASSIGN(const auto s, os::status(path));
  if (s && !s->is_directory)
    return fail(Code::kConflict,
                fmt::format("{} in {} is an object, and no folder can be beside it", folder, describe()));
  // One that exists may have been made by another process a moment ago, and not be on the disk yet.
  TRY_OK(s ? os::sync_directory(path.parent_path()) : os::make_directories(path));
  std::lock_guard lock(mutex_);
  if (durable_folders_.size() >= kMostRemembered) durable_folders_.clear();
  durable_folders_.insert(folder);
  return {};
}

void LocalStore::forget_folder(std::string folder) {
  std::lock_guard lock(mutex_);
  for (; !folder.empty(); folder = folder_of(folder)) durable_folders_.erase(folder);
}

Result<uint64_t> LocalStore::remove_stale(Seconds age) const {
  TRY_ASSIGN(const auto there, os::status(temporaries_, false));
  if (!there || !there->is_directory) return 0;
  TRY_ASSIGN(const auto names, os::list_directory(temporaries_));
  const Timestamp oldest = now() - age;
  uint64_t removed = 0;
  for (const std::string& name : names) {
    const os::Path path = temporaries_ / name;
    auto s = os::status(path, false);
    if (!s || !*s || !(*s)->is_regular || (*s)->mtime_us >= oldest.time_since_epoch().count()) continue;
    auto gone = os::remove_file(path);
    if (!gone && gone.error().code != Code::kNotFound) return fail(std::move(gone).error());
    log::debug("removed {}, left by a put that did not end", path.native());
    ++removed;
  }
  return removed;
}

Result<uint64_t> LocalStore::remove_unfinished(const Context& ctx, Seconds age) {
  TRY_OK(ctx.check());
  TRY_OK(check_root());
  return remove_stale(age);
}

Result<LocalStore::Temporary> LocalStore::write_temporary(const Context& ctx, Body body) {
  TRY_OK(os::make_directories(temporaries_));
  std::call_once(cleaned_, [this] { (void)remove_stale(kStale); });
  const os::Path path = temporaries_ / fmt::format("{}-{}", unique_, ++serial_);
  TRY_ASSIGN(os::File file, os::File::open(path, os::File::Mode::kCreateNew, 0400));
  Temporary temporary(path);
  uint64_t offset = 0;
  for (ByteView rest : body) {
    while (!rest.empty()) {
      TRY_OK(ctx.check());
      const ByteView piece = rest.first(std::min(rest.size(), kWritePiece));
      TRY_OK(file.write_at(offset, piece));
      offset += piece.size();
      rest = rest.subspan(piece.size());
    }
  }
  TRY_OK(file.sync());
  TRY_OK(file.close());
  return temporary;
}

Result<> LocalStore::name_without_replacing(Temporary& temporary, const os::Path& target) {
  if (links_work_) {
    auto linked = os::link_file(temporary.path, target);
    if (linked) return {};
    if (linked.error().code == Code::kExists) {
      // A network file system repeats a request whose answer was lost, and the repetition finds our own link.
      TRY_ASSIGN(const auto ours, os::status(temporary.path, false));
      TRY_ASSIGN(const auto there, os::status(target, false));
      if (ours && there && ours->inode == there->inode && ours->device == there->device) return {};
    }
    if (linked.error().code != Code::kUnsupported) return linked;
    links_work_ = false;
  }
  auto renamed = os::rename_no_replace(temporary.path, target);
  if (renamed) temporary.path.clear();
  if (!renamed && renamed.error().code == Code::kUnsupported) {
    return fail(
        Error{Code::kUnsupported,
              fmt::format("the file system of {} can name a file neither by a hard link nor by a rename "
                          "that does not replace",
                          printable(root_.native())),
              "use a folder on a Linux file system (ext4, XFS, Btrfs, ZFS) or NFS"}
            .caused_by(std::move(renamed).error()));
  }
  return renamed;
}

Result<> LocalStore::publish(Temporary& temporary, const Key& key, PutMode mode) {
  const os::Path target = root_ / key;
  const std::string folder = folder_of(key);
  // Someone may tidy empty folders away between our making one and using it.
  for (int tries = 0;; ++tries) {
    TRY_OK(ensure_folder(folder));
    auto named = mode == PutMode::kCreateOnly ? name_without_replacing(temporary, target)
                                              : os::rename_file(temporary.path, target);
    if (named) break;
    if (named.error().code == Code::kExists) return taken(key);
    if (named.error().code != Code::kNotFound || tries == 3) return named;
    forget_folder(folder);
  }
  if (mode == PutMode::kUnconditional) temporary.path.clear();
  return os::sync_directory(target.parent_path());
}

Result<> LocalStore::put(const Context& ctx, const Key& key, Body body, const PutOptions& options) {
  TRY_OK(check_key(key));
  TRY_OK(ctx.check());
  if (options.retain_until) return extend_retention(ctx, key, *options.retain_until);
  TRY_ASSIGN(const auto present, look(key));
  if (present && options.mode == PutMode::kCreateOnly) return taken(key);
  TRY_OK(check_root());
  TRY_ASSIGN(Temporary temporary, write_temporary(ctx, body));
  return publish(temporary, key, options.mode);
}

Result<ObjectInfo> LocalStore::head(const Context& ctx, const Key& key) {
  TRY_OK(check_key(key));
  TRY_OK(ctx.check());
  TRY_ASSIGN(const auto s, look(key));
  if (!s) return fail(Code::kNotFound, fmt::format("there is no {} in {}", key, describe()));
  return info_from(key, *s);
}

Result<uint64_t> LocalStore::get(const Context& ctx, const Key& key, Range range, const Sink& sink) {
  TRY_OK(head(ctx, key));
  TRY_ASSIGN(const os::File file, os::File::open(root_ / key, os::File::Mode::kRead));
  TRY_ASSIGN(const uint64_t size, file.size());
  uint64_t left = range_size(range, size);
  Buffer piece(static_cast<size_t>(std::min<uint64_t>(left, kReadPiece)));
  for (uint64_t at = range.offset; left > 0;) {
    TRY_OK(ctx.check());
    const MutableBytes part =
        MutableBytes(piece).first(static_cast<size_t>(std::min<uint64_t>(left, piece.size())));
    TRY_OK(file.read_exact_at(at, part));
    TRY_OK(sink(part));
    at += part.size();
    left -= part.size();
  }
  return size;
}

Result<ListPage> LocalStore::list(const Context& ctx, const std::string& prefix, const std::string& token,
                                  size_t most) {
  LocalReader reader(root_);
  return folder::list(ctx, reader, prefix, token, most);
}

Result<std::vector<RemoveResult>> LocalStore::remove(const Context& ctx, std::span<const Key> keys) {
  auto remove_file = [&](const Key& key) -> Result<bool> {
    TRY_OK(check_key(key));
    TRY_ASSIGN(const auto s, look(key));
    if (!s) return false;
    auto removed = os::remove_file(root_ / key);
    if (!removed && removed.error().code != Code::kNotFound) return fail(std::move(removed).error());
    return true;
  };
  std::vector<RemoveResult> results;
  std::set<os::Path> touched;
  for (const Key& key : keys) {
    TRY_OK(ctx.check());
    auto removed = remove_file(key);
    results.push_back({key, {}});
    if (!removed) {
      results.back().result = fail(std::move(removed).error());
    } else if (*removed) {
      touched.insert((root_ / key).parent_path());
    }
  }
  // What is removed next may have been kept by what was removed now: the order must survive a power loss.
  for (const os::Path& folder : touched) {
    if (auto synced = os::sync_directory(folder); !synced && synced.error().code != Code::kNotFound)
      return fail(std::move(synced).error());
  }
  return results;
}

Result<> LocalStore::extend_retention(const Context&, const Key&, Timestamp) {
  return fail(Code::kUnsupported, fmt::format("{} cannot hold objects under retention", describe()),
              "a local folder cannot keep its owner from deleting: use a bucket with Object Lock for that");
}

}  // namespace varve::store
