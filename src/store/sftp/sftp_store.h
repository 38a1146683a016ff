// Objects as files below a folder of an SFTP server: a key is a path, written once.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <unordered_set>

#include "store/sftp/options.h"
#include "store/sftp/pool.h"
#include "store/store.h"

namespace varve::store {

// As the local folder does it, over the network: a put makes a new file below ".varve-tmp", syncs it, gives
// it its name by a hard link (which never replaces), and syncs the folder. Where the server offers less:
//  - no hard links (hardlink@openssh.com): by a rename, which the protocol says does not replace. Whether the
//    server keeps to that is what init's probe finds out;
//  - no fsync@openssh.com, or not for folders: an object that was put may be lost with the server's power.
// Temporary files are not visible, and a put removes those older than a day. Symbolic links below the folder
// are refused. Files are made 0400 and folders 0700.
class SftpStore : public Store {
 public:
  // Connects, and finds the folder: kNotFound when it is not there and `create` is false. A server that
  // cannot be reached just now is no failure yet: the first call tries again, and so do the retries around
  // it.
  static Result<StorePtr> open(const Context& ctx, const Place& place, bool create);
  static std::span<const Setting> settings() { return sftp::sftp_settings(); }

  Capabilities capabilities() const override;
  Result<> put(const Context& ctx, const Key& key, Body body, const PutOptions& options) override;
  Result<uint64_t> get(const Context& ctx, const Key& key, Range range, const Sink& sink) override;
  Result<ObjectInfo> head(const Context& ctx, const Key& key) override;
  Result<ListPage> list(const Context& ctx, const std::string& prefix, const std::string& token,
                        size_t most) override;
  Result<std::vector<RemoveResult>> remove(const Context& ctx, std::span<const Key> keys) override;
  Result<> extend_retention(const Context& ctx, const Key& key, Timestamp until) override;
  size_t parallel_gets() const override { return options_.connections; }
  Result<uint64_t> remove_unfinished(const Context& ctx, Seconds age) override;
  std::string describe() const override { return options_.address; }
  std::string policy() const override;

  SftpStore(sftp::Options options, bool create);

 private:
  // What stands in the place of a key.
  struct Sight {
    std::optional<net::SftpStatus> status = {};  // of the key itself, whatever it is
    std::string link = {};                       // the component that is a symbolic link
    std::string file = {};                       // the component that is a file where a folder is due
    bool is_object() const { return status && status->is_regular; }
  };

  // A connection, with the folder found.
  Result<sftp::Pool::Lease> lease(const Context& ctx);
  Result<> find_folder(const Context& ctx, net::Sftp& sftp);
  std::string path(std::string_view place) const;  // on the server
  Result<std::vector<Sight>> look(const Context& ctx, net::Sftp& sftp, std::span<const Key> keys,
                                  bool check_root = false);
  Result<Sight> look(const Context& ctx, net::Sftp& sftp, const Key& key, bool check_root = false);
  Result<> refuse_link(const Sight& sight) const;
  tl::unexpected<Error> absent(const Key& key) const;

  // Kinds of failure of a put.
  Result<> taken(const Context& ctx, net::Sftp& sftp, const Key& key, const Sight& sight);
  Error explain(const Context& ctx, net::Sftp& sftp, Error error);

  Result<> write_temporary(const Context& ctx, net::Sftp& sftp, const std::string& temporary, Body body);
  Result<> publish(const Context& ctx, net::Sftp& sftp, const std::string& temporary, const Key& key,
                   PutMode mode);
  Result<> name_without_replacing(const Context& ctx, net::Sftp& sftp, const std::string& temporary,
                                  const Key& key);
  Result<> name_replacing(const Context& ctx, net::Sftp& sftp, const std::string& temporary, const Key& key);
  Result<> ensure_folder(const Context& ctx, net::Sftp& sftp, const std::string& folder);
  void forget_folder(std::string folder);
  // Where the server can; with a temporary file, that is removed in the same breath.
  Result<> sync_folder(const Context& ctx, net::Sftp& sftp, const std::string& folder,
                       const std::string& temporary = {});
  Result<> remove_some(const Context& ctx, net::Sftp& sftp, std::span<const Key> keys,
                       std::vector<RemoveResult>* results);

  void discard(const Context& ctx, net::Sftp& sftp, const std::string& temporary);
  void tidy(const Context& ctx, net::Sftp& sftp);
  Result<uint64_t> remove_stale(const Context& ctx, net::Sftp& sftp, Seconds age);

  const sftp::Options options_;
  const bool create_;
  sftp::Pool pool_;
  const std::string unique_;  // begins the names of this store's temporary files
  std::atomic<uint64_t> serial_ = 0;
  std::atomic<bool> links_work_ = true, exclusive_ = true, folders_sync_ = true, cleaned_ = false;

  std::mutex mutex_;
  std::atomic<bool> found_ = false;
  std::string root_;                     // set before found_, never again
  std::optional<uint64_t> file_system_;  // of the root, where the server tells
  std::unordered_set<std::string> durable_folders_;
  std::vector<std::string> abandoned_;  // temporary files whose connection broke
};

}  // namespace varve::store
