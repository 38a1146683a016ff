// Pins: work under way, told to collectors. A pin is put before the first pack, and before anything is read
// that the work will build on; it goes when the work is committed or abandoned.
#pragma once

#include "os/process.h"
#include "repo/repository.h"

namespace varve::repo {

struct PinInfo {
  std::string source, what;
  Timestamp started = {};
  os::ProcessIdentity process;
  WriterId writer;
  std::vector<std::string> backups;  // manifests it builds on
};

class Pin {
 public:
  static Result<Pin> take(std::shared_ptr<const Repository> repo, const Context& ctx, std::string source,
                          std::string what);
  Pin(Pin&&) noexcept = default;
  Pin& operator=(Pin&&) noexcept = default;
  // Leaves the pin in the store when not released: a crash must look like a crash. release() is idempotent.
  Result<> release(const Context& ctx);
  // kConflict when it no longer stands: somebody took us for dead, and what we wrote may have been collected.
  Result<> check_standing(const Context& ctx) const;
  const WriterId& writer() const { return info_.writer; }

 private:
  Pin(std::shared_ptr<const Repository> repo, PinInfo info)
      : repo_(std::move(repo)), info_(std::move(info)) {}
  std::shared_ptr<const Repository> repo_;
  PinInfo info_;
  bool released_ = false;
};

// Every pin there is; an unreadable one is an error (a collector must stop, DESIGN §6).
Result<std::vector<PinInfo>> list_pins(const Repository& repo, const Context& ctx);

}  // namespace varve::repo
