// Sentences for people that several commands use. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "backup/copy.h"
#include "backup/log_state.h"
#include "backup/restore.h"
#include "backup/verify.h"
#include "cli/output.h"
#include "cli/report.h"
#include "engine/engine.h"
#include "repo/manifest.h"

namespace varve::cli {

// Help of the SOURCE and BACKUP arguments, the same everywhere.
inline constexpr char kSourceHelp[] =
    "A name from the configuration or the repository, sqlite:PATH, or a SQLite file; may be left out where "
    "there is "
    "just one";
inline constexpr char kOneSourceHelp[] = "Only this source: a name, sqlite:PATH, or a SQLite file";
inline constexpr char kFallbackHelp[] =
    "Read what is lost or damaged from this repository, which holds a copy";
inline constexpr char kBackupHelp[] = "A backup's id, the beginning of one, or \"latest\"";

// "14:32:05" on the local day of `reference`, else "2026-11-23 14:32:05 +01:00".
std::string when(Timestamp t, Timestamp reference);
// "4 s", "0.3 s": shorter than three seconds with a tenth.
std::string took(double seconds);
// "3 backups", "1 backup"
std::string counted(uint64_t n, const char* one, const char* many);
// "app.db (app-3f9a1c04)": the file people know, and the name the repository knows.
std::string source_title(const std::string& name, const std::string& address);

std::string backed_up(const repo::Manifest& manifest, double seconds, Timestamp reference);
std::string restored(const backup::RestoreReport& report, Timestamp reference);
std::string restored(const backup::TableReport& report, Timestamp reference);
std::string verified(const backup::VerifyReport& report, double seconds, const Style& style);
std::string copied(const backup::CopyReport& report, const Style& style);
// Which manifest cannot be read, and why.
std::string unreadable_text(const repo::UnreadableManifest& u);
std::string window_text(const backup::Window& window, Timestamp reference);
std::string windows_text(const std::vector<backup::Window>& windows, Timestamp reference);
// One source with its table of backups and its windows.
std::string source_text(const backup::SourceState& state, Timestamp reference, const Style& style);
std::string status_text(const SourceStatus& status, Timestamp reference, const Style& style);
// One line of `history`; columns are fixed, since lines are written as they are read.
std::string history_header(const Style& style);
std::string history_line(const engine::Event& event);
// Something was lost by it: a table dropped, rows deleted.
bool is_destructive(const engine::Event& event);

}  // namespace varve::cli
