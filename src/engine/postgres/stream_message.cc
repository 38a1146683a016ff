#include "engine/postgres/stream_message.h"

#include <fmt/format.h>

#include "engine/postgres/wal_contents.h"

namespace varve::engine::postgres {
namespace {

constexpr auto kYear2000 = std::chrono::seconds(946'684'800);

Result<Timestamp> time_field(ByteReader& in) {
  TRY_ASSIGN(const uint64_t raw, in.be<uint64_t>());
  const auto time = from_postgres_time(raw);
  if (!time) return fail(Code::kDamaged, "the server sent a time that is none");
  return *time;
}

}  // namespace

Result<StreamMessage> parse_stream_message(ByteView message) {
  ByteReader in(message);
  TRY_ASSIGN(const ByteView kind, in.take(1));
  if (kind[0] == std::byte{'w'}) {
    StreamData out;
    TRY_ASSIGN(out.start, in.be<uint64_t>());
    TRY_ASSIGN(out.end, in.be<uint64_t>());
    TRY_ASSIGN(out.sent, time_field(in));
    out.bytes = message.subspan(in.position());
    if (out.start + out.bytes.size() < out.start)
      return fail(Code::kDamaged, "the server sent WAL from beyond its end");
    return out;
  }
  if (kind[0] == std::byte{'k'}) {
    StreamKeepalive out;
    TRY_ASSIGN(out.sent_up_to, in.be<uint64_t>());
    TRY_ASSIGN(out.sent, time_field(in));
    TRY_ASSIGN(const ByteView reply, in.take(1));
    out.reply_now = reply[0] != std::byte{0};
    return out;
  }
  return fail(Code::kDamaged, fmt::format("the server sent a message of an unknown kind ({})",
                                          std::to_integer<unsigned>(kind[0])));
}

Buffer encode_stream_status(Lsn received, Lsn durable, Timestamp now, bool ask) {
  Buffer out(1 + 4 * 8 + 1);
  out[0] = std::byte{'r'};
  store_be<uint64_t>(out.data() + 1, received);
  store_be<uint64_t>(out.data() + 9, durable);
  store_be<uint64_t>(out.data() + 17, 0);  // nothing is applied
  store_be<uint64_t>(out.data() + 25, static_cast<uint64_t>((now.time_since_epoch() - kYear2000).count()));
  out[33] = std::byte{ask ? uint8_t{1} : uint8_t{0}};
  return out;
}

}  // namespace varve::engine::postgres
