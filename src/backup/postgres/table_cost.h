// What the restore of tables, or of one database, takes: told before it begins.
#pragma once

#include "backup/postgres/table_choice.h"
#include "backup/postgres/target.h"

namespace varve::backup::postgres {

struct TableCost {
  std::vector<ChosenTable> tables;  // or the database
  std::vector<uint64_t> bytes;      // of each, at the backup
  uint64_t scratch = 0;             // of disk, meanwhile
};
// By the list of the backup's files.
Result<TableCost> cost_of(const repo::RepositoryPtr& repo, const Context& ctx, const Target& target,
                          const TableChoice& choice);

}  // namespace varve::backup::postgres
