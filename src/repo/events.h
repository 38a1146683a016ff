// The audit trail: who did what and when. Writing it never fails the work it tells of (a warning is logged
// instead).
#pragma once

#include "repo/repository.h"

namespace varve::repo {

struct AuditEvent {
  Timestamp time = {};
  std::string what, source, backup, user, host, outcome, detail, varve_version;
};
// Fills time, user, host and version. Tries for at most 20 s, also when ctx was stopped.
void record_event(const Repository& repo, const Context& ctx, AuditEvent event);
// Ascending by time. An event that cannot be read is left out, with a warning.
Result<std::vector<AuditEvent>> list_events(const Repository& repo, const Context& ctx, Timestamp since);

// The name of the user this process runs as.
std::string current_user();

}  // namespace varve::repo
