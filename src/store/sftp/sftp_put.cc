// Puts: a new file, and then its name.
#include <algorithm>
#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"
#include "store/sftp/sftp_store.h"

namespace varve::store {
namespace {

constexpr uint32_t kFileMode = 0400, kFolderMode = 0700;
constexpr std::chrono::hours kStale{24};
constexpr size_t kMostRemembered = 1 << 16;
constexpr size_t kMostAbandoned = 256;
constexpr uint64_t kAsGoodAsFull = 1 << 20;
constexpr std::string_view kTemporaries = ".varve-tmp";

std::string folder_of(std::string_view key) {
  const size_t slash = key.rfind('/');
  return std::string(slash == key.npos ? std::string_view() : key.substr(0, slash));
}

}  // namespace

Result<> SftpStore::put(const Context& ctx, const Key& key, Body body, const PutOptions& options) {
  TRY_OK(check_key(key));
  TRY_OK(ctx.check());
  if (options.retain_until) return extend_retention(ctx, key, *options.retain_until);
  TRY_ASSIGN(const auto sftp, lease(ctx));
  TRY_ASSIGN(const Sight sight, look(ctx, *sftp, key, true));
  if (sight.status && (options.mode == PutMode::kCreateOnly || !sight.status->is_regular))
    return taken(ctx, *sftp, key, sight);
  if (!sight.file.empty()) {
    return fail(Code::kConflict,
                fmt::format("{} in {} is a file, and no folder for {}", sight.file, describe(), key));
  }
  const std::string temporary = path(fmt::format("{}/{}-{}", kTemporaries, unique_, ++serial_));
  auto done = write_temporary(ctx, *sftp, temporary, body);
  if (!done) done = fail(explain(ctx, *sftp, std::move(done).error()));
  if (done) done = publish(ctx, *sftp, temporary, key, options.mode);
  if (done) done = sync_folder(ctx, *sftp, folder_of(key), temporary);
  if (!done) discard(ctx, *sftp, temporary);
  if (done) tidy(ctx, *sftp);
  return done;
}

Result<> SftpStore::taken(const Context& ctx, net::Sftp& sftp, const Key& key, const Sight& sight) {
  if (!sight.is_object())
    return fail(Code::kConflict, fmt::format("{} in {} is a folder of other objects", key, describe()));
  // Whoever wrote it may not have come to sync the folder, and our caller will now count on the object.
  TRY_OK(sync_folder(ctx, sftp, folder_of(key)));
  return fail(Code::kExists, fmt::format("{} exists already in {}", key, describe()));
}

// "Failure" is all that version 3 of the protocol can say of a full disk: look whether it is one.
Error SftpStore::explain(const Context& ctx, net::Sftp& sftp, Error error) {
  if (error.code != Code::kUnreachable || !sftp.usable()) return error;
  auto seen = sftp.look(ctx, {}, root_);
  if (!seen || !seen->space || seen->space->available >= kAsGoodAsFull) {
    if (error.hint.empty()) error.hint = "the server's log may tell more; is a quota used up?";
    return error;
  }
  return Error{
      Code::kNoSpace,
      fmt::format("the disk of {} is full: {} are left", describe(), human_size(seen->space->available)),
      "free some space on the server, or make room with varve expire and varve gc"}
      .caused_by(std::move(error));
}

Result<> SftpStore::write_temporary(const Context& ctx, net::Sftp& sftp, const std::string& temporary,
                                    Body body) {
  auto written = sftp.write_new(ctx, temporary, body, kFileMode);
  if (written || written.error().code != Code::kNotFound) return written;
  const std::string folder = path(kTemporaries);
  auto made = sftp.make_folder(ctx, folder, kFolderMode);
  written = sftp.usable() ? sftp.write_new(ctx, temporary, body, kFileMode) : made;
  if (!written && written.error().code == Code::kNotFound && !made) return made;
  return written;
}

Result<> SftpStore::publish(const Context& ctx, net::Sftp& sftp, const std::string& temporary, const Key& key,
                            PutMode mode) {
  const std::string folder = folder_of(key);
  // Someone may tidy empty folders away between our making one and using it.
  for (int tries = 0;; ++tries) {
    TRY_OK(ensure_folder(ctx, sftp, folder));
    auto named = mode == PutMode::kCreateOnly ? name_without_replacing(ctx, sftp, temporary, key)
                                              : name_replacing(ctx, sftp, temporary, key);
    if (named || named.error().code != Code::kNotFound || tries == 3) return named;
    forget_folder(folder);
  }
}

Result<> SftpStore::name_without_replacing(const Context& ctx, net::Sftp& sftp, const std::string& temporary,
                                           const Key& key) {
  const std::string target = path(key);
  Result<> named = fail(Code::kUnsupported, "no hard links");
  const bool by_link = sftp.offers().link && links_work_;
  if (by_link) named = sftp.link(ctx, temporary, target);
  if (!by_link) named = sftp.rename(ctx, temporary, target);
  if (named || !sftp.usable()) return named;
  // Version 3 has no word for "exists".
  TRY_ASSIGN(const Sight sight, look(ctx, sftp, key));
  if (sight.status) return taken(ctx, sftp, key, sight);
  if (!by_link || named.error().code == Code::kNotFound) return named;
  // A file system without hard links; there the server's rename looks first, and then renames: a race
  // remains.
  auto renamed = sftp.rename(ctx, temporary, target);
  if (renamed) {
    links_work_ = exclusive_ = false;
    log::warn("{} has no hard links: two puts of one name may race there", describe());
    return renamed;
  }
  if (!sftp.usable()) return renamed;
  TRY_ASSIGN(const Sight again, look(ctx, sftp, key));
  return again.status ? taken(ctx, sftp, key, again) : named;
}

Result<> SftpStore::name_replacing(const Context& ctx, net::Sftp& sftp, const std::string& temporary,
                                   const Key& key) {
  const std::string target = path(key);
  auto named = sftp.replace(ctx, temporary, target);
  if (named || named.error().code != Code::kUnsupported) return named;
  const std::string targets[] = {target};
  TRY_OK(sftp.remove_files(ctx, targets));
  return sftp.rename(ctx, temporary, target);
}

Result<> SftpStore::ensure_folder(const Context& ctx, net::Sftp& sftp, const std::string& folder) {
  if (folder.empty()) return {};
  {
    std::lock_guard lock(mutex_);
    if (durable_folders_.contains(folder)) return {};
  }
  const std::string above = folder_of(folder);
  TRY_OK(ensure_folder(ctx, sftp, above));
  auto made = sftp.make_folder(ctx, path(folder), kFolderMode);
  if (!made) {
    if (!sftp.usable()) return made;
    const std::string paths[] = {path(folder)};
    TRY_ASSIGN(const auto seen, sftp.look(ctx, paths));
    const auto& status = seen.statuses[0];
    if (!status) {
      if (made.error().code == Code::kNotFound && !above.empty()) forget_folder(above);
      return made;
    }
    if (!status->is_directory)
      return fail(Code::kConflict, fmt::format("{} in {} is a file, and no folder", folder, describe()));
  }
  // One that was there already, too: the process that made it may not have come so far.
  TRY_OK(sync_folder(ctx, sftp, above));
  std::lock_guard lock(mutex_);
  if (durable_folders_.size() >= kMostRemembered) durable_folders_.clear();
  durable_folders_.insert(folder);
  return {};
}

void SftpStore::forget_folder(std::string folder) {
  std::lock_guard lock(mutex_);
  for (; !folder.empty(); folder = folder_of(folder)) durable_folders_.erase(folder);
}

Result<> SftpStore::sync_folder(const Context& ctx, net::Sftp& sftp, const std::string& folder,
                                const std::string& temporary) {
  if (folders_sync_) {
    auto synced = sftp.sync_folder(ctx, path(folder), temporary);
    if (synced || synced.error().code != Code::kUnsupported) return synced;
    if (folders_sync_.exchange(false))
      log::info("{} cannot sync folders: what was put last may be lost with the server's power", describe());
  }
  if (temporary.empty()) return {};
  const std::string paths[] = {temporary};
  TRY_OK(sftp.remove_files(ctx, paths));
  return {};
}

void SftpStore::discard(const Context& ctx, net::Sftp& sftp, const std::string& temporary) {
  const std::string paths[] = {temporary};
  if (sftp.usable() && sftp.remove_files(ctx, paths)) return;
  std::lock_guard lock(mutex_);
  if (abandoned_.size() < kMostAbandoned) abandoned_.push_back(temporary);
}

// What earlier puts left: ours, whose connection broke, and once in a store's life those of others.
void SftpStore::tidy(const Context& ctx, net::Sftp& sftp) {
  std::vector<std::string> left;
  {
    std::lock_guard lock(mutex_);
    left.swap(abandoned_);
  }
  if (!left.empty() && !(sftp.usable() && sftp.remove_files(ctx, left))) {
    std::lock_guard lock(mutex_);
    abandoned_.insert(abandoned_.end(), left.begin(), left.end());
  }
  if (!sftp.usable() || cleaned_.exchange(true)) return;
  (void)remove_stale(ctx, sftp, kStale);
}

// By the server's clock, which the time of the folder tells: it is set when a file of ours comes and goes.
Result<uint64_t> SftpStore::remove_stale(const Context& ctx, net::Sftp& sftp, Seconds age) {
  const std::string folder = path(kTemporaries), folders[] = {folder};
  TRY_ASSIGN(const auto seen, sftp.look(ctx, folders));
  if (!seen.statuses[0]) return 0;
  const int64_t oldest = int64_t{seen.statuses[0]->modified} - age.count();
  uint64_t removed = 0;
  for (std::vector<std::string> stale;; stale.clear()) {
    TRY_OK(sftp.entries(ctx, folder, [&](net::SftpEntry&& e) -> Result<> {
      if (e.status.is_regular && e.status.modified < oldest && stale.size() < kMostAbandoned &&
          e.name.find('/') == e.name.npos)
        stale.push_back(folder + "/" + e.name);
      return {};
    }));
    if (stale.empty()) return removed;
    TRY_OK(sftp.remove_files(ctx, stale));
    log::debug("removed {} files that puts had left", stale.size());
    removed += stale.size();
    if (stale.size() < kMostAbandoned) return removed;
  }
}

Result<uint64_t> SftpStore::remove_unfinished(const Context& ctx, Seconds age) {
  TRY_ASSIGN(const auto sftp, lease(ctx));
  return remove_stale(ctx, *sftp, age);
}

}  // namespace varve::store
