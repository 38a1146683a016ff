// One session with a PostgreSQL server, over libpq. Every wait ends with the context: its deadline or its
// stop.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/context.h"
#include "engine/postgres/source.h"

struct pg_conn;
struct pg_result;

namespace varve::engine::postgres {

// The rows of one answer; values as the server writes them. Owns its memory.
class Rows {
 public:
  explicit Rows(pg_result* result);
  size_t size() const;
  size_t columns() const;
  bool is_null(size_t row, size_t column) const;
  std::string_view text(size_t row, size_t column) const;  // "" for NULL; lives as long as these Rows
  bool boolean(size_t row, size_t column) const;           // "t"
  // kDatabase when the value is no number.
  Result<uint64_t> number(size_t row, size_t column) const;
  Result<double> real(size_t row, size_t column) const;

 private:
  struct Free {
    void operator()(pg_result* r) const;
  };
  std::unique_ptr<pg_result, Free> result_;
};

struct SessionOptions {
  std::string database;                            // empty: as the connection says
  std::string encoding = "UTF8";                   // client_encoding; SQL_ASCII: bytes as they are
  std::chrono::seconds connect_timeout{10};        // all of logging in
  std::chrono::milliseconds lock_timeout{0};       // 0: none
  std::chrono::milliseconds statement_timeout{0};  // 0: none
  // Commands of the replication protocol instead of SQL; they take no parameters.
  bool replication = false;
};

// Not thread-safe. The destructor closes: the server then ends what the session held (a backup, temporary
// slots).
class Connection {
 public:
  // Logs in and makes the session predictable: application_name varve, an empty search_path, no timeouts of
  // the server's or the role's own. kDatabase when the server cannot be reached or refuses; kUnsupported
  // before version 13.
  static Result<std::unique_ptr<Connection>> open(const Context& ctx, const ClusterSpec& spec,
                                                  const SessionOptions& options = {});
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  using Parameters = std::vector<std::string>;
  // One statement; $1… are text. kDatabase with the server's words and SQLSTATE. When the context ends first,
  // the statement is cancelled and the session is closed.
  Result<Rows> query(const Context& ctx, const std::string& sql, const Parameters& parameters = {});
  // A stream of messages in both directions, begun by a command of the replication protocol. False: the
  // server had nothing to stream, and ended it with an answer: stream_answer().
  Result<bool> begin_stream(const Context& ctx, const std::string& command);
  enum class Received { kMessage, kNothing /* by the deadline */, kEnd };
  // The stream's next message. The session stays when the context ends.
  Result<Received> receive(const Context& ctx, Buffer& message);
  // Taken at once; receive() sends what the socket does not take now.
  Result<> send_message(ByteView message);
  // After kEnd: what the server says of it; no rows when it says nothing.
  Result<std::optional<Rows>> stream_answer(const Context& ctx);

  // An answer of several parts, to a command of the replication protocol; taken one after another to kEnd.
  // The messages of a copy come by receive(), to its kEnd, before the next part.
  Result<> begin_answer(const Context& ctx, const std::string& command) {
    return send(ctx, command, {}, false);
  }
  enum class Part { kRows, kCopy, kEnd };
  Result<Part> next_part(const Context& ctx, std::optional<Rows>& rows);
  // What the server warned of since the last call.
  std::vector<std::string> take_warnings() { return std::exchange(warnings_, {}); }

  // As query(), for answers too large to hold: each call has Rows of one row.
  Result<> for_each(const Context& ctx, const std::string& sql,
                    const std::function<Result<>(const Rows& row)>& callback);

  int version() const { return version_; }        // 150018
  int major() const { return version_ / 10000; }  // 15
  std::string version_text() const;               // "15.18"
  std::string user() const;
  std::string database() const;
  // Of the last statement; "" when it succeeded or the server said nothing.
  const std::string& sqlstate() const { return sqlstate_; }
  bool is_open() const;

 private:
  explicit Connection(pg_conn* conn) : conn_(conn) {}
  Result<> log_in(const Context& ctx, const SessionOptions& options);
  Result<> settle(const Context& ctx, const SessionOptions& options);
  Result<> send(const Context& ctx, const std::string& sql, const Parameters& parameters, bool row_by_row);
  Result<pg_result*> next_result(const Context& ctx);  // null at the end of the answer
  Result<> wait(const Context& ctx, bool for_write);
  Result<bool> ready(const Context& ctx, bool for_write);  // false: not by the deadline
  tl::unexpected<Error> refused(const Context& ctx, pg_result* result);
  tl::unexpected<Error> lost();
  static void take_notice(void* self, const char* message);
  void abandon();

  pg_conn* conn_;
  int version_ = 0;
  bool replication_ = false;
  std::string sqlstate_;
  std::vector<std::string> warnings_;
};

}  // namespace varve::engine::postgres
