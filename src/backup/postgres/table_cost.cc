#include "backup/postgres/table_cost.h"

#include "backup/postgres/wal_spool.h"
#include "repo/file_table.h"
#include "repo/slot_reader.h"

namespace varve::backup::postgres {
namespace {

constexpr uint64_t kSpareSpace = 64u << 20;

}  // namespace

// Disk: the files, the log, and as much again for the pages that the log brings to other relations; the
// tables once more as a dump on its way into a database.
Result<TableCost> cost_of(const repo::RepositoryPtr& repo, const Context& ctx, const Target& target,
                          const TableChoice& choice) {
  TableCost out;
  if (choice.whole)
    out.tables.push_back(
        {.name = choice.database, .listed = choice.listed != nullptr, .rows = 0, .files = {}});
  else
    out.tables = describe(target.data, choice);
  out.bytes.resize(out.tables.size());
  out.scratch = 2 * spool_size(target) + kSpareSpace;
  repo::SlotReader slots(repo, ctx, {}, nullptr);
  slots.know(target.base->packs);
  repo::FileTableReader files(slots, *target.base);
  WantedFiles wanted(choice);
  TRY_OK(files.for_each([&](const repo::FileRecord& f) -> Result<> {
    const repo::FileAttributes& a = f.attributes;
    if (wanted(a.path)) out.scratch += a.size;
    const auto file = db::relation_file(a.path);
    if (!file) return {};
    for (size_t i = 0; i < out.tables.size(); ++i) {
      const bool within =
          choice.whole ? choice.listed && file->database == choice.listed->oid
                       : out.tables[i].files.contains({file->tablespace, file->database, file->filenode});
      if (!within) continue;
      out.bytes[i] += a.size;
      out.scratch += a.size;
    }
    return {};
  }));
  return out;
}

}  // namespace varve::backup::postgres
