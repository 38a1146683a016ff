#include "engine/postgres/stream_server.h"

#include <filesystem>
#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"

namespace varve::engine::postgres {
namespace {

constexpr auto kAnswer = std::chrono::seconds(30);
constexpr auto kLook = std::chrono::seconds(30);
constexpr auto kLookAnswer = std::chrono::seconds(5);
constexpr uint64_t kMuch = uint64_t{1} << 30;

// A server that does not answer is not a repository that cannot be reached.
template <typename T>
Result<T> as_server(const Context& ctx, Result<T> done) {
  if (done || done.error().code != Code::kUnreachable || !ctx.check()) return done;
  return fail(Code::kDatabase,
              fmt::format("the PostgreSQL server did not answer within {} s", kAnswer.count()));
}

}  // namespace

Result<StreamHead> StreamServer::connect(const Context& ctx) {
  replication_.reset();
  return as_server(ctx, connect_within(ctx.with_deadline(kAnswer)));
}

Result<StreamHead> StreamServer::connect_within(const Context& ctx) {
  // Not kept: a smart shutdown would wait for it.
  TRY_ASSIGN(const auto session, Connection::open(ctx, spec_));
  TRY_ASSIGN(source_, stream_source(ctx, *session));
  TRY_ASSIGN(replication_, ReplicationSession::open(ctx, spec_));
  TRY_OK(prepare_slot(ctx, *session));
  return replication_->identify(ctx);
}

Result<> StreamServer::prepare_slot(const Context& ctx, Connection& session) {
  TRY_ASSIGN(auto state, slot_state(ctx, session, slot_));
  if (state && !state->physical)
    return fail(Code::kConflict, fmt::format("the replication slot {} is one for logical decoding", slot_),
                "give another name: --slot NAME");
  const bool lost = state && state->lost && !state->active;
  if (lost && own_slot_) {
    say_(fmt::format("the replication slot {} has lost WAL that was not stored yet; it is made anew", slot_));
    TRY_OK(drop_slot(ctx, session, slot_));
    state.reset();
  } else if (!state && own_slot_ && known_slot_) {
    say_(fmt::format("somebody dropped the replication slot {}; it is made anew", slot_));
  }
  if (!state && own_slot_) {
    TRY_OK(create_slot(ctx, session, slot_));
    TRY_ASSIGN(state, slot_state(ctx, session, slot_));
  }
  use_slot_ = state && !state->lost;
  known_slot_ = known_slot_ || use_slot_;
  kept_from_ = use_slot_ ? state->restart : std::nullopt;
  return {};
}

Result<Buffer> StreamServer::history(const Context& ctx, Timeline timeline) {
  if (!replication_) return fail(Code::kDatabase, "there is no session with the server");
  return as_server(ctx, replication_->history(ctx.with_deadline(kAnswer), timeline));
}

Result<std::unique_ptr<WalStream>> StreamServer::stream(const Context& ctx, Timeline timeline, Lsn from) {
  if (!replication_) return fail(Code::kDatabase, "there is no session with the server");
  StreamOptions options;
  options.timeline = timeline;
  options.from = from;
  if (use_slot_) options.slot = slot_;
  auto stream =
      as_server(ctx, WalStream::start(ctx.with_deadline(kAnswer), std::move(*replication_), options));
  replication_.reset();
  return stream;
}

void StreamServer::watch_slot(const Context& ctx) {
  const auto now = SteadyClock::now();
  if (!use_slot_ || now - last_look_ < kLook) return;
  last_look_ = now;
  const auto found = worry(ctx.with_deadline(kLookAnswer));
  if (!found) return log::debug("the slot {} could not be looked at: {}", slot_, found.error().describe());
  const std::string text = found->value_or("");
  if (text.empty() == worry_.empty()) return;
  worry_ = text;
  if (text.empty()) return say_(fmt::format("the replication slot {} keeps all WAL again", slot_));
  log::warn("{}", text);
  say_(text);
}

Result<std::optional<std::string>> StreamServer::worry(const Context& ctx) {
  TRY_ASSIGN(const auto session, Connection::open(ctx, spec_));
  TRY_ASSIGN(const auto state, slot_state(ctx, *session, slot_));
  if (!state) return fmt::format("the replication slot {} is gone: nothing keeps the WAL", slot_);
  if (state->lost) return fmt::format("the replication slot {} has lost WAL that was not stored yet", slot_);
  if (state->room && *state->room < state->held / 3)
    return fmt::format(
        "the replication slot {} holds {} of WAL and is about to lose it: max_slot_wal_keep_size lets {} "
        "more be "
        "written",
        slot_, human_size(state->held), human_size(*state->room));
  const os::Path root = spec_.data_directory.empty() ? source_.data_directory : spec_.data_directory;
  std::error_code error;
  const auto space = std::filesystem::space(root / "pg_wal", error);
  if (!root.empty() && !error && state->held > kMuch && space.available < space.capacity / 10)
    return fmt::format("the replication slot {} holds {} of WAL, and the server's disk has only {} left",
                       slot_, human_size(state->held), human_size(space.available));
  return std::nullopt;
}

}  // namespace varve::engine::postgres
