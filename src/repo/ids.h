// Names of things in a repository, and where their objects are. The one place that knows the layout
// (docs/format/).
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "base/bytes.h"
#include "base/time.h"
#include "store/store.h"

namespace varve::repo {

template <typename Tag, size_t N>
struct FixedId {
  std::array<std::byte, N> bytes{};
  auto operator<=>(const FixedId&) const = default;
  std::string hex() const { return to_hex(bytes); }
  ByteView view() const { return bytes; }
  static Result<FixedId> from_bytes(ByteView b) {
    if (b.size() != N) return fail(Code::kDamaged, "an identifier has the wrong length");
    FixedId id;
    std::copy(b.begin(), b.end(), id.bytes.begin());
    return id;
  }
  static Result<FixedId> from_hex_text(std::string_view text) {
    TRY_ASSIGN(Buffer b, from_hex(text));
    return from_bytes(b);
  }
};
using RepoId = FixedId<struct RepoTag, 16>;
// 12 random bytes of the writer, then a counter (big-endian): unrelated writers never meet, and the packs of
// a writer whose pin still stands can be told from orphans.
using PackId = FixedId<struct PackTag, 16>;
using WriterId = FixedId<struct WriterTag, 12>;
PackId pack_id(const WriterId& writer, uint32_t number);
WriterId writer_of(const PackId& pack);

struct PackIdHash {
  size_t operator()(const PackId& id) const noexcept {
    size_t h, t;
    std::memcpy(&h, id.bytes.data(), sizeof h);
    std::memcpy(&t, id.bytes.data() + 8, sizeof t);
    return h ^ (t * 0x9e3779b97f4a7c15ull);
  }
};

using PackSet = std::unordered_set<PackId, PackIdHash>;

// Source and epoch names as they may stand in an object's name: [A-Za-z0-9][A-Za-z0-9._=@+-]*, at most 120
// characters.
Result<> check_name(std::string_view name);

// "20261123-143205-full-3f9a": sorts by time, says the type.
std::string new_backup_id(Timestamp started, std::string_view type);
// With what such an id begins: "20261123-143205".
std::string id_time(Timestamp t);
// That beginning of an id; all of one that is no such.
std::string_view id_second(std::string_view id);

inline constexpr std::string_view kConfigKey = "varve.json";
store::Key key_key(std::string_view key_id);
store::Key pack_key(const PackId& id);
Result<PackId> pack_from_key(std::string_view key);
store::Key manifest_key(std::string_view source, std::string_view backup);
std::string manifest_prefix(std::string_view source);  // of every manifest of a source
store::Key hold_key(std::string_view source, std::string_view backup);
std::string log_prefix(std::string_view source);  // of every epoch
std::string log_prefix(std::string_view source, std::string_view epoch);
store::Key log_piece_key(std::string_view source, std::string_view epoch, uint64_t first, uint64_t last);
store::Key log_mark_key(std::string_view source, std::string_view epoch, Timestamp covered_until);
struct LogName {
  uint64_t first = 0, last = 0;
};
Result<LogName> parse_log_name(std::string_view last_segment);  // kUsage when it is no piece's name
inline constexpr std::string_view kPinPrefix = "pins/";
store::Key pin_key(const WriterId& id);
std::string lease_prefix(std::string_view source);
// gc/<id>/<part>: "plan", "done" or "closed".
inline constexpr std::string_view kCollectionPrefix = "gc/";
store::Key collection_key(std::string_view id, std::string_view part);
store::Key event_key(Timestamp time, std::string_view id);
std::string_view last_segment(std::string_view key);

}  // namespace varve::repo
