#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/text.h"
#include "engine/sqlite/follower.h"
#include "engine/sqlite/snapshot.h"

namespace varve::engine::sqlite {
namespace {

using Severity = Problem::Severity;

constexpr std::chrono::milliseconds kPatience{2000};
constexpr uint64_t kHugeWal = 1ull << 30;
constexpr int kMendedVersion = 3051003;  // the WAL-reset bug

// https://man7.org/linux/man-pages/man2/statfs.2.html; numbers of network file systems.
const char* network_file_system(const os::Path& path) {
  struct statfs fs = {};
  if (::statfs(path.c_str(), &fs) != 0) return nullptr;
  switch (static_cast<uint32_t>(fs.f_type)) {
    case 0x6969:
      return "NFS";
    case 0x517b:
    case 0xfe534d42:
    case 0xff534d42:
      return "SMB";
    case 0x5346414f:
    case 0x6b414653:
      return "AFS";
    case 0x00c36400:
      return "Ceph";
    case 0x01021997:
      return "9P";
    default:
      return nullptr;
  }
}

void probe_place(const DatabaseFile& database, std::vector<Problem>& out) {
  const std::string path = printable(database.path.native());
  if (const char* kind = network_file_system(database.path)) {
    out.push_back({Severity::kWarning,
                   fmt::format("{} is on a network file system ({}), whose locks may not hold", path, kind),
                   "keep SQLite databases on a local disk; WAL mode does not work across machines at all"});
  }
  const auto wal = os::status(wal_path(database.path));
  if (wal && *wal && (*wal)->size > kHugeWal) {
    out.push_back({Severity::kWarning,
                   fmt::format("the WAL of {} has grown to {}", path, human_size((*wal)->size)),
                   "a reader that never ends keeps it from being checkpointed; find it, then PRAGMA "
                   "wal_checkpoint(TRUNCATE)"});
  }
}

void probe_state(const Snapshot& snapshot, const DatabaseFile& database, std::vector<Problem>& out) {
  const std::string path = printable(database.path.native());
  if (snapshot.state().wal_mode) {
    if (::access(database.path.parent_path().c_str(), W_OK) != 0) {
      out.push_back(
          {Severity::kWarning, fmt::format("the folder of {} is not writable for this user", path),
           "reading works only while another program has the database open; let this user write there"});
    }
    return;
  }
  const bool too_large = snapshot.state().pages > kMostJournalPages;
  out.push_back(
      {too_large ? Severity::kWarning : Severity::kNote,
       too_large ? fmt::format("{} is not in WAL mode, and too large to be followed", path)
                 : fmt::format("{} is not in WAL mode: writers wait while it is backed up or followed", path),
       "PRAGMA journal_mode=WAL, once, by its owner"});
}

}  // namespace

Result<std::vector<Problem>> probe(const Context& ctx, const SourceSpec& spec) {
  std::vector<Problem> out;
  std::vector<std::string> skipped;
  auto databases = find_databases(spec, &skipped);
  if (!databases) {
    if (databases.error().code == Code::kInterrupted) return fail(std::move(databases).error());
    out.push_back({Severity::kError, databases.error().message, databases.error().hint});
    return out;
  }
  for (const std::string& name : skipped) {
    out.push_back({Severity::kNote,
                   fmt::format("{} is not a SQLite database and is left out", printable(name)),
                   "narrow the pattern if it should not match"});
  }
  if (databases->empty()) {
    out.push_back({Severity::kWarning, fmt::format("no database matches {}", printable(spec.pattern)),
                   "check the pattern; a shell needs quotes around it"});
  }
  bool any_wal = false;
  for (const DatabaseFile& database : *databases) {
    TRY_OK(ctx.check());
    probe_place(database, out);
    const auto snapshot = Snapshot::take(ctx, database, kPatience);
    if (!snapshot) {
      TRY_OK(ctx.check());
      out.push_back({Severity::kError, snapshot.error().describe(), snapshot.error().hint});
      continue;
    }
    any_wal = any_wal || (*snapshot)->state().wal_mode;
    probe_state(**snapshot, database, out);
  }
  if (any_wal && sqlite3_libversion_number() < kMendedVersion) {
    out.push_back(
        {Severity::kNote,
         fmt::format(
             "this host's SQLite is {}; versions before 3.51.3 can, very rarely, damage a WAL database "
             "when one program checkpoints while another restarts the WAL",
             sqlite3_libversion()),
         "update SQLite in the programs that write; Varve makes its own checkpoints one at a time"});
  }
  return out;
}

}  // namespace varve::engine::sqlite
