// Between a WalPart and its stored form: wal_index.proto. Internal to this engine.
#pragma once

#include "engine/postgres/wal_index.h"

namespace varve::format::postgres {
class WalIndex;
}

namespace varve::engine::postgres {

void encode_part(const WalPart& part, format::postgres::WalIndex& out);
// `most_blocks`: more than that the piece cannot name.
Result<> decode_part(const format::postgres::WalIndex& in, uint64_t most_blocks, WalPart& out);

}  // namespace varve::engine::postgres
