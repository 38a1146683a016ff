// A server's WAL as it is written, over the streaming replication protocol.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/time.h"
#include "engine/postgres/connection.h"
#include "engine/postgres/lsn.h"
#include "engine/postgres/stream_message.h"

namespace varve::engine::postgres {

// What a server says when it is asked over the replication protocol.
struct StreamHead {
  uint64_t system_id = 0;
  Timeline timeline = 0;  // the one it writes or replays
  Lsn flushed = 0;        // its WAL is durable at the server up to here
};

// A session of the replication protocol that does not stream yet. Not thread-safe.
class ReplicationSession {
 public:
  ReplicationSession() = default;
  explicit ReplicationSession(std::unique_ptr<Connection> session) : session_(std::move(session)) {}
  // Errors as Connection::open.
  static Result<ReplicationSession> open(const Context& ctx, const ClusterSpec& spec);
  Result<StreamHead> identify(const Context& ctx);
  // The history file of a timeline, byte for byte. kNotFound when the server has none.
  Result<Buffer> history(const Context& ctx, Timeline timeline);
  std::unique_ptr<Connection> take_connection() && { return std::move(session_); }

 private:
  std::unique_ptr<Connection> session_;
};

struct StreamOptions {
  Timeline timeline = 0;
  Lsn from = 0;
  std::string slot;                     // empty: none
  size_t buffer = 32u << 20;            // bytes kept for who takes them; beyond that the server has to wait
  std::chrono::milliseconds ask{1000};  // how often the server is asked for its clock
  // With WAL in hand that nobody confirms for so long, a server that waits for us (to shut down) is let go.
  std::chrono::seconds hold{30};
};

// How a stream ended.
struct StreamEnd {
  bool timeline_over = false;  // the server goes on with another one
  bool removed = false;        // it does not have this WAL any more
  Error error;                 // unless the timeline is over
};

struct StreamBatch {
  Lsn start = 0;
  Buffer bytes;
  // What was committed by then, by the server's clock, lies before the end of this batch.
  std::optional<Timestamp> complete_until;
  std::optional<StreamEnd> end;  // nothing comes after these bytes
};

// A thread of its own receives, and answers the server also while nobody takes. The other calls are for one
// thread. Destroying it ends the session, after a last word on what is durable.
class WalStream {
 public:
  static Result<std::unique_ptr<WalStream>> start(const Context& ctx, ReplicationSession session,
                                                  const StreamOptions& options);
  ~WalStream();
  WalStream(const WalStream&) = delete;
  WalStream& operator=(const WalStream&) = delete;

  // At most `most` bytes, all in one row: as soon as there are so many, or `gather` after the first came, or
  // at the end of `wait`. kInterrupted as the context says.
  Result<StreamBatch> take(const Context& ctx, size_t most, std::chrono::milliseconds gather,
                           std::chrono::milliseconds wait);
  // All WAL before `lsn` is durable in the repository: the server may forget it.
  void confirm(Lsn lsn);

 private:
  WalStream(std::unique_ptr<Connection> session, const StreamOptions& options);
  void run(const std::stop_token& stop);
  Result<bool> step(const Context& ctx, Buffer& message);  // false: the stream has ended
  Result<> take_data(const StreamData& data);
  Result<> take_keepalive(const StreamKeepalive& alive);
  Result<> send_status(bool ask);
  Result<> let_go_if_stuck() const;
  void note_clock(Timestamp sent, bool caught_up);
  StreamEnd ended(const Context& ctx);
  void finish(StreamEnd end);

  const StreamOptions options_;
  std::unique_ptr<Connection> session_;  // the thread's

  // The thread's own.
  Lsn told_ = 0;            // durable, as the server was told last
  bool asked_ = false;      // and has not answered
  bool caught_up_ = false;  // the last bytes were all that the server had
  std::optional<Timestamp> last_sent_;
  SteadyClock::time_point last_status_ = {}, last_message_ = SteadyClock::now();

  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  Buffer pending_;
  Lsn pending_start_ = 0, received_ = 0, durable_ = 0;
  SteadyClock::time_point first_arrival_ = {}, last_progress_ = SteadyClock::now();
  std::optional<Timestamp> complete_until_;
  Lsn complete_at_ = 0;
  std::optional<StreamEnd> end_;

  std::jthread thread_;
};

}  // namespace varve::engine::postgres
