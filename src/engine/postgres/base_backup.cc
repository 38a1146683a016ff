#include "engine/postgres/base_backup.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"
#include "engine/postgres/base_backup_message.h"

namespace varve::engine::postgres {
namespace {

constexpr uint64_t kSlowest = 32, kFastest = 1048576;  // kB a second: what MAX_RATE takes

tl::unexpected<Error> unexpected(std::string_view what) {
  return fail(Code::kDatabase,
              fmt::format("the server's base backup is not as the replication protocol has it: {}", what),
              "does connection lead to PostgreSQL itself, and not to a pooler?");
}

// What the server refuses, with its mend.
tl::unexpected<Error> refused(Error error, const Connection& session) {
  const std::string& state = session.sqlstate();
  const auto says = [&](std::string_view what) { return error.message.find(what) != std::string::npos; };
  if (state == "42501") {
    error.hint = fmt::format("as a superuser: ALTER ROLE \"{}\" REPLICATION", session.user());
  } else if (state == "55000" && says("WAL level")) {
    error.hint = "set wal_level = replica and restart the server";
  } else if (state == "55000" && says("promoted")) {
    error.hint = "take another backup, now of the new primary";
  } else if (state == "55000" && says("full_page_writes")) {
    error.hint =
        "set full_page_writes = on at the primary, and take the backup again after its next checkpoint";
  } else if (state.starts_with("57P0")) {
    error.hint = "somebody ended the session or the server: run again; nothing of this backup counts";
  } else if (state.empty()) {
    error.hint =
        "look in the server's log for why the connection broke, and run again; nothing of this "
        "backup counts";
  }
  return fail(std::move(error).with_context("while the server sent its base backup"));
}

std::string literal(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') out += c;
    out += c;
  }
  return out + "'";
}

struct Place {
  Lsn lsn = 0;
  Timeline timeline = 0;
};
Result<Place> place_of(const Rows& rows) {
  if (rows.size() != 1 || rows.columns() < 2) return unexpected("a position is missing");
  Place out;
  TRY_ASSIGN(out.lsn, parse_lsn(rows.text(0, 0)));
  TRY_ASSIGN(const uint64_t timeline, rows.number(0, 1));
  if (out.lsn == 0 || timeline == 0 || timeline > UINT32_MAX) return unexpected("a position is impossible");
  out.timeline = static_cast<Timeline>(timeline);
  return out;
}

}  // namespace

std::string base_backup_command(int major_version, const BaseBackupOptions& options) {
  const std::string label = literal(options.label);
  const uint64_t rate = std::clamp(options.read_rate / 1024, kSlowest, kFastest);
  if (major_version < 15) {
    std::string out = fmt::format("BASE_BACKUP LABEL {} PROGRESS", label);
    if (options.fast_checkpoint) out += " FAST";
    out += " NOWAIT";
    if (options.read_rate > 0) out += fmt::format(" MAX_RATE {}", rate);
    return out + " TABLESPACE_MAP NOVERIFY_CHECKSUMS";
  }
  std::string out = fmt::format("BASE_BACKUP (LABEL {}, PROGRESS true, CHECKPOINT '{}', WAIT false", label,
                                options.fast_checkpoint ? "fast" : "spread");
  if (options.read_rate > 0) out += fmt::format(", MAX_RATE {}", rate);
  return out + ", TABLESPACE_MAP true, VERIFY_CHECKSUMS false)";
}

Result<std::unique_ptr<BaseBackup>> BaseBackup::start(const Context& ctx, std::unique_ptr<Connection> session,
                                                      const BaseBackupOptions& options) {
  std::unique_ptr<BaseBackup> out(new BaseBackup(ctx, std::move(session)));
  Connection& s = *out->session_;
  auto begun = s.begin_answer(ctx, base_backup_command(s.major(), options));
  if (begun) begun = out->read_head();
  TRY_OK(ctx.check());
  if (!begun) return refused(std::move(begun).error(), s);
  return out;
}

Result<> BaseBackup::read_head() {
  std::optional<Rows> rows;
  using Part = Connection::Part;
  TRY_ASSIGN(Part part, session_->next_part(ctx_, rows));
  if (part != Part::kRows) return unexpected("it has no start");
  TRY_ASSIGN(const Place place, place_of(*rows));
  head_.start = place.lsn;
  head_.timeline = place.timeline;
  TRY_ASSIGN(part, session_->next_part(ctx_, rows));
  if (part != Part::kRows || rows->columns() < 3) return unexpected("it has no list of tablespaces");
  bool has_base = false;
  for (size_t i = 0; i < rows->size(); ++i) {
    if (!rows->is_null(i, 2)) {
      TRY_ASSIGN(const uint64_t kilobytes, rows->number(i, 2));
      head_.bytes += kilobytes * 1024;
    }
    if (rows->is_null(i, 0)) {
      has_base = true;
      archives_.emplace_back();
      continue;
    }
    TRY_ASSIGN(const uint64_t oid, rows->number(i, 0));
    if (oid == 0 || oid > UINT32_MAX || has_base) return unexpected("a tablespace is impossible");
    Tablespace t{static_cast<uint32_t>(oid), std::string(rows->text(i, 1)), false};
    if (!t.location.starts_with('/')) {
      t.in_place = true;
      t.location.clear();
    }
    archives_.push_back(std::to_string(oid));
    head_.tablespaces.push_back(std::move(t));
  }
  if (!has_base) return unexpected("the data directory is not among its tablespaces");
  std::ranges::sort(head_.tablespaces, {}, &Tablespace::oid);
  return {};
}

Result<std::optional<TarEntry>> BaseBackup::next() {
  for (;;) {
    if (!archive_) {
      TRY_ASSIGN(const bool begun, next_archive());
      if (!begun) return std::nullopt;
    }
    auto next = archive_->next();
    if (!next) return cut(std::move(next).error());
    auto entry = std::move(*next);
    if (!entry) {
      archive_.reset();
      continue;
    }
    const std::string& oid = archives_[begun_ - 1];
    if (!oid.empty()) entry->path = fmt::format("pg_tblspc/{}/{}", oid, entry->path);
    return entry;
  }
}

Result<> BaseBackup::read(MutableBytes out) {
  if (!archive_) return fail(Code::kInternal, "a read of no file");
  auto done = archive_->read(out);
  if (!done) return cut(std::move(done).error());
  return {};
}

// Where the copy ended too early, the server says why in what comes next.
tl::unexpected<Error> BaseBackup::cut(Error error) {
  if (in_copy_ || error.code != Code::kDamaged) return fail(std::move(error));
  std::optional<Rows> rows;
  auto part = session_->next_part(ctx_, rows);
  return part ? fail(std::move(error)) : refused(std::move(part).error(), *session_);
}

Result<bool> BaseBackup::next_archive() {
  const bool all = begun_ == archives_.size();
  if (!typed_) {
    if (all) return false;
    std::optional<Rows> rows;
    auto part = session_->next_part(ctx_, rows);
    if (!part) return refused(std::move(part).error(), *session_);
    if (*part != Connection::Part::kCopy) return unexpected("an archive is missing");
    in_copy_ = true;
  } else {
    if (begun_ == 0) {
      std::optional<Rows> rows;
      auto part = session_->next_part(ctx_, rows);
      if (!part) return refused(std::move(part).error(), *session_);
      if (*part != Connection::Part::kCopy) return unexpected("it has no archives");
      in_copy_ = true;
      TRY_ASSIGN(const bool data, more(message_));
      if (data) return unexpected("it has data before the first archive");
    }
    if (!next_begun_) {
      if (all && copies_over_) return false;
      // Its reason stands in what comes instead of the next part.
      std::optional<Rows> rows;
      auto part = session_->next_part(ctx_, rows);
      if (!part) return refused(std::move(part).error(), *session_);
      return unexpected("an archive is missing");
    }
    const std::string expected = all                         ? ""
                                 : archives_[begun_].empty() ? "base.tar"
                                                             : archives_[begun_] + ".tar";
    if (*next_begun_ != expected)
      return unexpected(fmt::format("an archive \"{}\" was not expected", printable(*next_begun_)));
    next_begun_.reset();
  }
  ++begun_;
  archive_.emplace([this](Buffer& bytes) { return more(bytes); }, typed_);
  return true;
}

// Of the archive under way.
Result<bool> BaseBackup::more(Buffer& bytes) {
  if (!in_copy_ || next_begun_) return false;
  for (;;) {
    TRY_ASSIGN(const auto received, receive(bytes));
    if (received == Connection::Received::kEnd) {
      in_copy_ = false;
      copies_over_ = true;
      return false;
    }
    if (!typed_) return true;
    TRY_ASSIGN(const BackupMessage message, parse_backup_message(bytes));
    if (const auto* begin = std::get_if<ArchiveBegin>(&message)) {
      next_begun_ = begin->name;
      return false;
    }
    if (std::holds_alternative<ArchiveData>(message)) {
      bytes.erase(bytes.begin());
      return true;
    }
  }
}

Result<Connection::Received> BaseBackup::receive(Buffer& message) {
  for (;;) {
    TRY_OK(ctx_.check());
    auto received = session_->receive(ctx_, message);
    if (received && *received != Connection::Received::kNothing) return received;
    TRY_OK(ctx_.check());
    if (!received) return refused(std::move(received).error(), *session_);
  }
}

Result<BaseBackupEnd> BaseBackup::finish() {
  if (begun_ != archives_.size() || archive_ || in_copy_)
    return fail(Code::kInternal, "a base backup is finished that has not all come");
  std::optional<Rows> rows;
  auto part = session_->next_part(ctx_, rows);
  TRY_OK(ctx_.check());
  if (!part) return refused(std::move(part).error(), *session_);
  if (*part != Connection::Part::kRows) return unexpected("it has no end");
  TRY_ASSIGN(const Place place, place_of(*rows));
  part = session_->next_part(ctx_, rows);
  if (!part) return refused(std::move(part).error(), *session_);
  if (*part != Connection::Part::kEnd) return unexpected("it goes on after its end");
  if (place.lsn <= head_.start) return unexpected("it ends before its start");
  return BaseBackupEnd{place.lsn, place.timeline};
}

}  // namespace varve::engine::postgres
