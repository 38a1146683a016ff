// Lists objects that are files below a folder, in the order of their keys. Shared by the drivers whose
// folders are real: local and sftp.
#pragma once

#include <functional>
#include <optional>

#include "store/store.h"

namespace varve::store::folder {

struct Entry {
  std::string name;
  bool is_directory = false, is_symlink = false;
  // Where reading the folder tells as much: a regular file's.
  std::optional<uint64_t> size = {};
  Timestamp modified = {};
};

// Places are relative to the root: "" is the root itself, "packs/0b" something in it.
class Reader {
 public:
  virtual ~Reader() = default;
  // What is in a folder, as it comes, without "." and ".."; nothing when it is not there (any more), or is no
  // folder. The callback's error ends it.
  virtual Result<> entries(const Context& ctx, const std::string& place,
                           const std::function<Result<>(Entry&&)>& callback) = 0;
  // The file of a key; nullopt when there is none that is regular. Asked only where entries() gave no size.
  virtual Result<std::optional<ObjectInfo>> file(const Context& ctx, const Key& key) = 0;
  virtual Result<bool> is_symlink(const Context& ctx, const std::string& place) = 0;
  // For a person: "/srv/backups/packs".
  virtual std::string describe(const std::string& place) const = 0;
};

// One page of a list(). kDenied when a symbolic link is in the way. Memory follows `most` (1024 at the
// least), not the folder: a larger one is read once for each so many.
Result<ListPage> list(const Context& ctx, Reader& reader, const std::string& prefix, const std::string& token,
                      size_t most);

}  // namespace varve::store::folder
