#include "engine/sqlite/connection.h"

#include <fmt/format.h>
#include <sqlite3.h>
#include <thread>
#include <utility>

namespace varve::engine::sqlite {

namespace {

Code code_of(int result) {
  switch (result & 0xff) {
    case SQLITE_FULL:
      return Code::kNoSpace;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Code::kConflict;
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_READONLY:
      return Code::kDenied;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
      return Code::kIo;
    case SQLITE_INTERRUPT:
      return Code::kInterrupted;
    default:
      return Code::kDatabase;
  }
}

std::string hint_of(int result) {
  switch (result & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return "another program holds the database; try again when it has finished";
    case SQLITE_FULL:
      return "free some space on that file system and try again";
    case SQLITE_CORRUPT:
      return "PRAGMA integrity_check tells which part of the database is damaged";
    default:
      return {};
  }
}

constexpr int kInstructionsBetweenStopChecks = 100'000;
constexpr std::chrono::milliseconds kBusyPause{20};

}  // namespace

void Statement::Finalize::operator()(sqlite3_stmt* s) const {
  sqlite3_finalize(s);
}

Result<bool> Statement::step() {
  const int result = sqlite3_step(statement_.get());
  if (result == SQLITE_ROW) return true;
  if (result == SQLITE_DONE) return false;
  return fail(connection_->error());
}

Result<> Statement::reset() {
  if (sqlite3_reset(statement_.get()) != SQLITE_OK) return fail(connection_->error());
  return {};
}

void Statement::bind(int index, std::string_view text) {
  sqlite3_bind_text64(statement_.get(), index, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
}

void Statement::bind(int index, int64_t value) {
  sqlite3_bind_int64(statement_.get(), index, value);
}

Result<> Statement::bind_column(int index, Statement& from, int column) {
  sqlite3_value* value = sqlite3_column_value(from.statement_.get(), column);
  if (sqlite3_bind_value(statement_.get(), index, value) != SQLITE_OK) return fail(connection_->error());
  return {};
}

std::string Statement::text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  if (text == nullptr) return {};
  return {text, static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

Result<Connection> Connection::open(const std::string& path, int flags, std::string label, const char* vfs) {
  Connection c;
  c.label_ = std::move(label);
  c.waiting_ = std::make_unique<Waiting>();
  if (sqlite3_open_v2(path.c_str(), &c.db_, flags, vfs) != SQLITE_OK) return fail(c.error());
  sqlite3_extended_result_codes(c.db_, 1);
  return c;
}

Connection::Connection(Connection&& other) noexcept
    : db_(std::exchange(other.db_, nullptr)),
      label_(std::move(other.label_)),
      reason_(std::move(other.reason_)),
      waiting_(std::move(other.waiting_)) {}

Connection& Connection::operator=(Connection&& other) noexcept {
  if (this == &other) return *this;
  sqlite3_close_v2(db_);
  db_ = std::exchange(other.db_, nullptr);
  label_ = std::move(other.label_);
  reason_ = std::move(other.reason_);
  waiting_ = std::move(other.waiting_);
  return *this;
}

Connection::~Connection() {
  sqlite3_close_v2(db_);
}

Result<> Connection::exec(const std::string& sql) {
  if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) return fail(error());
  return {};
}

Result<Statement> Connection::prepare(const std::string& sql) const {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v2(db_, sql.c_str(), static_cast<int>(sql.size()), &raw, nullptr) != SQLITE_OK) {
    return fail(error());
  }
  Statement s;
  s.statement_.reset(raw);
  s.connection_ = this;
  return s;
}

Result<std::optional<std::string>> Connection::value(const std::string& sql,
                                                     std::string_view parameter) const {
  TRY_ASSIGN(auto all, column(sql, parameter));
  if (all.empty()) return std::nullopt;
  return std::move(all.front());
}

Result<std::vector<std::string>> Connection::column(const std::string& sql,
                                                    std::string_view parameter) const {
  TRY_ASSIGN(Statement s, prepare(sql));
  if (!parameter.empty()) s.bind(1, parameter);
  std::vector<std::string> out;
  for (;;) {
    TRY_ASSIGN(const bool row, s.step());
    if (!row) return out;
    out.push_back(s.text(0));
  }
}

void Connection::set_stop(std::function<bool()> stop) {
  waiting_->stop = std::move(stop);
  const auto ask = [](void* w) { return static_cast<Waiting*>(w)->stop() ? 1 : 0; };
  sqlite3_progress_handler(db_, kInstructionsBetweenStopChecks, ask, waiting_.get());
}

void Connection::set_patience(std::chrono::milliseconds most) {
  waiting_->patience = most;
  const auto wait = [](void* w, int tries) {
    auto& waiting = *static_cast<Waiting*>(w);
    const auto time = std::chrono::steady_clock::now();
    if (tries == 0) waiting.since = time;
    if (time - waiting.since >= waiting.patience || (waiting.stop && waiting.stop())) return 0;
    std::this_thread::sleep_for(kBusyPause);
    return 1;
  };
  sqlite3_busy_handler(db_, wait, waiting_.get());
}

Result<> Connection::close() {
  if (sqlite3_close(db_) != SQLITE_OK) return fail(error());
  db_ = nullptr;
  return {};
}

Error Connection::error() const {
  if (reason_) {
    if (auto reason = reason_()) return *std::move(reason);
  }
  const int result = db_ == nullptr ? SQLITE_NOMEM : sqlite3_extended_errcode(db_);
  const char* text = db_ == nullptr ? "out of memory" : sqlite3_errmsg(db_);
  return Error{code_of(result), fmt::format("{}: {}", label_, text), hint_of(result)};
}

std::string quote_name(std::string_view name) {
  std::string out = "\"";
  for (const char c : name) {
    out += c;
    if (c == '"') out += c;
  }
  return out + '"';
}

}  // namespace varve::engine::sqlite
