// Which files of a cluster's backup the restore of single tables needs.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "engine/postgres/capture_data.h"
#include "engine/postgres/table_name.h"

namespace varve::backup::postgres {

namespace db = engine::postgres;

// What was asked for, as far as the backup's list of tables knows it. A table made, renamed or attached after
// the backup is not in it: only the database recovered to the moment tells.
struct TableChoice {
  std::string database;
  const db::Database* listed = nullptr;  // null: made after the backup
  std::vector<db::TableName> tables;     // with database and schema
  std::set<uint32_t> relations;          // the oids known: tables, partitions, their TOAST tables and indexes
  bool whole = false;                    // all of the database: then no tables are named
};

// kUsage: of which database or schema? (the hint lists them), or of several databases. kNotFound: no such
// database, or a name without one that nothing has.
Result<TableChoice> choose_tables(const db::CaptureData& data, const std::vector<std::string>& asked);
// All of one database, which may have been made after the backup. kUsage: a template.
Result<TableChoice> choose_database(const db::CaptureData& data, const std::string& name);

// The files that get their content; every other relation's are sparse. Remembers which those were.
// Not thread-safe.
class WantedFiles {
 public:
  // Everything, when the database is not known to the backup.
  explicit WantedFiles(const TableChoice& choice);
  // Also this relation's, whose name the backup did not tell.
  void add(const db::RelFile& file) { files_.insert(file); }
  void take_everything() { everything_ = true; }
  bool everything() const { return everything_; }

  bool operator()(const std::string& path);
  // Whether the backup has content of it that was left out.
  bool left_out(const db::RelFile& file) const { return left_out_.contains(file); }
  void begin_anew() { left_out_.clear(); }

 private:
  bool everything_ = false;
  uint32_t whole_ = 0;  // every file of this database
  std::set<db::RelFile> files_, left_out_;
};

// One of the tables chosen, with its partitions, indexes and TOAST tables.
struct ChosenTable {
  std::string name;
  bool listed = false;  // known to the backup
  uint64_t rows = 0;    // the server's estimate at the backup; 0: it had none
  std::set<db::RelFile> files;
};
std::vector<ChosenTable> describe(const db::CaptureData& data, const TableChoice& choice);

}  // namespace varve::backup::postgres
