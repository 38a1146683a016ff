// SQLite's C interface with Results: connections and statements that close themselves. One thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

struct sqlite3;
struct sqlite3_stmt;

namespace varve::engine::sqlite {

class Connection;

// Must not outlive its connection.
class Statement {
 public:
  // True: a row stands ready. False: done.
  Result<bool> step();
  Result<> reset();
  void bind(int index, std::string_view text);  // 1-based; the text is copied
  void bind(int index, int64_t value);
  // Binds column `column` of from's row, of the same type and bytes.
  Result<> bind_column(int index, Statement& from, int column);
  std::string text(int column) const;  // 0-based; NULL is empty
  int64_t integer(int column) const;
  bool is_null(int column) const;

 private:
  friend class Connection;
  struct Finalize {
    void operator()(sqlite3_stmt* s) const;
  };
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  const Connection* connection_ = nullptr;
};

class Connection {
 public:
  // Called when SQLite reports a failure, to give the true reason where another layer knows it.
  using Reason = std::function<std::optional<Error>()>;

  // `label` names the database in messages. flags: SQLITE_OPEN_…; vfs: null for SQLite's own.
  static Result<Connection> open(const std::string& path, int flags, std::string label,
                                 const char* vfs = nullptr);
  Connection(Connection&&) noexcept;
  Connection& operator=(Connection&&) noexcept;
  ~Connection();

  Result<> exec(const std::string& sql);
  Result<Statement> prepare(const std::string& sql) const;
  // First column of the first row of a query with at most one text parameter; empty when there is no row.
  Result<std::optional<std::string>> value(const std::string& sql, std::string_view parameter = {}) const;
  // First column of all rows.
  Result<std::vector<std::string>> column(const std::string& sql, std::string_view parameter = {}) const;
  // Asked now and then while a statement runs; true ends it (its step() fails with the Reason, or
  // kInterrupted).
  void set_stop(std::function<bool()> stop);
  // How long to wait for another's lock, unless stopped.
  void set_patience(std::chrono::milliseconds most);
  void set_reason(Reason reason) { reason_ = std::move(reason); }
  // Closes and reports; the destructor does not.
  Result<> close();

  sqlite3* handle() const { return db_; }
  // What SQLite's last result code means here.
  Error error() const;

 private:
  Connection() = default;
  sqlite3* db_ = nullptr;
  std::string label_;
  Reason reason_;
  struct Waiting {
    std::function<bool()> stop = {};
    std::chrono::milliseconds patience{0};
    std::chrono::steady_clock::time_point since = {};
  };
  std::unique_ptr<Waiting> waiting_;  // its address is known to SQLite
};

// "name" with its quotes doubled: an identifier for SQL text.
std::string quote_name(std::string_view name);

}  // namespace varve::engine::sqlite
