#include "engine/postgres/slot.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"
#include "crypto/crypto.h"

namespace varve::engine::postgres {
namespace {

constexpr size_t kLongestName = 63;  // NAMEDATALEN - 1
constexpr size_t kLongestOurs = 40;

bool fits(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

std::string role(const Connection& session) {
  return "\"" + session.user() + "\"";
}

}  // namespace

std::string slot_name_for(std::string_view source) {
  std::string name;
  for (char c : source.substr(0, kLongestOurs)) {
    const char low = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    name += fits(low) ? low : '_';
  }
  if (name != source) {
    crypto::Hasher hasher;
    hasher.update(as_bytes(source));
    const auto digest = hasher.finish();
    name += "_" + to_hex(ByteView(digest).first(4));
  }
  return "varve_" + name;
}

Result<> check_slot_name(std::string_view name) {
  if (!name.empty() && name.size() <= kLongestName && std::all_of(name.begin(), name.end(), fits)) return {};
  return fail(Code::kUsage, fmt::format("\"{}\" is no name for a replication slot", printable(name)),
              "1 to 63 lower-case letters, digits and underscores");
}

Result<std::optional<SlotState>> slot_state(const Context& ctx, Connection& session,
                                            const std::string& name) {
  TRY_ASSIGN(
      const Rows rows,
      session.query(ctx,
                    "SELECT slot_type, active, coalesce(wal_status, ''), restart_lsn,"
                    " greatest(pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery()"
                    " THEN pg_catalog.pg_last_wal_receive_lsn() ELSE pg_catalog.pg_current_wal_lsn() END,"
                    " restart_lsn), 0)::bigint, greatest(safe_wal_size, 0)"
                    " FROM pg_catalog.pg_replication_slots WHERE slot_name = $1",
                    {name}));
  if (rows.size() == 0) return std::nullopt;
  SlotState out;
  out.physical = rows.text(0, 0) == "physical";
  out.active = rows.boolean(0, 1);
  out.lost = rows.text(0, 2) == "lost";
  if (!rows.is_null(0, 3)) {
    TRY_ASSIGN(out.restart, parse_lsn(rows.text(0, 3)));
  }
  if (!rows.is_null(0, 4)) {
    TRY_ASSIGN(out.held, rows.number(0, 4));
  }
  if (!rows.is_null(0, 5)) {
    TRY_ASSIGN(out.room, rows.number(0, 5));
  }
  return out;
}

Result<> create_slot(const Context& ctx, Connection& session, const std::string& name) {
  const auto made =
      session.query(ctx, "SELECT pg_catalog.pg_create_physical_replication_slot($1, true)", {name});
  if (made) return {};
  Error error = made.error();
  const std::string& state = session.sqlstate();
  if (state == "53400")
    error.hint = "raise max_replication_slots and restart, or drop a slot that nobody uses";
  if (state == "42501") error.hint = fmt::format("as a superuser: ALTER ROLE {} REPLICATION", role(session));
  if (state == "55000")
    error.hint = "set wal_level = replica and max_replication_slots, then restart the server";
  return fail(std::move(error).with_context(fmt::format("while making the replication slot {}", name)));
}

Result<> drop_slot(const Context& ctx, Connection& session, const std::string& name) {
  return session.query(ctx, "SELECT pg_catalog.pg_drop_replication_slot($1)", {name}).map([](const Rows&) {});
}

Result<StreamSource> stream_source(const Context& ctx, Connection& session) {
  TRY_ASSIGN(const Rows rows,
             session.query(ctx,
                           "SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()),"
                           " pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('block_size'),"
                           " (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_segment_size'),"
                           " (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory'),"
                           " pg_catalog.current_setting('wal_level'),"
                           " pg_catalog.current_setting('max_wal_senders'),"
                           " (SELECT rolsuper OR rolreplication FROM pg_catalog.pg_roles WHERE rolname ="
                           " current_user)"));
  StreamSource out;
  TRY_ASSIGN(out.system_id, rows.number(0, 0));
  out.in_recovery = rows.boolean(0, 1);
  TRY_ASSIGN(const uint64_t block, rows.number(0, 2));
  TRY_ASSIGN(const uint64_t segment, rows.number(0, 3));
  if (!valid_segment_size(segment) || block > UINT32_MAX)
    return fail(Code::kUnsupported, fmt::format("WAL segments of {} bytes are not known", segment));
  out.block_size = static_cast<uint32_t>(block);
  out.segment_size = static_cast<uint32_t>(segment);
  out.data_directory = std::string(rows.text(0, 4));
  if (rows.text(0, 5) == "minimal")
    return fail(Code::kDatabase, "wal_level is minimal: the log cannot be followed",
                "ALTER SYSTEM SET wal_level = 'replica' and max_wal_senders = 10, then restart the server");
  if (rows.text(0, 6) == "0")
    return fail(Code::kDatabase, "max_wal_senders is 0: the log cannot be followed",
                "ALTER SYSTEM SET max_wal_senders = 10, then restart the server");
  if (!rows.boolean(0, 7))
    return fail(
        Code::kDatabase, fmt::format("the role {} may not stream the log", role(session)),
        fmt::format("as a superuser: ALTER ROLE {} REPLICATION; and in pg_hba.conf a line such as: host "
                    "replication {} ADDRESS/32 scram-sha-256",
                    role(session), session.user()));
  return out;
}

}  // namespace varve::engine::postgres
