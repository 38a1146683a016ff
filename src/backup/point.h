// The moment a person asks for.
#pragma once

#include <optional>
#include <string>

#include "base/error.h"
#include "base/time.h"

namespace varve::backup {

// POINT of the command line.
struct Point {
  enum class Kind {
    kLatest,
    kEnd,  // of the chosen backup
    kTime,
    kTxn,     // SQLite: the state after that transaction
    kBefore,  // just before that transaction
    kLsn,     // PostgreSQL: the state at that position of the WAL
    kXid,     // PostgreSQL: just after that transaction
    kName,    // PostgreSQL: a restore point
  } kind = Kind::kLatest;
  Timestamp time = {};
  uint64_t number = 0;  // of kTxn, kBefore, kLsn, kXid
  std::string text;     // as typed; of kName the name alone
};
// "latest", "end", RFC 3339, "5 minutes ago", "txn:42", "before:42", "lsn:0/3000028", "xid:731402",
// "name:before-deploy"; kUsage with examples otherwise. Whether the engine of a source knows such a point is
// told when the point is looked for.
Result<Point> parse_point(const std::string& text, Timestamp reference);

}  // namespace varve::backup
