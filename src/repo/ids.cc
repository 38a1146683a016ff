#include "repo/ids.h"

#include <algorithm>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include "crypto/crypto.h"

namespace varve::repo {
namespace {

bool is_hex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}
bool is_alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

std::string utc(fmt::format_string<std::chrono::sys_seconds> format, Timestamp t) {
  return fmt::format(format, std::chrono::floor<std::chrono::seconds>(t));
}

Result<uint64_t> number_from_hex(std::string_view text) {
  if (text.size() != 16 || !std::all_of(text.begin(), text.end(), is_hex))
    return fail(Code::kUsage, "not a log piece's number");
  uint64_t out = 0;
  for (char c : text) out = out << 4 | static_cast<uint64_t>(c <= '9' ? c - '0' : c - 'a' + 10);
  return out;
}

}  // namespace

PackId pack_id(const WriterId& writer, uint32_t number) {
  PackId id;
  std::copy(writer.bytes.begin(), writer.bytes.end(), id.bytes.begin());
  store_be(id.bytes.data() + writer.bytes.size(), number);
  return id;
}

WriterId writer_of(const PackId& pack) {
  WriterId id;
  std::copy_n(pack.bytes.begin(), id.bytes.size(), id.bytes.begin());
  return id;
}

Result<> check_name(std::string_view name) {
  const auto allowed = [](char c) {
    return is_alphanumeric(c) || std::string_view("._=@+-").find(c) != std::string_view::npos;
  };
  if (name.empty()) return fail(Code::kUsage, "the name is empty");
  if (name.size() > 120) return fail(Code::kUsage, "the name is longer than 120 characters");
  if (!is_alphanumeric(name.front()) || !std::all_of(name.begin(), name.end(), allowed))
    return fail(Code::kUsage, "the name has characters that cannot stand in an object's name",
                "use letters, digits and . _ = @ + -, beginning with a letter or digit");
  return {};
}

std::string id_time(Timestamp t) {
  return utc("{:%Y%m%d-%H%M%S}", t);
}

std::string_view id_second(std::string_view id) {
  constexpr size_t kLength = std::string_view("20261123-143205").size();
  return id.substr(0, kLength);
}

std::string new_backup_id(Timestamp started, std::string_view type) {
  return fmt::format("{}-{}-{}", id_time(started), type, to_hex(crypto::random_array<2>()));
}

store::Key key_key(std::string_view key_id) {
  return fmt::format("keys/{}", key_id);
}

// Two bytes make the folder: the first differs between writers, the last between the packs of one.
store::Key pack_key(const PackId& id) {
  return fmt::format("packs/{:02x}/{}", std::to_integer<unsigned>(id.bytes.front() ^ id.bytes.back()),
                     id.hex());
}

Result<PackId> pack_from_key(std::string_view key) {
  auto id = PackId::from_hex_text(last_segment(key));
  if (!id || pack_key(*id) != key)
    return fail(Code::kDamaged, fmt::format("{}: is not the name of a pack", key));
  return id;
}

store::Key manifest_key(std::string_view source, std::string_view backup) {
  return manifest_prefix(source).append(backup);
}
std::string manifest_prefix(std::string_view source) {
  return fmt::format("sources/{}/backups/", source);
}
store::Key hold_key(std::string_view source, std::string_view backup) {
  return fmt::format("sources/{}/holds/{}", source, backup);
}
std::string log_prefix(std::string_view source) {
  return fmt::format("sources/{}/log/", source);
}
std::string log_prefix(std::string_view source, std::string_view epoch) {
  return fmt::format("sources/{}/log/{}/", source, epoch);
}
store::Key log_piece_key(std::string_view source, std::string_view epoch, uint64_t first, uint64_t last) {
  return fmt::format("{}{:016x}-{:016x}", log_prefix(source, epoch), first, last);
}
store::Key log_mark_key(std::string_view source, std::string_view epoch, Timestamp covered_until) {
  const auto micros = (covered_until - std::chrono::floor<std::chrono::seconds>(covered_until)).count();
  return fmt::format("{}mark-{}.{:06d}Z", log_prefix(source, epoch), utc("{:%Y%m%dT%H%M%S}", covered_until),
                     micros);
}

Result<LogName> parse_log_name(std::string_view name) {
  if (name.size() != 33 || name[16] != '-') return fail(Code::kUsage, "not a log piece's name");
  LogName out;
  TRY_ASSIGN(out.first, number_from_hex(name.substr(0, 16)));
  TRY_ASSIGN(out.last, number_from_hex(name.substr(17)));
  if (out.first > out.last) return fail(Code::kUsage, "not a log piece's name");
  return out;
}

store::Key pin_key(const WriterId& id) {
  return fmt::format("{}{}", kPinPrefix, id.hex());
}
std::string lease_prefix(std::string_view source) {
  return fmt::format("leases/{}/", source);
}
store::Key collection_key(std::string_view id, std::string_view part) {
  return fmt::format("{}{}/{}", kCollectionPrefix, id, part);
}
store::Key event_key(Timestamp time, std::string_view id) {
  return fmt::format("events/{}/{}", utc("{:%Y-%m-%d}", time), id);
}

std::string_view last_segment(std::string_view key) {
  const size_t slash = key.rfind('/');
  return slash == std::string_view::npos ? key : key.substr(slash + 1);
}

}  // namespace varve::repo
