// A folder for a database that lives only as long as a restore of tables: with its server, and gone
// afterwards whatever happens.
#pragma once

#include <optional>
#include <string>

#include "base/context.h"
#include "engine/postgres/server.h"
#include "os/file.h"

namespace varve::backup::postgres {

namespace db = engine::postgres;

// Who a scratch database belongs to: PostgreSQL does not run as root.
struct ScratchOwner {
  uint32_t uid = 0, gid = 0;
};

class Scratch {
 public:
  // A new folder "varve-table-…" in `parent` (empty: $TMPDIR). Before that, what runs that were killed have
  // left there goes, their servers too. Started by root, it belongs to the user postgres, where the system
  // has none to `fallback`. kDenied when that user cannot enter it.
  static Result<Scratch> create(const Context& ctx, const os::Path& parent, ScratchOwner fallback);
  Scratch(Scratch&&) noexcept;
  Scratch& operator=(Scratch&&) = delete;
  // Stops the server and removes the folder, whoever asked to stop meanwhile.
  ~Scratch();

  const os::Path& path() const { return path_; }
  os::Path data() const { return path_ / "data"; }
  os::Path sockets() const { return path_ / "s"; }
  os::Path tablespaces() const { return path_ / "tblspc"; }
  const std::optional<ScratchOwner>& owner() const { return owner_; }  // nullopt: our own
  Result<> give(const os::Path& path) const;                           // to the owner

  // Empties it, so that another data directory can be made.
  Result<> clear(const Context& ctx);
  Result<db::RunningServer> start(const Context& ctx, const db::Binaries& binaries,
                                  const db::ServerOptions& options);
  // The same as the destructor, and tells what failed.
  Result<> remove();

 private:
  explicit Scratch(os::Path path) : path_(std::move(path)) {}
  Result<> stop_server();
  os::Path path_;  // empty: moved from, or removed
  std::optional<ScratchOwner> owner_;
  std::optional<db::RunningServer> server_;
};

}  // namespace varve::backup::postgres
