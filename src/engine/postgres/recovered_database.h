// One database of a scratch server that was recovered to a moment, as the place tables are taken from. The
// server is ours alone and is thrown away: what stands in the way is changed there, not in the dump.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/postgres/connection.h"
#include "engine/postgres/rel_file.h"
#include "engine/postgres/server.h"
#include "engine/postgres/table_name.h"

namespace varve::engine::postgres {

// A relation that belongs to the tables: themselves, partitions, indexes, owned sequences, TOAST tables.
struct Member {
  uint32_t oid = 0;
  uint32_t root = 0;  // the table asked for
  char kind = 'r';    // pg_class.relkind
  char persistence = 'p';
  std::string schema, name;
  std::optional<RelFile> file;

  bool is_table() const { return kind == 'r' || kind == 'p' || kind == 'f'; }
  bool is_internal() const { return schema == "pg_toast"; }
};

struct TakenTable {
  std::string schema, name;  // as they will be made
  uint32_t oid = 0;
  char kind = 'r';
  char persistence = 'p';
  uint64_t rows = 0;
};

struct ForeignKey {
  std::string schema, table, name, definition, comment;
};

class RecoveredDatabase {
 public:
  // Waits until the recovery is over and the database lets us in, as the first of `users` that exists.
  // kDatabase with the server's own words when it ends instead; kNotFound when at that moment there was no
  // such database.
  static Result<std::unique_ptr<RecoveredDatabase>> open(const Context& ctx, const RunningServer& server,
                                                         const std::string& database,
                                                         const std::vector<std::string>& users);

  // What was asked for, as it was at the moment. kNotFound with the nearest; kUsage, kUnsupported for
  // relations that are no tables.
  Result<> find(const Context& ctx, const std::vector<TableName>& tables);
  // Ends what other transactions hold: prepared ones had not committed at the moment.
  Result<> settle(const Context& ctx);
  // Rows of each table, by reading them all.
  Result<> count(const Context& ctx);

  const std::vector<TakenTable>& tables() const { return tables_; }
  const std::vector<Member>& members() const { return members_; }
  Connection& session() { return *session_; }
  const ClusterSpec& spec() const { return spec_; }  // with user and database
  const std::string& database() const { return database_; }
  uint32_t oid() const { return oid_; }  // of the database

  // Gives members other names. `to`: by oid.
  Result<> rename(const Context& ctx, const std::vector<std::pair<uint32_t, std::string>>& to);
  // Gives the database itself another name. Its own session stays.
  Result<> rename_database(const Context& ctx, const std::string& name);
  // Every name that relations of a schema have here.
  Result<std::vector<std::string>> names_in(const Context& ctx, const std::string& schema);
  // Takes the foreign keys off the tables and returns them.
  Result<std::vector<ForeignKey>> take_foreign_keys(const Context& ctx);

  // The oids of members as an array literal of SQL: of all, or of tables only.
  std::string oids(bool tables_only) const;

 private:
  RecoveredDatabase() = default;
  Result<> load_members(const Context& ctx);
  std::unique_ptr<Connection> session_;
  ClusterSpec spec_;
  std::string database_;
  uint32_t oid_ = 0;
  std::vector<TakenTable> tables_;
  std::vector<Member> members_;
};

}  // namespace varve::engine::postgres
