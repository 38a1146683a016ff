#include "engine/postgres/connection.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <fmt/format.h>
#include <libpq-fe.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utility>

#include "base/log.h"
#include "base/text.h"

namespace varve::engine::postgres {
namespace {

constexpr int kOldestVersion = 130000;
constexpr std::string_view kDatabaseByDefault = "postgres";

// Wakes a poll(2) when the context is asked to stop.
class Wake {
 public:
  explicit Wake(const Context& ctx)
      : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), callback_(ctx.stop, Signal{fd_}) {}
  ~Wake() {
    callback_.reset();
    if (fd_ >= 0) ::close(fd_);
  }
  Wake(const Wake&) = delete;
  Wake& operator=(const Wake&) = delete;
  int fd() const { return fd_; }

 private:
  struct Signal {
    int fd;
    void operator()() const {
      const uint64_t one = 1;
      (void)!::write(fd, &one, sizeof one);
    }
  };
  int fd_;
  struct Callback {
    std::optional<std::stop_callback<Signal>> held;
    Callback(const std::stop_token& token, Signal signal) { held.emplace(token, signal); }
    void reset() { held.reset(); }
  } callback_;
};

int milliseconds_left(const Context& ctx) {
  if (ctx.deadline == SteadyClock::time_point::max()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(ctx.deadline - SteadyClock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30));
}

// Until the socket is ready, or the context ends (then its error).
Result<> wait_for(const Context& ctx, int socket, short events) {
  Wake wake(ctx);
  for (;;) {
    TRY_OK(ctx.check());
    std::array<pollfd, 2> fds = {{{wake.fd(), POLLIN, 0}, {socket, events, 0}}};
    const int n = ::poll(fds.data(), fds.size(), milliseconds_left(ctx));
    if (n < 0 && errno != EINTR) return fail(os::errno_error(errno, "wait for", "the PostgreSQL server"));
    if (n > 0 && fds[1].revents != 0) return {};
  }
}

// libpq's messages end with a line break and can have several lines.
std::string one_line(const char* message) {
  std::string out;
  for (const std::string_view line : split(trim(message ? message : ""), '\n')) {
    if (!out.empty()) out += "; ";
    out += trim(line);
  }
  return printable(out);
}

std::string hint_for_state(std::string_view state) {
  if (state.starts_with("28"))
    return "pg_hba.conf decides who may log in and how; a password is read from ~/.pgpass, $PGPASSFILE or "
           "$PGPASSWORD";
  if (state == "3D000") return "name a database that exists: dbname=postgres";
  if (state == "53300") return "the server has no free connection: raise max_connections or end some";
  if (state == "42501") return "varve check names the permissions that are missing";
  if (state == "57P03") return "the server is starting up, shutting down or recovering: wait, and run again";
  return {};
}

std::string hint_for_login(std::string_view message) {
  const auto says = [&](std::string_view what) { return message.find(what) != message.npos; };
  if (says("for replication connection") || says("for replication host"))
    return "a line of pg_hba.conf must let the role in for replication, for example: host replication ROLE "
           "ADDRESS/32 scram-sha-256";
  if (says("replication role to start walsender") || says("permission denied to start WAL sender"))
    return "ALTER ROLE name REPLICATION, for the role of the connection";
  if (says("max_wal_senders"))
    return "raise max_wal_senders and restart the server, or end another reader of its WAL";
  if (says("authentication failed") || says("no password supplied") || says("no pg_hba.conf entry"))
    return hint_for_state("28000");
  if (says("does not exist")) return "check user= and dbname= of the connection";
  if (says("starting up") || says("shutting down") || says("not yet accepting"))
    return hint_for_state("57P03");
  return "is the server running, and are host= and port= of the connection right?";
}

}  // namespace

// What the server warns of is kept for take_warnings().
void Connection::take_notice(void* self, const char* message) {
  constexpr size_t kMost = 100;
  auto& kept = static_cast<Connection*>(self)->warnings_;
  if (kept.size() < kMost) kept.push_back(one_line(message));
}

void Rows::Free::operator()(pg_result* r) const {
  PQclear(r);
}
Rows::Rows(pg_result* result) : result_(result) {}
size_t Rows::size() const {
  return static_cast<size_t>(PQntuples(result_.get()));
}
size_t Rows::columns() const {
  return static_cast<size_t>(PQnfields(result_.get()));
}
bool Rows::is_null(size_t row, size_t column) const {
  return PQgetisnull(result_.get(), static_cast<int>(row), static_cast<int>(column)) != 0;
}
std::string_view Rows::text(size_t row, size_t column) const {
  const int r = static_cast<int>(row), c = static_cast<int>(column);
  const char* value = PQgetvalue(result_.get(), r, c);
  if (!value) return {};
  return {value, static_cast<size_t>(PQgetlength(result_.get(), r, c))};
}
bool Rows::boolean(size_t row, size_t column) const {
  return text(row, column) == "t";
}
Result<uint64_t> Rows::number(size_t row, size_t column) const {
  const std::string_view t = text(row, column);
  uint64_t out = 0;
  const auto [end, error] = std::from_chars(t.data(), t.data() + t.size(), out);
  if (error != std::errc() || end != t.data() + t.size())
    return fail(Code::kDatabase,
                fmt::format("the server answered \"{}\" where a number belongs", printable(t)));
  return out;
}
Result<double> Rows::real(size_t row, size_t column) const {
  const std::string_view t = text(row, column);
  double out = 0;
  const auto [end, error] = std::from_chars(t.data(), t.data() + t.size(), out);
  if (error != std::errc() || end != t.data() + t.size())
    return fail(Code::kDatabase,
                fmt::format("the server answered \"{}\" where a number belongs", printable(t)));
  return out;
}

Result<std::unique_ptr<Connection>> Connection::open(const Context& ctx, const ClusterSpec& spec,
                                                     const SessionOptions& options) {
  TRY_OK(ctx.check());
  std::string database = options.database.empty() ? database_of(spec) : options.database;
  if (database.empty()) database = kDatabaseByDefault;
  // With expand_dbname the first dbname may be a whole connection string; the later ones are taken as they
  // are.
  const std::array<const char*, 8> keys = {
      "dbname",           "dbname",          "client_encoding", "application_name",
      "tcp_user_timeout", "keepalives_idle", "replication",     nullptr};
  const std::array<const char*, 8> values = {
      spec.connection.empty() ? "application_name=varve" : spec.connection.c_str(),
      database.c_str(),
      options.encoding.c_str(),
      "varve",
      "60000",
      "60",
      options.replication ? "true" : "",
      nullptr};
  std::unique_ptr<Connection> out(new Connection(PQconnectStartParams(keys.data(), values.data(), 1)));
  if (!out->conn_) return fail(Code::kIo, "libpq has no memory for a connection");
  out->replication_ = options.replication;
  const Context login = ctx.with_deadline(options.connect_timeout);
  if (auto done = out->log_in(login, options); !done) {
    TRY_OK(ctx.check());
    Error error = std::move(done).error();
    if (error.code == Code::kUnreachable)
      error = Error{.code = Code::kDatabase,
                    .message = fmt::format("the PostgreSQL server did not answer within {} s",
                                           options.connect_timeout.count()),
                    .hint = hint_for_login("")};
    return fail(std::move(error));
  }
  return out;
}

Connection::~Connection() {
  if (conn_) PQfinish(conn_);
}

bool Connection::is_open() const {
  return conn_ && PQstatus(conn_) == CONNECTION_OK;
}

std::string Connection::version_text() const {
  return fmt::format("{}.{}", version_ / 10000, version_ % 10000);
}
std::string Connection::user() const {
  const char* user = conn_ ? PQuser(conn_) : nullptr;
  return user ? user : "";
}
std::string Connection::database() const {
  const char* db = conn_ ? PQdb(conn_) : nullptr;
  return db ? db : "";
}

Result<> Connection::log_in(const Context& ctx, const SessionOptions& options) {
  PQsetNoticeReceiver(
      conn_,
      [](void* self, const PGresult* notice) {
        const char* severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
        const char* message = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
        log::debug("postgres: {}", one_line(PQresultErrorMessage(notice)));
        if (severity && std::string_view(severity) == "WARNING") take_notice(self, message);
      },
      this);
  auto state = PQstatus(conn_) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
  while (state == PGRES_POLLING_READING || state == PGRES_POLLING_WRITING) {
    TRY_OK(wait_for(ctx, PQsocket(conn_), state == PGRES_POLLING_READING ? POLLIN : POLLOUT));
    state = PQconnectPoll(conn_);
  }
  if (state != PGRES_POLLING_OK) {
    const std::string why = one_line(PQerrorMessage(conn_));
    return fail(Code::kDatabase, fmt::format("cannot connect to the PostgreSQL server: {}", why),
                hint_for_login(why));
  }
  if (PQsetnonblocking(conn_, 1) != 0) return lost();
  version_ = PQserverVersion(conn_);
  if (version_ < kOldestVersion)
    return fail(Code::kUnsupported, fmt::format("PostgreSQL {} is not supported", version_text()),
                "version 13 or later");
  return replication_ ? Result<>{} : settle(ctx, options);
}

// What an administrator or the role has set must not end a backup that takes hours, nor change what names
// mean.
Result<> Connection::settle(const Context& ctx, const SessionOptions& options) {
  std::string sql =
      "SELECT pg_catalog.set_config('search_path', '', false),"
      " pg_catalog.set_config('statement_timeout', $1, false), pg_catalog.set_config('lock_timeout', $2, "
      "false),"
      " pg_catalog.set_config('idle_in_transaction_session_timeout', '0', false),"
      " pg_catalog.set_config('datestyle', 'ISO', false), pg_catalog.set_config('intervalstyle', 'postgres', "
      "false),"
      " pg_catalog.set_config('bytea_output', 'hex', false), pg_catalog.set_config('timezone', 'UTC', false)";
  if (version_ >= 140000) sql += ", pg_catalog.set_config('idle_session_timeout', '0', false)";
  if (version_ >= 170000) sql += ", pg_catalog.set_config('transaction_timeout', '0', false)";
  TRY_OK(query(
      ctx, sql,
      {std::to_string(options.statement_timeout.count()), std::to_string(options.lock_timeout.count())}));
  return {};
}

Result<Rows> Connection::query(const Context& ctx, const std::string& sql, const Parameters& parameters) {
  TRY_OK(send(ctx, sql, parameters, false));
  std::optional<Rows> rows;
  for (;;) {
    TRY_ASSIGN(pg_result * result, next_result(ctx));
    if (!result) break;
    rows.emplace(result);
  }
  if (!rows) return lost();
  return std::move(*rows);
}

Result<> Connection::for_each(const Context& ctx, const std::string& sql,
                              const std::function<Result<>(const Rows&)>& callback) {
  TRY_OK(send(ctx, sql, {}, true));
  for (;;) {
    TRY_ASSIGN(pg_result * result, next_result(ctx));
    if (!result) return {};
    const Rows rows(result);
    if (rows.size() == 0) continue;
    if (auto taken = callback(rows); !taken) {
      abandon();
      return taken;
    }
  }
}

Result<> Connection::send(const Context& ctx, const std::string& sql, const Parameters& parameters,
                          bool row_by_row) {
  sqlstate_.clear();
  TRY_OK(ctx.check());
  if (!is_open()) return lost();
  std::vector<const char*> values;
  for (const std::string& p : parameters) values.push_back(p.c_str());
  const int sent = replication_ ? PQsendQuery(conn_, sql.c_str())
                                : PQsendQueryParams(conn_, sql.c_str(), static_cast<int>(values.size()),
                                                    nullptr, values.data(), nullptr, nullptr, 0);
  if (!sent) return lost();
  if (row_by_row && !PQsetSingleRowMode(conn_)) return lost();
  for (;;) {
    const int rest = PQflush(conn_);
    if (rest == 0) return {};
    if (rest < 0) return lost();
    TRY_OK(wait(ctx, true));
    if (!PQconsumeInput(conn_)) return lost();
  }
}

Result<pg_result*> Connection::next_result(const Context& ctx) {
  while (PQisBusy(conn_)) {
    TRY_OK(wait(ctx, false));
    if (!PQconsumeInput(conn_)) return lost();
  }
  pg_result* result = PQgetResult(conn_);
  if (!result) return result;
  const ExecStatusType status = PQresultStatus(result);
  if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_SINGLE_TUPLE) return result;
  return refused(ctx, result);
}

Result<> Connection::wait(const Context& ctx, bool for_write) {
  const short events = static_cast<short>(for_write ? POLLIN | POLLOUT : POLLIN);
  auto ready = wait_for(ctx, PQsocket(conn_), events);
  if (!ready) abandon();
  return ready;
}

Result<bool> Connection::ready(const Context& ctx, bool for_write) {
  const short events = static_cast<short>(for_write ? POLLIN | POLLOUT : POLLIN);
  const auto ready = wait_for(ctx, PQsocket(conn_), events);
  if (ready) return true;
  if (ready.error().code == Code::kUnreachable) return false;
  return fail(ready.error());
}

// Takes the result over, and reads the rest of the answer, so that the session is of use again.
tl::unexpected<Error> Connection::refused(const Context& ctx, pg_result* result) {
  const auto field = [&](int code) {
    const char* value = PQresultErrorField(result, code);
    return std::string(value ? value : "");
  };
  const std::string state = field(PG_DIAG_SQLSTATE), primary = field(PG_DIAG_MESSAGE_PRIMARY);
  std::string hint = hint_for_state(state);
  if (hint.empty()) hint = printable(field(PG_DIAG_MESSAGE_HINT));
  PQclear(result);
  if (primary.empty()) return lost();
  sqlstate_ = state;
  for (;;) {
    while (conn_ && PQisBusy(conn_)) {
      if (!wait(ctx, false) || !PQconsumeInput(conn_)) break;
    }
    pg_result* more = conn_ && !PQisBusy(conn_) ? PQgetResult(conn_) : nullptr;
    if (!more) break;
    PQclear(more);
  }
  return fail(Code::kDatabase, fmt::format("PostgreSQL: {} (SQLSTATE {})", printable(primary), state), hint);
}

tl::unexpected<Error> Connection::lost() {
  const std::string why = conn_ ? one_line(PQerrorMessage(conn_)) : "it was closed";
  return fail(Code::kDatabase, fmt::format("the session with the PostgreSQL server is lost: {}", why),
              "look in the server's log, and run again");
}

void Connection::abandon() {
  if (!conn_) return;
  if (PGcancel* cancel = PQgetCancel(conn_)) {
    std::array<char, 256> message;
    PQcancel(cancel, message.data(), message.size());
    PQfreeCancel(cancel);
  }
  PQfinish(std::exchange(conn_, nullptr));
}

}  // namespace varve::engine::postgres
