#include "engine/postgres/recovery.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <unistd.h>
#include <utility>

#include "base/text.h"
#include "engine/postgres/lsn.h"

namespace varve::engine::postgres {
namespace {

constexpr std::string_view kAutoConf = "postgresql.auto.conf";
constexpr uint64_t kLargestAutoConf = 4u << 20;
constexpr size_t kLongestName = 63;  // MAXFNAMELEN - 1 of recovery_target_name

using Kind = RecoveryTarget::Kind;

// "2026-11-23 14:32:05.123456+00", which no setting of the server reads otherwise.
std::string time_text(Timestamp t) {
  std::string text = to_rfc3339(t);
  if (const size_t at = text.find('T'); at != text.npos) text[at] = ' ';
  if (text.ends_with('Z')) text.replace(text.size() - 1, 1, "+00");
  return text;
}

std::string line(std::string_view key, std::string_view value) {
  return fmt::format("{} = {}\n", key, quote_setting(value));
}

constexpr std::array<std::string_view, 5> kTargets = {"recovery_target", "recovery_target_time",
                                                      "recovery_target_lsn", "recovery_target_xid",
                                                      "recovery_target_name"};

// The one setting of kTargets that says where to stop, and its value; both empty: nowhere.
std::pair<std::string_view, std::string> target_setting(const RecoveryTarget& target) {
  switch (target.kind) {
    case Kind::kLatest:
      return {};
    case Kind::kImmediate:
      return {kTargets[0], "immediate"};
    case Kind::kTime:
      return {kTargets[1], time_text(target.time)};
    case Kind::kLsn:
      return {kTargets[2], format_lsn(target.lsn)};
    case Kind::kXid:
      return {kTargets[3], std::to_string(target.xid & 0xffffffff)};
    case Kind::kName:
      return {kTargets[4], target.name};
  }
  return {};
}

Result<> check(const RecoveryTarget& target) {
  if (target.kind == Kind::kName && (target.name.empty() || target.name.size() > kLongestName))
    return fail(Code::kUsage, fmt::format("a restore point's name has 1 to {} bytes", kLongestName));
  if (target.kind == Kind::kXid && (target.xid & 0xffffffff) < 3)
    return fail(Code::kUsage, fmt::format("{} is no transaction of a person's", target.xid));
  if (target.kind == Kind::kLsn && target.lsn == 0) return fail(Code::kUsage, "0/0 is no position");
  const bool number = !target.timeline.empty() && target.timeline.size() <= 10 &&
                      target.timeline.find_first_not_of("0123456789") == std::string::npos;
  if (target.timeline != "latest" && target.timeline != "current" && !number)
    return fail(Code::kUsage, fmt::format("{} is no timeline", printable(target.timeline)),
                "latest, current, or a number");
  return {};
}

Result<> own_like(const os::Path& path, const os::FileStatus& folder) {
  if (::geteuid() != 0) return {};
  if (::lchown(path.c_str(), folder.uid, folder.gid) != 0)
    return fail(os::errno_error(errno, "change the owner of", path));
  return {};
}

}  // namespace

// The server's scanner takes '' for a quote and backslash escapes as C has them (guc-file.l), and no line
// break.
std::string quote_setting(std::string_view value) {
  std::string out = "'";
  for (char c : value) {
    if (c == '\'')
      out += "''";
    else if (c == '\\')
      out += "\\\\";
    else if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else
      out += c;
  }
  return out + "'";
}

std::string quote_for_shell(std::string_view word) {
  const bool plain = !word.empty() && std::ranges::all_of(word, [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-./:=,@+").find(static_cast<char>(c)) != std::string_view::npos;
  });
  std::string out = plain ? "" : "'";
  for (char c : word) {
    if (c == '\'')
      out += "'\\''";
    else if (c == '%')
      out += "%%";  // restore_command's own escape
    else
      out += c;
  }
  return plain ? out : out + "'";
}

Result<std::string> recovery_settings(const RecoveryTarget& target, std::string_view restore_command) {
  TRY_OK(check(target));
  if (restore_command.find('\0') != restore_command.npos)
    return fail(Code::kUsage, "the restore_command holds a NUL character");
  std::string out = "# by varve: recovery\n";
  out += line("restore_command", restore_command);
  // The server refuses an empty target that follows a set one ("multiple recovery targets specified"): the
  // one that is meant comes last.
  const auto [meant, value] = target_setting(target);
  for (const std::string_view key : kTargets)
    if (key != meant) out += line(key, "");
  if (!meant.empty()) out += line(meant, value);
  out += line("recovery_target_inclusive", target.inclusive ? "on" : "off");
  out += line("recovery_target_timeline", target.timeline);
  const char* action = target.action == RecoveryTarget::Action::kPromote ? "promote"
                       : target.action == RecoveryTarget::Action::kPause ? "pause"
                                                                         : "shutdown";
  out += line("recovery_target_action", action);
  return out;
}

std::string_view signal_file(bool standby) {
  return standby ? "standby.signal" : "recovery.signal";
}

namespace {

// What an earlier recovery of this cluster left behind would contradict ours.
std::string without_recovery_settings(std::string_view text) {
  std::string out;
  for (const std::string_view line : split(text, '\n')) {
    const bool ours = line.starts_with("recovery_target") || line.starts_with("restore_command");
    if (!ours && !line.empty()) out += std::string(line) + "\n";
  }
  return out;
}

}  // namespace

Result<> install_recovery(const os::Path& data_directory, std::string_view settings, bool standby) {
  TRY_ASSIGN(const auto folder, os::status(data_directory));
  if (!folder) return fail(os::errno_error(ENOENT, "open the data directory", data_directory));
  const os::Path conf = data_directory / kAutoConf;
  std::string text;
  auto present = os::read_file(conf, kLargestAutoConf);
  if (present)
    text = as_text(*present);
  else if (present.error().code != Code::kNotFound)
    return fail(std::move(present).error());
  text = without_recovery_settings(text);
  text += settings;
  TRY_OK(os::replace_file(conf, as_bytes(text)));
  TRY_OK(own_like(conf, *folder));
  const os::Path other = data_directory / signal_file(!standby), mine = data_directory / signal_file(standby);
  if (auto removed = os::remove_file(other); !removed && removed.error().code != Code::kNotFound)
    return removed;
  TRY_OK(os::replace_file(mine, {}));
  return own_like(mine, *folder);
}

}  // namespace varve::engine::postgres
