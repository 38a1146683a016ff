// The pin of a copy: tells collectors of the store that is copied to. A copy without the key can seal nothing
// and read no plan, so this is plain JSON, and collections and copies keep out of each other's way
// (docs/format/copy.md): each puts its pin, then looks for the other's.
#pragma once

#include "os/process.h"
#include "repo/repository.h"

namespace varve::repo {

inline constexpr std::string_view kCopyPrefix = "copies/";
store::Key copy_key(const WriterId& id);

struct CopyInfo {
  WriterId id;
  RepoId repository;
  std::string from;  // the address copied from, for people
  os::ProcessIdentity process;
  Timestamp started = {};
};
// "copies/3f9a… (a copy from file:///a on host h, process 42, since …)"
std::string describe(const CopyInfo& copy);

// kDamaged, naming the object; kUnsupported for a newer format.
Result<CopyInfo> parse_copy_pin(const store::Key& key, std::string_view text);

class CopyPin {
 public:
  static Result<CopyPin> take(const Context& ctx, store::StorePtr store, const RepoId& repository,
                              std::string from);
  // Left in the store when not released: a crash must look like a crash. Idempotent.
  Result<> release(const Context& ctx);
  // kConflict when it no longer stands: a collection took the copy for ended.
  Result<> check_standing(const Context& ctx) const;
  const CopyInfo& info() const { return info_; }

 private:
  CopyPin(store::StorePtr store, CopyInfo info) : store_(std::move(store)), info_(std::move(info)) {}
  store::StorePtr store_;
  CopyInfo info_;
  bool released_ = false;
};

// Every one there is. kDamaged, naming the object, when one cannot be read.
Result<std::vector<CopyInfo>> list_copies(const Context& ctx, store::Store& store);
// Its process is known dead, or it began so long ago (24 hours) that it must not hold up collections any
// more: its pin may be removed. A copy that lives on notices at its next manifest, and begins anew.
bool has_ended(const CopyInfo& copy, Timestamp at);

}  // namespace varve::repo
