// The trees of a database with what a person calls them, from commit to commit.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/sqlite/btree.h"
#include "engine/sqlite/placement.h"
#include "engine/sqlite/schema.h"

namespace varve::engine::sqlite {

struct Tree {
  enum class Kind : uint8_t { kTable, kWithoutRowid, kIndex, kVirtual /* no tree of its own */ };
  Kind kind = Kind::kTable;
  bool alive = true;
  uint32_t root = 0;
  uint32_t key_columns = 0;  // WITHOUT ROWID
  int64_t schema_row = 0;
  std::string name;
  uint64_t sql = 0;   // hash of the statement
  uint64_t body = 0;  // … of what follows the name in it
  // An inner table of a virtual table: whose, and which.
  std::string part_of, part;

  bool is_table() const { return kind != Kind::kIndex; }
  bool is_told() const;  // not one of SQLite's own
};

// What a new schema means.
struct SchemaChange {
  std::vector<uint32_t> created, dropped, altered;  // numbers of trees; tables only
  std::vector<RootChange> roots;
  bool same_content = false;  // every statement is as it was, though pages may have moved
};

class TreeList {
 public:
  static constexpr uint32_t kSchemaTree = 0;
  // Only the tree of sqlite_schema itself; root 0 where there is no database yet.
  explicit TreeList(bool has_schema);

  // Trees keep their numbers; dropped ones stay listed, not alive.
  Result<SchemaChange> update(const PageSource& state, const DatabaseHeader& header, uint64_t pages);
  const Tree& operator[](uint32_t number) const { return trees_[number]; }
  size_t size() const { return trees_.size(); }
  std::unordered_map<uint32_t, uint32_t> roots() const;  // root page → tree, of those alive

 private:
  Result<Tree> describe(const SchemaEntry& entry, const PageSource& state, uint32_t usable) const;
  // For each entry the tree it was before, or 0.
  std::vector<uint32_t> match(const std::vector<Tree>& entries) const;
  void name_parts();

  std::vector<Tree> trees_;
  std::unordered_map<int64_t, uint32_t> by_row_;       // of those alive
  std::unordered_map<std::string, uint32_t> by_name_;  // lower case
};

}  // namespace varve::engine::sqlite
