// Files on a server, by SFTP version 3 over an SSH connection of its own. Requests are sent ahead of their
// answers, so that distance costs one round trip for a file's bytes and not one a packet.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/bytes.h"
#include "base/context.h"
#include "net/sftp_wire.h"
#include "net/ssh.h"

namespace varve::net {

// One thread at a time. Paths are the server's: absolute, or relative to the folder of the login.
// Failures: what SshSession says, and the server's own: kNotFound, kDenied, kNoSpace, kExists, kUnsupported
// as far as the protocol can tell; kUnreachable, never to be retried, for the rest ("Failure" is all that a
// server says for most things). After kInterrupted, and when the connection broke, usable() is false.
class Sftp {
 public:
  // What goes beyond version 3, each by the extension of OpenSSH's name.
  struct Offers {
    bool sync = false;     // fsync@openssh.com
    bool link = false;     // hardlink@openssh.com
    bool replace = false;  // posix-rename@openssh.com
    bool space = false;    // statvfs@openssh.com
  };
  using Sink = std::function<Result<>(ByteView)>;

  static Result<std::unique_ptr<Sftp>> connect(const Context& ctx, const SshOptions& options);

  bool usable() const { return !broken_; }
  bool still_open() { return !broken_ && session_->still_open(); }  // no waiting
  const Offers& offers() const { return offers_; }
  const std::string& peer() const { return session_->peer(); }

  Result<std::string> real_path(const Context& ctx, const std::string& path);
  // What is at each path, links not followed, nullopt for nothing; and the space there is at `space_of`, when
  // it is not empty and the server tells. One round trip for all.
  struct Sight {
    std::vector<std::optional<SftpStatus>> statuses;
    std::optional<SftpSpace> space;
  };
  Result<Sight> look(const Context& ctx, std::span<const std::string> paths,
                     const std::string& space_of = {});
  Result<SftpStatus> status(const Context& ctx, const std::string& path);  // links are followed

  // Makes a file that must not be there, with what `body` holds, synced where the server can. After a failure
  // it may be there in part. Permissions of the owner: `mode`.
  Result<> write_new(const Context& ctx, const std::string& path, std::span<const ByteView> body,
                     uint32_t mode);
  // A range as far as the file has it, in parts of at most 256 KiB. The size of the whole file.
  Result<uint64_t> read(const Context& ctx, const std::string& path, uint64_t offset, uint64_t length,
                        const Sink& sink);
  // As they come, without "." and "..". The callback's error ends it.
  Result<> entries(const Context& ctx, const std::string& path,
                   const std::function<Result<>(SftpEntry&&)>& callback);

  Result<> link(const Context& ctx, const std::string& from, const std::string& to);
  // By the protocol an error when `to` exists; whether the server keeps to it, it must show.
  Result<> rename(const Context& ctx, const std::string& from, const std::string& to);
  Result<> replace(const Context& ctx, const std::string& from, const std::string& to);  // kUnsupported
  Result<> make_folder(const Context& ctx, const std::string& path, uint32_t mode);
  // One round trip for all; an answer for each, in order.
  Result<std::vector<Result<>>> remove_files(const Context& ctx, std::span<const std::string> paths);
  // Makes the names in a folder last. The protocol does not know this: it opens the folder as a file and
  // syncs that, which OpenSSH's server allows. kUnsupported where it is refused.
  // With `doomed`, that file is removed in passing, whether it is there or not.
  Result<> sync_folder(const Context& ctx, const std::string& path, const std::string& doomed = {});

 private:
  explicit Sftp(std::unique_ptr<SshSession> session) : session_(std::move(session)) {}
  Result<> begin(const Context& ctx);
  SftpRequest request(SftpType type);
  SftpRequest extended(std::string_view name);
  Result<uint32_t> send(const Context& ctx, SftpRequest& request);
  Result<SftpReply> await(const Context& ctx, uint32_t id);
  Result<SftpReply> receive(const Context& ctx);
  Result<SftpReply> ask(const Context& ctx, SftpRequest request);
  // Waits for a status; an error unless it is OK. `doing`: "cannot make /srv/x".
  Result<> expect_ok(const Context& ctx, uint32_t id, std::string_view doing, const std::string& path);
  Result<> ask_ok(const Context& ctx, SftpRequest request, std::string_view doing, const std::string& path);
  Result<std::string> open(const Context& ctx, SftpRequest request, std::string_view doing,
                           const std::string& path);
  Result<> close(const Context& ctx, const std::string& handle, const std::string& path);
  Result<> send_body(const Context& ctx, const std::string& handle, std::span<const ByteView> body,
                     const std::string& path);
  Result<> receive_range(const Context& ctx, const std::string& handle, uint64_t offset, uint64_t end,
                         const Sink& sink, const std::string& path);
  Result<> receive_entries(const Context& ctx, const std::string& handle,
                           const std::function<Result<>(SftpEntry&&)>& callback, const std::string& path);
  bool awaits(uint32_t id) const { return awaited_.contains(id) || arrived_.contains(id); }
  // Takes in the answers that nobody waits for any more, so that the connection can serve again.
  void settle(const Context& ctx);
  Error error_of(const SftpVerdict& verdict, std::string_view doing, const std::string& path) const;
  // The Error of a reply that should have been of another type than kStatus.
  tl::unexpected<Error> refusal(const SftpReply& reply, std::string_view doing, const std::string& path);
  tl::unexpected<Error> nonsense(std::string_view what);

  std::unique_ptr<SshSession> session_;
  Offers offers_;
  size_t read_piece_ = 0, write_piece_ = 0;
  uint32_t next_id_ = 16;  // above what stands in its place in the first packets, the version
  bool broken_ = false;
  std::unordered_set<uint32_t> awaited_;
  std::unordered_map<uint32_t, SftpReply> arrived_;
};

}  // namespace varve::net
