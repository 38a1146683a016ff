#include "engine/postgres/stream.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

#include "base/text.h"

namespace varve::engine::postgres {
namespace {

constexpr auto kStatus = std::chrono::seconds(10);  // at least so often, whatever happens
constexpr auto kStep = std::chrono::milliseconds(100);
constexpr auto kSilence =
    std::chrono::seconds(60);  // a server that is asked every second and says nothing is gone
constexpr auto kAnswer = std::chrono::seconds(10);
constexpr std::string_view kRemoved = "58P01";  // undefined_file

Result<Timeline> timeline_field(const Rows& rows, size_t column) {
  TRY_ASSIGN(const uint64_t number, rows.number(0, column));
  if (number == 0 || number > UINT32_MAX)
    return fail(Code::kDatabase, fmt::format("the server answered {} where a timeline belongs", number));
  return static_cast<Timeline>(number);
}

Result<> expect(const Rows& rows, size_t columns) {
  if (rows.size() == 1 && rows.columns() >= columns) return {};
  return fail(Code::kDatabase, "the server's answer is not as the replication protocol has it");
}

}  // namespace

Result<ReplicationSession> ReplicationSession::open(const Context& ctx, const ClusterSpec& spec) {
  SessionOptions options;
  options.replication = true;
  ReplicationSession out;
  TRY_ASSIGN(out.session_, Connection::open(ctx, spec, options));
  return out;
}

Result<StreamHead> ReplicationSession::identify(const Context& ctx) {
  TRY_ASSIGN(const Rows rows, session_->query(ctx, "IDENTIFY_SYSTEM"));
  TRY_OK(expect(rows, 3));
  StreamHead out;
  TRY_ASSIGN(out.system_id, rows.number(0, 0));
  TRY_ASSIGN(out.timeline, timeline_field(rows, 1));
  TRY_ASSIGN(out.flushed, parse_lsn(rows.text(0, 2)));
  return out;
}

Result<Buffer> ReplicationSession::history(const Context& ctx, Timeline timeline) {
  auto rows = session_->query(ctx, fmt::format("TIMELINE_HISTORY {}", timeline));
  if (!rows && session_->sqlstate() == kRemoved)
    return fail(Code::kNotFound, fmt::format("the server has no {}", history_name(timeline)));
  if (!rows) return fail(std::move(rows).error());
  TRY_OK(expect(*rows, 2));
  return to_buffer(as_bytes(rows->text(0, 1)));
}

Result<std::unique_ptr<WalStream>> WalStream::start(const Context& ctx, ReplicationSession session,
                                                    const StreamOptions& options) {
  auto connection = std::move(session).take_connection();
  const std::string slot = options.slot.empty() ? "" : fmt::format("SLOT \"{}\" ", options.slot);
  TRY_ASSIGN(const bool streams,
             connection->begin_stream(ctx, fmt::format("START_REPLICATION {}PHYSICAL {} TIMELINE {}", slot,
                                                       format_lsn(options.from), options.timeline)));
  std::unique_ptr<WalStream> out(new WalStream(std::move(connection), options));
  if (streams) {
    out->thread_ = std::jthread([stream = out.get()](const std::stop_token& stop) { stream->run(stop); });
  } else {
    // All of a timeline that was left is there already.
    out->end_ = StreamEnd{.timeline_over = true, .error = {}};
  }
  return out;
}

WalStream::WalStream(std::unique_ptr<Connection> session, const StreamOptions& options)
    : options_(options),
      session_(std::move(session)),
      told_(options.from),
      pending_start_(options.from),
      received_(options.from),
      durable_(options.from) {}

WalStream::~WalStream() {
  thread_ = {};
}

Result<StreamBatch> WalStream::take(const Context& ctx, size_t most, std::chrono::milliseconds gather,
                                    std::chrono::milliseconds wait) {
  const auto until = SteadyClock::now() + wait;
  std::unique_lock lock(mutex_);
  for (;;) {
    TRY_OK(ctx.check());
    if (end_ || pending_.size() >= most) break;
    const bool none = pending_.empty();
    const auto wake = none ? until : std::min(until, first_arrival_ + gather);
    if (SteadyClock::now() >= wake) break;
    changed_.wait_until(lock, ctx.stop, wake,
                        [&] { return end_ || pending_.size() >= most || (none && !pending_.empty()); });
  }
  StreamBatch out;
  out.start = pending_start_;
  if (pending_.size() <= most) {
    out.bytes = std::exchange(pending_, {});
    out.end = end_;
  } else {
    out.bytes = to_buffer(ByteView(pending_).first(most));
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(most));
    first_arrival_ = SteadyClock::now();
  }
  pending_start_ += out.bytes.size();
  if (complete_until_ && complete_at_ <= pending_start_)
    out.complete_until = std::exchange(complete_until_, {});
  return out;
}

void WalStream::confirm(Lsn lsn) {
  const std::scoped_lock lock(mutex_);
  if (lsn > durable_) last_progress_ = SteadyClock::now();
  durable_ = std::max(durable_, lsn);
}

void WalStream::run(const std::stop_token& stop) {
  const Context ctx{.stop = stop};
  Buffer message;
  for (;;) {
    const auto more = step(ctx, message);
    if (more && *more) continue;
    if (stop.stop_requested()) break;
    StreamEnd end =
        more ? ended(ctx) : StreamEnd{.removed = session_->sqlstate() == kRemoved, .error = more.error()};
    // The server is not left waiting for who takes the rest.
    session_.reset();
    return finish(std::move(end));
  }
  // The server is told the last of what it may forget.
  if (session_->is_open()) (void)send_status(false);
  session_.reset();
}

Result<bool> WalStream::step(const Context& ctx, Buffer& message) {
  bool full = false, news = false;
  {
    const std::scoped_lock lock(mutex_);
    full = pending_.size() >= options_.buffer;
    news = durable_ > told_;
  }
  const auto now = SteadyClock::now();
  const bool ask = !asked_ && !full && now - last_status_ >= options_.ask;
  if (ask || news || now - last_status_ >= kStatus) TRY_OK(send_status(ask));
  if (full) {
    last_message_ = now;
    TRY_OK(ctx.sleep(kStep));
    return true;
  }
  if (now - last_message_ > kSilence)
    return fail(Code::kDatabase, fmt::format("the server has been silent for {} s", kSilence.count()));
  TRY_ASSIGN(const auto received, session_->receive(ctx.with_deadline(kStep), message));
  if (received == Connection::Received::kEnd) return false;
  if (received == Connection::Received::kNothing) return true;
  last_message_ = SteadyClock::now();
  TRY_ASSIGN(const StreamMessage parsed, parse_stream_message(message));
  if (const auto* data = std::get_if<StreamData>(&parsed)) {
    TRY_OK(take_data(*data));
  } else {
    TRY_OK(take_keepalive(std::get<StreamKeepalive>(parsed)));
  }
  return true;
}

Result<> WalStream::take_data(const StreamData& data) {
  const std::scoped_lock lock(mutex_);
  if (data.start != received_)
    return fail(Code::kDatabase, fmt::format("the server sent WAL from {} where {} was next",
                                             format_lsn(data.start), format_lsn(received_)));
  if (pending_.empty()) first_arrival_ = SteadyClock::now();
  // Nobody had to confirm anything until now.
  if (durable_ == received_) last_progress_ = SteadyClock::now();
  append(pending_, data.bytes);
  received_ += data.bytes.size();
  note_clock(data.sent, received_ >= data.end);
  changed_.notify_all();
  return {};
}

Result<> WalStream::take_keepalive(const StreamKeepalive& alive) {
  asked_ = false;
  {
    const std::scoped_lock lock(mutex_);
    note_clock(alive.sent, alive.sent_up_to <= received_ && (caught_up_ || received_ == options_.from));
  }
  if (!alive.reply_now) return {};
  TRY_OK(let_go_if_stuck());
  return send_status(false);
}

// Between two messages the server looks for more WAL to send. So when it has sent all it had, nothing that
// was there when the message before this one left is missing.
void WalStream::note_clock(Timestamp sent, bool caught_up) {
  caught_up_ = caught_up;
  if (caught_up && last_sent_) {
    complete_until_ = last_sent_;
    complete_at_ = received_;
  }
  last_sent_ = sent;
}

// A server that shuts down waits until all its WAL is durable here, for ever if we keep answering.
Result<> WalStream::let_go_if_stuck() const {
  const std::scoped_lock lock(mutex_);
  if (durable_ >= received_ || SteadyClock::now() - last_progress_ < options_.hold) return {};
  return fail(Code::kDatabase,
              "the server waits for WAL that cannot be stored now: it is let go, its slot keeps it");
}

Result<> WalStream::send_status(bool ask) {
  Lsn received = 0, durable = 0;
  {
    const std::scoped_lock lock(mutex_);
    received = received_;
    durable = durable_;
  }
  TRY_OK(session_->send_message(encode_stream_status(received, durable, now(), ask)));
  told_ = durable;
  asked_ = asked_ || ask;
  last_status_ = SteadyClock::now();
  return {};
}

StreamEnd WalStream::ended(const Context& ctx) {
  auto answer = session_->stream_answer(ctx.with_deadline(kAnswer));
  if (!answer) return {.removed = session_->sqlstate() == kRemoved, .error = answer.error()};
  // A row names the next timeline and where it begins.
  if (*answer && (*answer)->size() == 1) return {.timeline_over = true, .error = {}};
  return {.error = {.code = Code::kDatabase,
                    .message = "the server ended the stream of its WAL: it is shutting down"}};
}

void WalStream::finish(StreamEnd end) {
  const std::scoped_lock lock(mutex_);
  end_ = std::move(end);
  changed_.notify_all();
}

}  // namespace varve::engine::postgres
