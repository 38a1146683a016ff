// A PostgreSQL server of our own on a restored data directory: finding its programs, starting it as the user
// who owns the directory, waiting for the end of its recovery, stopping it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/context.h"
#include "base/time.h"
#include "engine/postgres/source.h"
#include "os/process.h"

namespace varve::engine::postgres {

struct Binaries {
  os::Path folder;      // that of postgres, pg_ctl, …
  int major = 0;        // 15
  std::string version;  // "15.18"
};
// Of this major version: $PGBIN, where packages put them (/usr/lib/postgresql/15/bin, /usr/pgsql-15/bin, …),
// and $PATH. Asks each program its version. kNotFound with the package's name as the hint.
Result<Binaries> find_binaries(const Context& ctx, int major);
// The major version that a data directory is of (PG_VERSION).
Result<int> data_directory_version(const os::Path& data_directory);

struct ServerOptions {
  os::Path socket_folder;                  // for its socket, its log and what is written for it; must exist
  uint32_t port = 5432;                    // names the socket, too
  std::optional<std::string> listen = "";  // addresses; "": the socket only; nullopt: as configured
  // True: a copy that must disturb nobody. It archives nothing, connects to no primary, lets in whoever may
  // enter the socket folder without a password, needs none of the configuration files, and has at least the
  // limits of the cluster whose WAL it replays. False: as its own configuration says, but for port, socket
  // and addresses (then `log` may hold only what it says before its logging collector takes over).
  bool isolated = true;
  std::map<std::string, std::string> settings;  // on top
  // As whom we ask it how far it is: a role that exists in the cluster, best a superuser.
  std::string user = "postgres", database = "postgres";
};

struct RunningServer {
  os::Path data_directory;
  os::Path socket_folder;
  os::Path log;  // what it says
  uint32_t port = 0;
  std::string user, database;
  os::ProcessIdentity process;

  ClusterSpec spec() const;  // how to reach it: by the socket, as that user
  bool is_alive() const;
  // Whether it says that it lets sessions in, or says nothing. Costs it nothing, where a session refused is a
  // process.
  bool may_serve() const;
};

// Starts `postgres` itself, without a shell. Returns when the process runs; it may end at once for a reason
// that only its log tells. Started by root, it runs as the owner of the data directory. kConflict when one
// runs there already. The server outlives us: stop_server().
Result<RunningServer> start_server(const Context& ctx, const os::Path& data_directory,
                                   const Binaries& binaries, const ServerOptions& options);

struct RecoveryProgress {
  bool connected = false;           // it lets us in; before it is consistent it does not
  uint64_t replayed = 0;            // LSN; 0: not known
  std::optional<Timestamp> moment;  // of the last transaction replayed
};
enum class RecoveryEnd {
  kServing /* writable */,
  kPaused /* at the target */,
  kShutDown /* at the target */,
  kStandby /* it lets one read, and goes on */
};

// Until the recovery is over; `progress` is called every second or so. kDatabase with the server's own words
// when it ends otherwise (target not reached, WAL missing). When the context ends first, the server is left
// running. A standby's recovery is never over: it is waited for until it lets one in.
Result<RecoveryEnd> wait_until_recovered(const Context& ctx, const RunningServer& server,
                                         bool standby = false,
                                         const std::function<void(const RecoveryProgress&)>& progress = {});

// Ends it: by a fast shutdown, after `patience` by an immediate one, then by force. Fine when it has ended
// already.
Result<> stop_server(const Context& ctx, const RunningServer& server,
                     std::chrono::seconds patience = std::chrono::seconds(60));

// The last lines of its log that begin with FATAL, PANIC or ERROR, with their hints and details; else its
// last lines.
std::string last_words(const RunningServer& server);

}  // namespace varve::engine::postgres
