// The messages inside a stream of WAL.
// Source: PostgreSQL's documentation, "Streaming Replication Protocol", and XLogWalRcvProcessMsg() of
// src/backend/replication/walreceiver.c. Numbers are big-endian, times microseconds since the year 2000.
#pragma once

#include <variant>

#include "base/bytes.h"
#include "base/time.h"
#include "engine/postgres/lsn.h"

namespace varve::engine::postgres {

struct StreamData {
  Lsn start = 0;   // of the first byte
  Lsn end = 0;     // the server's end of WAL when it looked for more to send; not that of these bytes
  Timestamp sent;  // by the server's clock
  ByteView bytes;  // of the message
};
struct StreamKeepalive {
  Lsn sent_up_to = 0;
  Timestamp sent;
  bool reply_now = false;
};
using StreamMessage = std::variant<StreamData, StreamKeepalive>;
// kDamaged: none of these, cut short, or its bytes would pass the end of all positions.
Result<StreamMessage> parse_stream_message(ByteView message);

// Up to where the WAL was received, and up to where it is durable. With `ask` the server answers at once.
Buffer encode_stream_status(Lsn received, Lsn durable, Timestamp now, bool ask);

}  // namespace varve::engine::postgres
