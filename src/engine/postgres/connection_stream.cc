// The part of a session that is streams of messages: in both directions (libpq's COPY BOTH), or to us (COPY
// OUT).
#include <libpq-fe.h>

#include "engine/postgres/connection.h"

namespace varve::engine::postgres {

Result<bool> Connection::begin_stream(const Context& ctx, const std::string& command) {
  TRY_OK(send(ctx, command, {}, false));
  while (PQisBusy(conn_)) {
    TRY_OK(wait(ctx, false));
    if (!PQconsumeInput(conn_)) return lost();
  }
  pg_result* result = PQgetResult(conn_);
  if (!result) return lost();
  const ExecStatusType status = PQresultStatus(result);
  if (status == PGRES_COPY_BOTH) {
    PQclear(result);
    return true;
  }
  if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) return refused(ctx, result);
  PQclear(result);
  for (;;) {
    TRY_ASSIGN(pg_result * more, next_result(ctx));
    if (!more) return false;
    PQclear(more);
  }
}

Result<Connection::Part> Connection::next_part(const Context& ctx, std::optional<Rows>& rows) {
  rows.reset();
  for (;;) {
    while (PQisBusy(conn_)) {
      TRY_OK(wait(ctx, false));
      if (!PQconsumeInput(conn_)) return lost();
    }
    pg_result* result = PQgetResult(conn_);
    if (!result) return Part::kEnd;
    switch (PQresultStatus(result)) {
      case PGRES_TUPLES_OK:
        rows.emplace(result);
        return Part::kRows;
      case PGRES_COPY_OUT:
        PQclear(result);
        return Part::kCopy;
      case PGRES_COMMAND_OK:
        PQclear(result);
        break;
      default:
        return refused(ctx, result);
    }
  }
}

Result<Connection::Received> Connection::receive(const Context& ctx, Buffer& message) {
  if (!is_open()) return lost();
  for (;;) {
    char* raw = nullptr;
    const int size = PQgetCopyData(conn_, &raw, 1);
    if (size > 0) {
      message = to_buffer(as_bytes(std::string_view(raw, static_cast<size_t>(size))));
      PQfreemem(raw);
      return Received::kMessage;
    }
    if (size == -1) return Received::kEnd;
    if (size < 0) return lost();
    const int unsent = PQflush(conn_);
    if (unsent < 0) return lost();
    TRY_ASSIGN(const bool more, ready(ctx, unsent > 0));
    if (!more) return Received::kNothing;
    if (!PQconsumeInput(conn_)) return lost();
  }
}

Result<> Connection::send_message(ByteView message) {
  if (!is_open()) return lost();
  const std::string_view text = as_text(message);
  if (PQputCopyData(conn_, text.data(), static_cast<int>(text.size())) != 1 || PQflush(conn_) < 0)
    return lost();
  return {};
}

Result<std::optional<Rows>> Connection::stream_answer(const Context& ctx) {
  std::optional<Rows> rows;
  for (;;) {
    while (PQisBusy(conn_)) {
      TRY_OK(wait(ctx, false));
      if (!PQconsumeInput(conn_)) return lost();
    }
    pg_result* result = PQgetResult(conn_);
    if (!result) return rows;
    switch (PQresultStatus(result)) {
      case PGRES_COPY_IN:
      case PGRES_COPY_BOTH:  // the server has ended its side, and waits for the end of ours
        PQclear(result);
        if (PQputCopyEnd(conn_, nullptr) != 1 || PQflush(conn_) < 0) return lost();
        break;
      case PGRES_TUPLES_OK:
        rows.emplace(result);
        break;
      case PGRES_COMMAND_OK:
        PQclear(result);
        break;
      default:
        return refused(ctx, result);
    }
  }
}

}  // namespace varve::engine::postgres
