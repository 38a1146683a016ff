#include "store/sftp/sftp_store.h"

#include <fmt/format.h>
#include <random>
#include <unistd.h>
#include <unordered_map>

#include "base/log.h"
#include "base/text.h"
#include "store/folder/walk.h"

namespace varve::store {
namespace {

constexpr uint32_t kFolderMode = 0700;
constexpr size_t kRemovedAtOnce = 64;

std::string unique_name() {
  std::random_device random;
  const uint64_t bits = (uint64_t{random()} << 32) | random();
  return fmt::format("{}-{:016x}", ::getpid(), bits);
}

ObjectInfo info_from(const Key& key, const net::SftpStatus& s) {
  return {.key = key, .size = s.size, .modified = Timestamp(Seconds(s.modified)), .retain_until = {}};
}

}  // namespace

SftpStore::SftpStore(sftp::Options options, bool create)
    : options_(std::move(options)),
      create_(create),
      pool_(options_.ssh, options_.connections),
      unique_(unique_name()) {}

Result<StorePtr> SftpStore::open(const Context& ctx, const store::Place& place, bool create) {
  TRY_ASSIGN(sftp::Options options, sftp::read_options(place));
  auto store = std::make_shared<SftpStore>(std::move(options), create);
  auto connected = store->lease(ctx);
  if (!connected && connected.error().retry == Retry::kNever) return fail(std::move(connected).error());
  if (!connected) log::debug("{}; the first call tries again", connected.error().describe());
  return store;
}

Capabilities SftpStore::capabilities() const {
  return {.create_only = exclusive_};
}

std::string SftpStore::policy() const {
  return fmt::format(
      "# /etc/ssh/sshd_config on {}\n"
      "Match User {}\n"
      "    ForceCommand internal-sftp\n"
      "    AuthenticationMethods publickey\n"
      "    DisableForwarding yes\n"
      "    PermitTTY no\n",
      options_.ssh.host, options_.ssh.user);
}

std::string SftpStore::path(std::string_view place) const {
  if (place.empty()) return root_;
  return fmt::format("{}/{}", root_ == "/" ? "" : root_, place);
}

Result<sftp::Pool::Lease> SftpStore::lease(const Context& ctx) {
  TRY_ASSIGN(sftp::Pool::Lease out, pool_.take(ctx));
  if (!found_) TRY_OK(find_folder(ctx, *out));
  return out;
}

Result<> SftpStore::find_folder(const Context& ctx, net::Sftp& sftp) {
  std::string root = options_.folder;
  if (!root.starts_with('/')) {
    TRY_ASSIGN(const std::string home, sftp.real_path(ctx, "."));
    root = root == "." ? home : fmt::format("{}/{}", home == "/" ? "" : home, root);
  }
  if (create_) {
    for (size_t slash = root.find('/', 1);; slash = root.find('/', slash + 1)) {
      // What is there already fails, and so does what may not be made: the look below tells.
      (void)sftp.make_folder(ctx, root.substr(0, slash), kFolderMode);
      if (!sftp.usable() || slash == root.npos) break;
    }
  }
  auto status = sftp.status(ctx, root);
  if (!status && status.error().code == Code::kNotFound) {
    return fail(Error{Code::kNotFound, fmt::format("there is no folder {}", printable(options_.address)),
                      create_ ? "it could not be made: may the user write there?"
                              : "check the address; sftp://host/~/folder is below the home of who logs in"});
  }
  if (!status) return fail(std::move(status).error());
  if (!status->is_directory)
    return fail(Code::kUsage, fmt::format("{} is not a folder", printable(options_.address)));
  TRY_ASSIGN(const auto sight, sftp.look(ctx, {}, root));
  std::lock_guard lock(mutex_);
  if (found_) return {};
  root_ = std::move(root);
  if (sight.space) file_system_ = sight.space->file_system;
  found_ = true;
  return {};
}

Result<std::vector<SftpStore::Sight>> SftpStore::look(const Context& ctx, net::Sftp& sftp,
                                                      std::span<const Key> keys, bool check_root) {
  // Component by component, so that a link put in the place of a folder cannot lead a write or read
  // elsewhere. It guards against accidents and left-overs; who can write the folder at the same moment is
  // trusted with it.
  std::vector<std::string> paths;
  std::unordered_map<std::string, size_t> index;
  for (const Key& key : keys) {
    for (size_t slash = key.find('/');; slash = key.find('/', slash + 1)) {
      if (index.emplace(key.substr(0, slash), paths.size()).second)
        paths.push_back(path(key.substr(0, slash)));
      if (slash == key.npos) break;
    }
  }
  TRY_ASSIGN(const auto seen, sftp.look(ctx, paths, check_root && file_system_ ? root_ : ""));
  if (check_root && file_system_ && seen.space && seen.space->file_system != *file_system_) {
    return fail(Code::kUnreachable, fmt::format("{} is not on the disk any more that it was on", describe()),
                "the disk may have been unmounted on the server: mount it, and run again");
  }
  std::vector<Sight> out;
  for (const Key& key : keys) {
    Sight sight;
    for (size_t slash = key.find('/');; slash = key.find('/', slash + 1)) {
      const std::string place = key.substr(0, slash);
      const auto& status = seen.statuses[index.at(place)];
      if (!status) break;
      if (status->is_symlink) sight.link = place;
      if (slash == key.npos) sight.status = *status;
      if (slash != key.npos && !status->is_directory) sight.file = place;
      if (status->is_symlink || slash == key.npos || !status->is_directory) break;
    }
    out.push_back(std::move(sight));
  }
  return out;
}

Result<SftpStore::Sight> SftpStore::look(const Context& ctx, net::Sftp& sftp, const Key& key,
                                         bool check_root) {
  TRY_ASSIGN(auto sights, look(ctx, sftp, std::span(&key, 1), check_root));
  TRY_OK(refuse_link(sights[0]));
  return std::move(sights[0]);
}

Result<> SftpStore::refuse_link(const Sight& sight) const {
  if (sight.link.empty()) return {};
  return fail(Code::kDenied, fmt::format("{} in {} is a symbolic link", printable(sight.link), describe()),
              "links inside a repository are not followed: put the folder itself there (a bind mount, for "
              "instance)");
}

tl::unexpected<Error> SftpStore::absent(const Key& key) const {
  return fail(Code::kNotFound, fmt::format("there is no {} in {}", key, describe()));
}

Result<ObjectInfo> SftpStore::head(const Context& ctx, const Key& key) {
  TRY_OK(check_key(key));
  TRY_ASSIGN(const auto sftp, lease(ctx));
  TRY_ASSIGN(const Sight sight, look(ctx, *sftp, key));
  if (!sight.is_object()) return absent(key);
  return info_from(key, *sight.status);
}

Result<uint64_t> SftpStore::get(const Context& ctx, const Key& key, Range range, const Sink& sink) {
  TRY_OK(check_key(key));
  TRY_ASSIGN(const auto sftp, lease(ctx));
  TRY_ASSIGN(const Sight sight, look(ctx, *sftp, key));
  if (!sight.is_object()) return absent(key);
  return sftp->read(ctx, path(key), range.offset, range.length, sink);
}

namespace {

class RemoteReader : public folder::Reader {
 public:
  using PathOf = std::function<std::string(const std::string&)>;
  RemoteReader(net::Sftp& sftp, PathOf path) : sftp_(sftp), path_(std::move(path)) {}

  Result<> entries(const Context& ctx, const std::string& place,
                   const std::function<Result<>(folder::Entry&&)>& callback) override {
    bool ours = false;
    auto read = sftp_.entries(ctx, path_(place), [&](net::SftpEntry&& e) -> Result<> {
      if (!e.status.has_type) {
        ours = true;
        return fail(Code::kUnsupported, fmt::format("{} does not tell files from folders", sftp_.peer()));
      }
      if (!e.status.is_regular && !e.status.is_directory && !e.status.is_symlink) return {};
      folder::Entry entry{.name = std::move(e.name),
                          .is_directory = e.status.is_directory,
                          .is_symlink = e.status.is_symlink,
                          .modified = Timestamp(Seconds(e.status.modified))};
      if (e.status.is_regular) entry.size = e.status.size;
      auto done = callback(std::move(entry));
      ours = !done;
      return done;
    });
    if (read || ours || !sftp_.usable()) return read;
    if (read.error().code == Code::kNotFound) return {};
    // Servers do not say that it is no folder.
    const std::string paths[] = {path_(place)};
    TRY_ASSIGN(const auto seen, sftp_.look(ctx, paths));
    return seen.statuses[0] && seen.statuses[0]->is_directory ? read : Result<>();
  }
  Result<std::optional<ObjectInfo>> file(const Context&, const Key&) override { return std::nullopt; }
  Result<bool> is_symlink(const Context& ctx, const std::string& place) override {
    const std::string paths[] = {path_(place)};
    TRY_ASSIGN(const auto seen, sftp_.look(ctx, paths));
    return seen.statuses[0] && seen.statuses[0]->is_symlink;
  }
  std::string describe(const std::string& place) const override { return path_(place); }

 private:
  net::Sftp& sftp_;
  const PathOf path_;
};

}  // namespace

Result<ListPage> SftpStore::list(const Context& ctx, const std::string& prefix, const std::string& token,
                                 size_t most) {
  TRY_ASSIGN(const auto sftp, lease(ctx));
  RemoteReader reader(*sftp, [this](const std::string& place) { return path(place); });
  return folder::list(ctx, reader, prefix, token, most);
}

Result<std::vector<RemoveResult>> SftpStore::remove(const Context& ctx, std::span<const Key> keys) {
  std::vector<RemoveResult> results;
  if (keys.empty()) return results;
  TRY_ASSIGN(const auto sftp, lease(ctx));
  while (!keys.empty()) {
    TRY_OK(ctx.check());
    const size_t n = std::min(keys.size(), kRemovedAtOnce);
    TRY_OK(remove_some(ctx, *sftp, keys.first(n), &results));
    keys = keys.subspan(n);
  }
  return results;
}

Result<> SftpStore::remove_some(const Context& ctx, net::Sftp& sftp, std::span<const Key> keys,
                                std::vector<RemoveResult>* results) {
  std::vector<Key> good;
  for (const Key& key : keys) {
    if (check_key(key)) good.push_back(key);
  }
  TRY_ASSIGN(const std::vector<Sight> sights, look(ctx, sftp, good));
  std::vector<std::string> doomed;
  std::vector<size_t> whose;
  size_t seen = 0;
  const size_t base = results->size();
  for (const Key& key : keys) {
    results->push_back({key, check_key(key)});
    if (!results->back().result) continue;
    const Sight& sight = sights[seen++];
    results->back().result = refuse_link(sight);
    if (!results->back().result || !sight.is_object()) continue;
    doomed.push_back(path(key));
    whose.push_back(results->size() - 1 - base);
  }
  TRY_ASSIGN(auto removed, sftp.remove_files(ctx, doomed));
  std::unordered_set<std::string> touched;
  for (size_t i = 0; i < removed.size(); ++i) {
    touched.insert(
        keys[whose[i]].substr(0, keys[whose[i]].rfind('/') == Key::npos ? 0 : keys[whose[i]].rfind('/')));
    if (removed[i] || removed[i].error().code == Code::kNotFound) continue;
    (*results)[base + whose[i]].result = std::move(removed[i]);
  }
  // What is removed next may have been kept by what was removed now: the order must survive a power loss.
  for (const std::string& folder : touched) {
    if (auto synced = sync_folder(ctx, sftp, folder); !synced && synced.error().code != Code::kNotFound)
      return fail(std::move(synced).error());
  }
  return {};
}

Result<> SftpStore::extend_retention(const Context&, const Key&, Timestamp) {
  return fail(
      Code::kUnsupported, fmt::format("{} cannot hold objects under retention", describe()),
      "SFTP cannot keep its user from deleting: use a bucket with Object Lock, or snapshots on the server");
}

}  // namespace varve::store
