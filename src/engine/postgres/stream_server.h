// The server that a follower streams from: its sessions and its replication slot.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine/postgres/slot.h"
#include "engine/postgres/stream.h"

namespace varve::engine::postgres {

// Not thread-safe. What is asked of the server has an end: kDatabase when it does not answer.
class StreamServer {
 public:
  // `own_slot`: it is made where there is none, and stays when we go, so that no WAL is lost meanwhile.
  // `say`: what an administrator should know of the slot.
  StreamServer(ClusterSpec spec, std::string slot, bool own_slot, std::function<void(const std::string&)> say)
      : spec_(std::move(spec)), slot_(std::move(slot)), own_slot_(own_slot), say_(std::move(say)) {}

  // Ends the sessions there are, and begins anew. The slot keeps the WAL from here on.
  Result<StreamHead> connect(const Context& ctx);
  const StreamSource& source() const { return source_; }  // as of connect()
  // From where on the slot keeps the WAL, as of connect().
  std::optional<Lsn> kept_from() const { return kept_from_; }
  // kNotFound when the server has none. Before stream() only, which ends that session.
  Result<Buffer> history(const Context& ctx, Timeline timeline);
  Result<std::unique_ptr<WalStream>> stream(const Context& ctx, Timeline timeline, Lsn from);
  // Now and then: whether the slot is near to losing WAL, or the server to having no room for more.
  void watch_slot(const Context& ctx);

 private:
  Result<StreamHead> connect_within(const Context& ctx);
  Result<> prepare_slot(const Context& ctx, Connection& session);
  Result<std::optional<std::string>> worry(const Context& ctx);

  const ClusterSpec spec_;
  const std::string slot_;
  const bool own_slot_;
  const std::function<void(const std::string&)> say_;
  StreamSource source_;
  std::optional<Lsn> kept_from_;
  bool use_slot_ = false, known_slot_ = false;
  std::optional<ReplicationSession> replication_;
  SteadyClock::time_point last_look_ = {};
  std::string worry_;
};

}  // namespace varve::engine::postgres
