// What one call of `log push` or `log fetch` leaves for the next, which is a process of its own: in a private
// folder "varve" beside the WAL. Nothing of it is needed; what is missing or not as it should be is as good
// as not there. Several processes may be at work in it at once, and be killed at any moment.
//
// "sent": which files of the WAL the repository holds, each known by its inode and the time of its last
// change.
// "<segment>": one that was fetched ahead, and behind it kTrailer bytes: a checksum of it, and one of where
// it is from. "next": the segment that the server is expected to miss next, and how many to fetch ahead then.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "os/file.h"

namespace varve::backup::postgres {

class WalAside {
 public:
  // `origin` tells repository, source and cluster: what is from another one is not taken.
  WalAside(os::Path wal_directory, std::string origin)
      : folder_(std::move(wal_directory) / "varve"), origin_(std::move(origin)) {}

  os::Path wal_directory() const { return folder_.parent_path(); }

  // A file as it is now. The kernel sets `changed` at every write and every rename: a segment that was
  // recycled has another.
  struct Mark {
    std::string name;
    uint64_t device = 0, inode = 0, size = 0;
    int64_t changed_ns = 0;
    bool operator==(const Mark&) const = default;
  };
  static Result<Mark> mark(const os::Path& file);
  // These files are durable in the repository. Replaces what was noted before.
  Result<> note_sent(const std::vector<Mark>& files) const;
  // Whether that was noted of this very file not long ago.
  bool was_sent(const os::Path& file) const;

  // Keeps a segment that was fetched ahead.
  Result<> keep(const std::string& segment, ByteView bytes) const;
  // Puts a segment that was kept at `target`. False: there is none, or it is not whole.
  bool take(const std::string& segment, const os::Path& target) const;

  struct Next {
    std::string segment;
    uint32_t ahead = 0;
  };
  std::optional<Next> next() const;
  Result<> expect(const Next& next) const;

  // Segments that were kept, and what killed calls left of them.
  void forget_fetched() const;

 private:
  Result<> ensure_folder() const;
  bool is_ours() const;

  const os::Path folder_;
  const std::string origin_;
};

}  // namespace varve::backup::postgres
