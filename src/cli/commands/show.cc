#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"
#include "cli/commands/commands.h"
#include "cli/json.h"
#include "cli/session.h"
#include "cli/words.h"
#include "repo/file_table.h"
#include "repo/slot_reader.h"

namespace varve::cli {
namespace {

// Of a source with a million files the first are shown; the rest is counted.
constexpr size_t kMostFiles = 1000;

struct Options {
  std::string source, backup;
  std::vector<std::string> fallback;
};

const char* type_name(uint32_t type) {
  switch (static_cast<engine::FileType>(type)) {
    case engine::FileType::kRegular:
      return "file";
    case engine::FileType::kDirectory:
      return "folder";
    case engine::FileType::kSymlink:
      return "link";
  }
  return "unknown";
}

Result<std::vector<FileEntry>> read_files(const repo::RepositoryPtr& repo, const Context& ctx,
                                          const repo::Manifest& manifest, uint64_t& left_out) {
  repo::SlotReader slots(repo, ctx, {}, nullptr);
  slots.know(manifest.packs);
  repo::FileTableReader table(slots, manifest);
  std::vector<FileEntry> out;
  left_out = 0;
  TRY_OK(table.for_each([&](const repo::FileRecord& f) -> Result<> {
    if (out.size() < kMostFiles)
      out.push_back({f.attributes.path, type_name(f.attributes.type), f.attributes.size});
    else
      ++left_out;
    return {};
  }));
  return out;
}

std::string backup_text(const repo::Manifest& m, const std::vector<FileEntry>& files, uint64_t left_out,
                        const Style& style) {
  std::string out = fmt::format("{}  {}\n", style.bold(m.id), style.dim(source_title(m.source, m.address)));
  const auto row = [&](const char* name, const std::string& value) {
    if (!value.empty()) out += fmt::format("  {:<14}{}\n", name, value);
  };
  row("type", m.parent.empty() ? m.type : fmt::format("{}, on {}", m.type, m.parent));
  row("state of", to_local(m.moment));
  row("taken", fmt::format("{} in {}, by varve {} on {}", to_local(m.started),
                           to_human(m.finished - m.started), printable(m.varve_version), printable(m.host)));
  row("size", human_size(m.size));
  row("read", human_size(m.read));
  row("stored", human_size(m.stored));
  row("pages", fmt::format("{} new{}", human_count(m.pages_new),
                           m.changed_pages_from.empty() || m.changed_pages_from == "everything"
                               ? ""
                               : fmt::format(", found by {}", printable(m.changed_pages_from))));
  row("position", m.start_position == m.stop_position || m.stop_position.empty()
                      ? printable(m.start_position)
                      : printable(m.start_position + " to " + m.stop_position));
  row("log", m.epoch == m.id   ? "begins with this backup"
             : m.epoch.empty() ? ""
                               : fmt::format("stands in that from {}", printable(m.epoch)));
  row("database", fmt::format("{} {}", printable(m.engine), printable(m.database_version)));
  row("packs", human_count(m.packs.size()));
  for (const auto& w : m.warnings) row("warning", style.yellow(printable(w)));
  out += fmt::format("  {}\n", counted(m.files, "file", "files"));
  for (const auto& f : files)
    out += fmt::format("    {:>9}  {}{}\n", f.type == "file" ? human_size(f.size) : f.type, printable(f.path),
                       "");
  if (left_out > 0) out += fmt::format("    and {} more\n", human_count(left_out));
  if (!m.catalogue.empty()) out += fmt::format("  {}\n", counted(m.catalogue.size(), "table", "tables"));
  for (size_t i = 0; i < m.catalogue.size() && i < kMostFiles; ++i)
    out += fmt::format("    {}\n", printable(m.catalogue[i]));
  return out;
}

Result<int> run(Session& session, Options o) {
  TRY_ASSIGN(repo::RepositoryPtr repo,
             session.open(o.source, Session::Access::kRead, {o.fallback, !o.fallback.empty()}));
  // One argument alone is a source, whose newest backup is shown, or else a backup of the only source.
  if (o.backup.empty() && !session.stored_source(*repo, o.source)) std::swap(o.source, o.backup);
  TRY_ASSIGN(const std::string source, session.stored_source(*repo, o.source));
  TRY_ASSIGN(const std::string id,
             session.stored_backup(*repo, source, o.backup.empty() ? "latest" : o.backup));
  TRY_ASSIGN(const repo::Manifest manifest, repo::load_manifest(*repo, session.ctx(), source, id));
  uint64_t left_out = 0;
  TRY_ASSIGN(const auto files, read_files(repo, session.ctx(), manifest, left_out));
  for (const auto& n : session.fallback_notes()) log::warn("{}", n);
  session.out().object(json_show(manifest, files, left_out));
  session.out().text(backup_text(manifest, files, left_out, session.out().style()));
  return 0;
}

}  // namespace

void declare_show(Command root) {
  auto o = std::make_shared<Options>();
  root.command("show", "one backup: sizes, parent, positions, files, tables")
      .positional("SOURCE", o->source, kSourceHelp)
      .positional("BACKUP", o->backup, kBackupHelp)
      .option("--fallback", o->fallback, "REPO", kFallbackHelp)
      .example("varve show app.db latest", "the newest backup")
      .action([o](Session& s) { return run(s, *o); });
}

}  // namespace varve::cli
