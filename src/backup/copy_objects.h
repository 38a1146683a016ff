// One object after the other from a store to another, each checked before it is put and read back after. Part
// of copy.
#pragma once

#include <mutex>
#include <optional>
#include <vector>

#include "backup/copy.h"
#include "repo/manifest.h"

namespace varve::backup {

// What is wrong with bytes that stand under this name; nullopt: nothing that can be told. Without `opened`
// that is damage; with it also what was exchanged or forged.
std::optional<std::string> flaw_of(const store::Key& key, ByteView bytes, const repo::Config& config,
                                   const repo::Repository* opened);

// How long what is put now for a promise of `retain` is locked.
Timestamp locked_until(Seconds retain);

struct CopyItem {
  store::Key key;
  uint64_t size = 0;
  bool compare = false;                          // the target has it: read both
  std::optional<codec::Checksum> checksum = {};  // of a pack, as its backup says
  std::optional<Buffer> content = {};            // read already
};

// Thread-safe.
class Transfer {
 public:
  Transfer(store::StorePtr from, store::StorePtr to, const repo::Config& config, const CopyOptions& options,
           Progress& progress, CopyReport& report);

  enum class Outcome { kThere /* by now, sound as far as was looked */, kVanished, kProblem };
  using Done = std::function<void(size_t item, Outcome)>;
  // In several threads. `ordered`: each is put only when those before it are (an item that cannot be copied
  // holds up none). `done` is called by one thread at a time. A failure of a store ends it.
  Result<> run(const Context& ctx, std::vector<CopyItem>& items, bool ordered, const Done& done);

  void problem(CopyProblem p);

 private:
  class Turns;
  Result<Outcome> copy(const Context& ctx, CopyItem& item, const std::function<Result<>()>& turn);
  Result<Outcome> compare(const Context& ctx, const CopyItem& item, ByteView source,
                          const std::optional<std::string>& flaw);
  Result<Outcome> put(const Context& ctx, const CopyItem& item, ByteView bytes, bool replace);
  // nullopt: gone, or a problem that was told (`outcome` says which).
  Result<std::optional<Buffer>> read(const Context& ctx, store::Store& store, const CopyItem& item,
                                     Outcome& outcome);
  Result<bool> concerns_object(const Context& ctx, store::Store& store, const Error& error) const;
  std::optional<std::string> flaw(const CopyItem& item, ByteView bytes) const;

  const store::StorePtr from_, to_;
  const repo::Config& config_;
  const CopyOptions& options_;
  Progress& progress_;
  std::mutex mutex_;
  CopyReport& report_;
};

}  // namespace varve::backup
