// What a verification has found so far, and how an error becomes a finding. Part of verify.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "backup/verify.h"
#include "base/context.h"
#include "repo/repository.h"

namespace varve::backup {

// What is wrong with one object; kinds as in VerifyProblem.
struct Damage {
  std::string kind, message;
};

// Thread-safe.
class Findings {
 public:
  using Id = size_t;
  // The same finding again is the same problem.
  Id add(const std::string& object, const Damage& damage);
  void affect(Id problem, const std::string& what);
  // Takes it back, unless something was found to be affected.
  void forgive(Id problem);
  // Ascending by object.
  std::vector<VerifyProblem> take();

 private:
  struct Entry {
    std::string object;
    Damage damage;
    std::set<std::string> affects;
    bool forgiven = false;
  };
  std::mutex mutex_;
  std::vector<Entry> entries_;
  std::map<std::tuple<std::string, std::string, std::string>, Id> known_;
};

// What the error says of the object `key`. An error that tells of the store, not of the object, is passed on.
Result<Damage> damage_of(const repo::Repository& repo, const Context& ctx, const std::string& key,
                         const Error& error);

// The same for a sealed small object, looked at closely: truncated, damaged, swapped with one of its siblings
// (objects of its kind that it may have been exchanged with), or foreign.
Result<Damage> sealed_damage(const repo::Repository& repo, const Context& ctx, std::string_view kind,
                             const std::string& key, const Error& error,
                             const std::vector<std::string>& siblings);

// Runs work(i) for every i below count on several threads; the first error ends it.
Result<> in_parallel(const Context& ctx, unsigned workers, size_t count,
                     const std::function<Result<>(const Context&, size_t)>& work);

}  // namespace varve::backup
