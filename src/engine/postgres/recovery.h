// What makes a restored data directory recover to a point: settings and a signal file (PostgreSQL's
// documentation, "Archive Recovery" and "Recovery Target").
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/time.h"
#include "os/file.h"

namespace varve::engine::postgres {

struct RecoveryTarget {
  enum class Kind {
    kLatest,     // all WAL there is
    kImmediate,  // as soon as the state is consistent: the end of the backup
    kTime,
    kLsn,
    kXid,
    kName,  // pg_create_restore_point()
  };
  enum class Action { kPromote, kPause, kShutdown };
  Kind kind = Kind::kLatest;
  Timestamp time = {};
  uint64_t lsn = 0;
  uint64_t xid = 0;  // the 64-bit or the 32-bit number; the server is given the low 32 bits
  std::string name = {};
  // Time: commits at exactly that time too. Lsn, xid: the record or transaction itself too.
  bool inclusive = true;
  std::string timeline = "latest";   // "latest", "current", or a number
  Action action = Action::kPromote;  // when the target is reached; kLatest always promotes
};

// A value as it stands in postgresql.conf and postgresql.auto.conf, quotes around it.
std::string quote_setting(std::string_view value);
// A word of a command line that a POSIX shell reads: for restore_command.
std::string quote_for_shell(std::string_view word);

// Lines for the end of postgresql.auto.conf: later lines win, and every target that is not meant is unset.
// (On a server's command line they would not do: their order matters.) `restore_command` as the server shall
// run it, with %f and %p. kUsage for an impossible target.
Result<std::string> recovery_settings(const RecoveryTarget& target, std::string_view restore_command);

// recovery.signal: recover, then serve. standby.signal: recover for ever.
std::string_view signal_file(bool standby);

// Puts the settings into postgresql.auto.conf, in place of those of an earlier recovery, and makes the signal
// file (the other one goes), both owned as the data directory is. Durable when it returns.
Result<> install_recovery(const os::Path& data_directory, std::string_view settings, bool standby = false);

}  // namespace varve::engine::postgres
