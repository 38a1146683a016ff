// The documents of --json (docs/cli.md). Every one is an object with "format": 1. Times are RFC 3339 in UTC,
// sizes bytes; a string that is not UTF-8 has its wrong bytes replaced. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "backup/copy.h"
#include "backup/expire.h"
#include "backup/follow.h"
#include "backup/log_files.h"
#include "backup/log_state.h"
#include "backup/restore.h"
#include "backup/verify.h"
#include "cli/report.h"
#include "engine/engine.h"
#include "repo/collect.h"
#include "repo/hold.h"
#include "repo/manifest.h"

namespace varve::cli {

std::string json_error(const Error& error);
std::string json_init(const InitReport& report);
std::string json_check(const std::vector<Finding>& findings);
std::string json_backup(const repo::Manifest& manifest);
std::string json_list(const std::vector<backup::SourceState>& sources);
std::string json_show(const repo::Manifest& manifest, const std::vector<FileEntry>& files,
                      uint64_t files_left_out);
std::string json_restore(const backup::RestoreReport& report);
std::string json_restore(const backup::TableReport& report);
std::string json_restore(const RestorePlan& plan);
std::string json_follow(const backup::FollowStatus& status, const std::string& source, bool finished);
// history is written as it is read: begin, events with "," between, end.
std::string json_push(const std::string& file, const std::string& source, const backup::PushReport& report);
std::string json_fetch(const std::string& file, const std::string& source, bool there);
std::string json_history_begin();
std::string json_event(const engine::Event& event);
std::string json_history_end();
std::string json_history_end(const Error& error);
std::string json_verify(const backup::VerifyReport& report);
std::string json_expire(const std::string& source, const backup::ExpireReport& report);
std::string json_copy(const backup::CopyReport& report);
std::string json_gc(const repo::CollectReport& report, bool dry_run);
std::string json_status(const RepositoryStatus& status);
std::string json_keys(const std::vector<repo::Repository::KeyInfo>& keys);
std::string json_key_change(const char* what, const std::string& id);
std::string json_kit(const std::string& repository, const std::string& file);
std::string json_holds(const std::vector<SourceHold>& holds);
std::string json_hold_change(const char* what, const std::string& source, const std::string& backup);

}  // namespace varve::cli
