// The replication slot that keeps a server's WAL until it is in the repository, and what else a follower asks
// of the server by SQL.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/time.h"
#include "engine/postgres/connection.h"
#include "engine/postgres/lsn.h"

namespace varve::engine::postgres {

// "varve_app" for the source "app"; what a slot's name cannot hold is replaced, and told apart by a digest.
std::string slot_name_for(std::string_view source);
// kUsage unless the server takes it: 1 to 63 of a-z, 0-9 and _.
Result<> check_slot_name(std::string_view name);

struct SlotState {
  bool physical = true;
  bool active = false;         // somebody streams by it
  bool lost = false;           // WAL that it should have kept is gone
  std::optional<Lsn> restart;  // from here on the WAL is kept
  uint64_t held = 0;           // bytes of WAL that it keeps
  // Bytes that may still be written before it loses WAL (max_slot_wal_keep_size); nullopt: no limit.
  std::optional<uint64_t> room;
};
// nullopt: there is none.
Result<std::optional<SlotState>> slot_state(const Context& ctx, Connection& session, const std::string& name);
// With its WAL reserved at once. kDatabase with the mend as the hint.
Result<> create_slot(const Context& ctx, Connection& session, const std::string& name);
Result<> drop_slot(const Context& ctx, Connection& session, const std::string& name);

struct StreamSource {
  uint64_t system_id = 0;
  bool in_recovery = false;
  uint32_t segment_size = 0, block_size = 0;
  os::Path data_directory;  // as the server sees it; empty: the role may not know
};
// kDatabase when its WAL cannot be streamed by this role at all, with the mend.
Result<StreamSource> stream_source(const Context& ctx, Connection& session);

}  // namespace varve::engine::postgres
