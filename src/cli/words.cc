#include "cli/words.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fmt/format.h>

#include "base/text.h"

namespace varve::cli {
namespace {

using Align = Table::Align;

// Only a position in the log says something to a person, and can be asked for again.
std::string state_of(Timestamp moment, const std::string& position, Timestamp reference) {
  const bool known = position.starts_with("txn:") || position.starts_with("lsn:");
  return fmt::format("as of {}{}", when(moment, reference),
                     known ? fmt::format(" ({})", printable(position)) : "");
}

}  // namespace

std::string when(Timestamp t, Timestamp reference) {
  const std::string whole = to_local(t), today = to_local(reference);
  if (whole.size() < 19 || whole.substr(0, 10) != today.substr(0, 10)) return whole;
  return whole.substr(11, 8);
}

std::string took(double seconds) {
  if (seconds < 3) return fmt::format("{:.1f} s", seconds);
  return to_human(std::chrono::microseconds(std::llround(seconds * 1e6)));
}

std::string counted(uint64_t n, const char* one, const char* many) {
  return fmt::format("{} {}", human_count(n), n == 1 ? one : many);
}

std::string source_title(const std::string& name, const std::string& address) {
  if (!address.starts_with("sqlite:")) return printable(name);  // a connection is no name for a person
  const size_t colon = address.find(':');
  const std::string path = colon == std::string::npos ? address : address.substr(colon + 1);
  const std::string file = std::filesystem::path(path).filename().string();
  if (file.empty() || file == name) return printable(name);
  return fmt::format("{} ({})", printable(file), printable(name));
}

std::string backed_up(const repo::Manifest& m, double seconds, Timestamp reference) {
  return fmt::format("backed up {}: {}, {} read, {} stored in {}; recoverable to {}",
                     source_title(m.source, m.address), m.type, human_size(m.read), human_size(m.stored),
                     took(seconds), when(m.moment, reference));
}

std::string restored(const backup::RestoreReport& r, Timestamp reference) {
  std::string out = fmt::format("restored {} to {}, {}: ", printable(r.source), printable(r.target),
                                state_of(r.moment, r.point, reference));
  if (r.files > 1) out += counted(r.files, "file", "files") + ", ";
  out += fmt::format("{} written, {} fetched", human_size(r.bytes), human_size(r.fetched));
  if (r.commits > 0) out += fmt::format(", {} replayed", counted(r.commits, "commit", "commits"));
  return out + fmt::format(" in {}", took(r.seconds));
}

std::string restored(const backup::TableReport& r, Timestamp reference) {
  std::string tables = r.database.empty() ? "" : "the database " + printable(r.database);
  for (const auto& t : r.tables)
    tables += fmt::format("{}{} ({})", tables.empty() ? "" : ", ", printable(t.name),
                          counted(t.rows, "row", "rows"));
  return fmt::format("restored {} of {} into {}, {}: {} fetched in {}", tables, printable(r.source),
                     printable(r.target), state_of(r.moment, r.point, reference), human_size(r.fetched),
                     took(r.seconds));
}

std::string verified(const backup::VerifyReport& r, double seconds, const Style& style) {
  std::string out = fmt::format("checked {}, {} in {}: ", counted(r.objects, "object", "objects"),
                                human_size(r.bytes), took(seconds));
  out += r.problems.empty() ? style.green("no problems")
                            : style.red(counted(r.problems.size(), "problem", "problems"));
  out += '\n';
  for (const auto& p : r.problems) {
    out += fmt::format("  {} {}: {}\n", style.red(p.kind), printable(p.object), printable(p.message));
    for (const auto& a : p.affects) out += fmt::format("      affects {}\n", printable(a));
  }
  const uint64_t all = r.restorable.size() + r.broken.size();
  if (r.broken.empty()) {
    out += fmt::format("restorable: {}\n", all == 0   ? "no backup yet"
                                           : all == 1 ? "the only backup"
                                                      : "all of " + counted(all, "backup", "backups"));
  } else {
    out +=
        fmt::format("still restorable: {} of {}\n", r.restorable.size(), counted(all, "backup", "backups"));
    for (const auto& b : r.restorable) out += fmt::format("  {}  {}\n", style.green("whole"), printable(b));
    for (const auto& b : r.broken) out += fmt::format("  {} {}\n", style.red("broken"), printable(b));
  }
  if (r.unreferenced_objects > 0)
    out +=
        fmt::format("{} ({}) left by interrupted work or expired backups; varve gc gives the space back\n",
                    counted(r.unreferenced_objects, "object", "objects"), human_size(r.unreferenced_bytes));
  return out;
}

std::string copied(const backup::CopyReport& r, const Style& style) {
  std::string out =
      fmt::format("{} {}", r.dry_run ? "would copy" : "copied", counted(r.objects, "object", "objects"));
  if (r.backups > 0) out += fmt::format(" ({})", counted(r.backups, "backup", "backups"));
  out += fmt::format(", {}{} from {} to {}", human_size(r.bytes), r.dry_run ? "" : " in " + took(r.seconds),
                     printable(r.from), printable(r.to));
  if (r.present > 0)
    out += fmt::format("; {} {} there already", human_count(r.present), r.present == 1 ? "was" : "were");
  out += '\n';
  if (r.repaired > 0)
    out += fmt::format("replaced {} that {} damaged at the copy\n", counted(r.repaired, "object", "objects"),
                       r.repaired == 1 ? "was" : "were");
  for (const auto& note : r.notes) out += printable(note) + '\n';
  if (r.problems.empty()) return out;
  out += style.red(counted(r.problems.size(), "problem", "problems")) + '\n';
  for (const auto& p : r.problems) {
    out += fmt::format("  {} {} at {}: {}\n", style.red(p.kind), printable(p.object), printable(p.at),
                       printable(p.message));
    for (const auto& a : p.affects) out += fmt::format("      not copied because of it: {}\n", printable(a));
  }
  return out;
}

std::string unreadable_text(const repo::UnreadableManifest& u) {
  const std::string error = u.error.describe();
  return error.starts_with(u.key) ? error : fmt::format("{}: {}", u.key, error);
}

std::string window_text(const backup::Window& w, Timestamp reference) {
  const std::string from = when(w.from, reference), to = when(w.to, reference),
                    live = w.live ? ", followed now" : "";
  return from == to ? from + live : fmt::format("{} to {}{}", from, to, live);
}

// A log that was followed now and then has a window for each time: a page of them tells a person nothing.
std::string windows_text(const std::vector<backup::Window>& windows, Timestamp reference) {
  constexpr ptrdiff_t kMost = 6;
  std::string out;
  for (auto w = windows.begin(); w != windows.end();) {
    const auto end = std::find_if(w, windows.end(), [&](const auto& o) { return o.epoch != w->epoch; });
    if (!w->epoch.empty() && end - w > kMost) {
      backup::Window whole = *w;
      whole.to = (end - 1)->to;
      whole.live = (end - 1)->live;
      out += fmt::format("    {}, but for {} stretches that nobody followed; --json tells them\n",
                         window_text(whole, reference), end - w - 1);
    } else if (!w->epoch.empty()) {
      for (auto each = w; each != end; ++each) out += fmt::format("    {}\n", window_text(*each, reference));
    }
    w = end;
  }
  return out;
}

std::string source_text(const backup::SourceState& state, Timestamp reference, const Style& style) {
  const auto& manifests = state.backups.manifests;
  const std::string address = manifests.empty() ? "" : manifests.back().address;
  std::string out = style.bold(printable(state.source));
  if (!address.empty()) out += "  " + style.dim(printable(address));
  out += '\n';
  Table table({{"backup", Align::kLeft},
               {"type", Align::kLeft},
               {"state of", Align::kLeft},
               {"size", Align::kRight},
               {"stored", Align::kRight},
               {"", Align::kLeft}});
  for (const auto& m : manifests) {
    const bool held = std::find(state.held.begin(), state.held.end(), m.id) != state.held.end();
    table.add({m.id, m.type, to_local(m.moment), human_size(m.size), human_size(m.stored),
               held ? style.yellow("held") : ""});
  }
  if (table.empty())
    out += "  no readable backup\n";
  else
    out += table.render(style);
  for (const auto& u : state.backups.unreadable)
    out += fmt::format("  {} {}\n", style.red("unreadable"), printable(unreadable_text(u)));
  const std::string windows = windows_text(state.windows, reference);
  if (!windows.empty()) out += "  any moment can be recovered from\n" + windows;
  for (const auto& e : state.epochs)
    if (e.gap)
      out += fmt::format("  {} in the log of {} after {}\n", style.red("gap"), printable(e.epoch),
                         backup::position_text(e.epoch, e.gap_after));
  return out;
}

std::string status_text(const SourceStatus& s, Timestamp reference, const Style& style) {
  std::string out = fmt::format("{}  {}\n", style.bold(printable(s.name)),
                                style.dim(fmt::format("{}, {}", s.engine.empty() ? "?" : s.engine,
                                                      counted(s.backups, "backup", "backups"))));
  const auto row = [&](const char* question, const std::string& answer) {
    out += fmt::format("  {:<24}{}\n", question, answer);
  };
  row("can I get it back?", s.recoverable ? style.green("yes") : style.red("no"));
  if (s.recoverable_to) {
    std::string to =
        fmt::format("{} ({})", when(*s.recoverable_to, reference), to_ago(*s.recoverable_to, reference));
    if (s.following) to += ", followed now";
    row("to which moment?", to);
  }
  if (s.restore_time) {
    row("how long will it take?",
        fmt::format("about {} ({}, at {}/s as in the last {})",
                    to_human(std::max(*s.restore_time, Seconds(1))), human_size(s.bytes),
                    human_size(static_cast<uint64_t>(s.bytes_per_second)), s.rate_from));
  } else if (s.recoverable) {
    row("how long will it take?", fmt::format("{}; nothing measured yet", human_size(s.bytes)));
  }
  if (s.proven)
    row("last proven?", fmt::format("{} ({})", to_ago(*s.proven, reference), when(*s.proven, reference)));
  else
    row("last proven?", style.yellow("never") + fmt::format("; run: varve verify {}", printable(s.name)));
  for (const auto& p : s.problems) out += fmt::format("  {} {}\n", style.red("problem:"), printable(p));
  return out;
}

std::string history_header(const Style& style) {
  return style.dim(
      fmt::format("{:<26}  {:<12}  {:<13}  {:>9}  {}", "time", "position", "what", "rows", "table"));
}

std::string history_line(const engine::Event& e) {
  std::string out = fmt::format("{:<26}  {:<12}  {:<13}  {:>9}  {}", to_local(e.time), printable(e.position),
                                printable(e.kind), e.rows ? human_count(*e.rows) : "", printable(e.table));
  out.resize(out.find_last_not_of(' ') + 1);
  return out;
}

bool is_destructive(const engine::Event& e) {
  return e.kind == "drop_table" || e.kind == "truncate" || e.kind == "delete";
}

}  // namespace varve::cli
