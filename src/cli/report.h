// What commands find out, as plain data: json.h and the commands' own texts show it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "backup/log_state.h"
#include "backup/restore.h"
#include "base/time.h"
#include "engine/engine.h"
#include "repo/events.h"
#include "repo/hold.h"

namespace varve::cli {

struct InitReport {
  std::string repository, id, encryption, kit_file;
  bool create_only_honoured = true;
};

struct Finding {
  std::string about;  // "repository", "store", or the source's name
  engine::Problem problem;
};

struct SourceHold {
  std::string source;
  repo::HoldInfo hold;
};

struct FileEntry {
  std::string path, type;
  uint64_t size = 0;
};

// What a restore would use (--dry-run).
struct RestorePlan {
  std::string source, backup, type, target, point;
  Timestamp moment = {};
  uint64_t files = 0, bytes = 0, pieces = 0, log_bytes = 0;
  std::vector<std::string> tables;
  std::vector<backup::TablePreview::Table> estimates;  // of those
  uint64_t replay_bytes = 0, scratch_bytes = 0;        // 0: no scratch server is needed
};

// The four questions, for one source.
struct SourceStatus {
  std::string name, engine;
  uint64_t backups = 0;
  bool recoverable = false;
  std::optional<Timestamp> recoverable_from, recoverable_to;
  bool following = false;
  uint64_t bytes = 0;  // of the state that `latest` restores
  double bytes_per_second = 0;
  std::string rate_from;  // "restore", "verify", "backup"; empty: nothing measured yet
  std::optional<Seconds> restore_time;
  std::optional<Timestamp> proven;       // the last verification without problems
  std::optional<Timestamp> last_failed;  // a newer one with problems
  std::vector<std::string> problems;
};
struct RepositoryStatus {
  std::string repository;
  bool encrypted = true;
  uint64_t stored = 0;
  std::vector<SourceStatus> sources;
};

// Pure. events ascending by time.
SourceStatus assess(const backup::SourceState& state, const std::vector<repo::AuditEvent>& events);

// The measured part of an audit event's detail, and back.
struct Measured {
  uint64_t bytes = 0;
  double seconds = 0;
};
std::string measured_detail(const Measured& m);
std::optional<Measured> parse_measured(const std::string& detail);

}  // namespace varve::cli
