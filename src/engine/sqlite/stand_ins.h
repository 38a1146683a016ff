// An application may have given SQLite functions and collations that only it knows. A table that mentions
// them can still be made and filled, as long as nothing has to be computed with them: stand-ins satisfy the
// parser, and tell when one was really needed.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "base/error.h"
#include "engine/sqlite/connection.h"

namespace varve::engine::sqlite {

class StandIns {
 public:
  // Must outlive the connection.
  explicit StandIns(Connection& db);
  StandIns(const StandIns&) = delete;
  StandIns& operator=(const StandIns&) = delete;

  // As Connection::exec, with unknown functions stood in for.
  Result<> exec(const std::string& sql);
  // Lower-case names of the collations stood in for.
  const std::set<std::string>& collations() const { return collations_; }
  // How often a stand-in collation had to compare.
  uint64_t comparisons() const { return comparisons_; }

 private:
  Connection& db_;
  std::set<std::string> collations_;
  uint64_t comparisons_ = 0;
};

}  // namespace varve::engine::sqlite
