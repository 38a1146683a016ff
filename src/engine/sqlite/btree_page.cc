#include "engine/sqlite/btree_page.h"

#include <algorithm>
#include <array>

namespace varve::engine::sqlite {

namespace {

constexpr uint8_t kIndexInterior = 2, kTableInterior = 5, kIndexLeaf = 10, kTableLeaf = 13;
constexpr uint64_t kMaxPayload = 0x7fffffff;

uint8_t byte_at(ByteView b, size_t i) {
  return std::to_integer<uint8_t>(b[i]);
}

void append_utf8(std::string& out, uint32_t c) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | c >> 6);
    put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3f));
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  }
}

}  // namespace

std::optional<uint64_t> take_varint(ByteView& bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < 9; ++i) {
    if (i >= bytes.size()) return std::nullopt;
    const uint8_t b = byte_at(bytes, i);
    if (i == 8) {
      value = value << 8 | b;
    } else {
      value = value << 7 | (b & 0x7f);
      if (b & 0x80) continue;
    }
    bytes = bytes.subspan(i + 1);
    return value;
  }
  return std::nullopt;
}

std::optional<BtreePage> BtreePage::parse(ByteView page, uint32_t number, uint32_t usable) {
  const size_t at = number == 1 ? kHeaderSize : 0;
  if (usable > page.size() || at + 12 > usable) return std::nullopt;
  BtreePage p;
  p.page_ = page.first(usable);
  p.usable_ = usable;
  switch (byte_at(page, at)) {
    case kIndexInterior:
      break;
    case kTableInterior:
      p.is_table_ = true;
      break;
    case kIndexLeaf:
      p.is_leaf_ = true;
      break;
    case kTableLeaf:
      p.is_table_ = p.is_leaf_ = true;
      break;
    default:
      return std::nullopt;
  }
  p.cells_ = load_be<uint16_t>(&page[at + 3]);
  p.pointers_ = static_cast<uint32_t>(at + (p.is_leaf_ ? 8 : 12));
  if (p.pointers_ + 2 * p.cells_ > usable) return std::nullopt;
  if (!p.is_leaf_) p.right_child_ = load_be<uint32_t>(&page[at + 8]);
  return p;
}

std::optional<Cell> BtreePage::cell(uint32_t index) const {
  if (index >= cells_) return std::nullopt;
  const size_t at = load_be<uint16_t>(&page_[pointers_ + 2 * index]);
  if (at < pointers_ + 2 * cells_ || at >= usable_) return std::nullopt;
  ByteView rest = page_.subspan(at);
  Cell cell;
  if (!is_leaf_) {
    if (rest.size() < 4) return std::nullopt;
    cell.child = load_be<uint32_t>(rest.data());
    rest = rest.subspan(4);
  }
  if (is_table_ && !is_leaf_) {
    const auto key = take_varint(rest);
    if (!key) return std::nullopt;
    cell.rowid = static_cast<int64_t>(*key);
    return cell;
  }
  const auto size = take_varint(rest);
  if (!size || *size > kMaxPayload) return std::nullopt;
  cell.payload_size = *size;
  if (is_table_) {
    const auto rowid = take_varint(rest);
    if (!rowid) return std::nullopt;
    cell.rowid = static_cast<int64_t>(*rowid);
  }
  if (!parse_payload(rest, cell)) return std::nullopt;
  return cell;
}

bool BtreePage::parse_payload(ByteView at, Cell& cell) const {
  const uint64_t u = usable_;
  const uint64_t max_local = is_table_ ? u - 35 : (u - 12) * 64 / 255 - 23;
  const uint64_t min_local = (u - 12) * 32 / 255 - 23;
  uint64_t local = cell.payload_size;
  if (cell.payload_size > max_local) {
    local = min_local + (cell.payload_size - min_local) % (u - 4);
    if (local > max_local) local = min_local;
    if (local + 4 > at.size()) return false;
    cell.overflow = load_be<uint32_t>(&at[local]);
    if (cell.overflow == 0) return false;
  }
  if (local > at.size()) return false;
  cell.local = at.first(local);
  return true;
}

bool BtreePage::children(const std::function<void(uint32_t)>& visit) const {
  if (is_leaf_) return true;
  for (uint32_t i = 0; i < cells_; ++i) {
    const size_t at = load_be<uint16_t>(&page_[pointers_ + 2 * i]);
    if (at + 4 > usable_) return false;
    visit(load_be<uint32_t>(&page_[at]));
  }
  visit(right_child_);
  return true;
}

std::optional<int64_t> Field::integer() const {
  if (type == 8 || type == 9) return static_cast<int64_t>(type - 8);
  if (type < 1 || type > 6) return std::nullopt;
  int64_t value = static_cast<int8_t>(byte_at(bytes, 0));
  for (size_t i = 1; i < bytes.size(); ++i) value = value * 256 + byte_at(bytes, i);
  return value;
}

RecordReader::RecordReader(ByteView payload) : payload_(payload) {
  ByteView rest = payload;
  const auto header_size = take_varint(rest);
  const size_t taken = payload.size() - rest.size();
  if (!header_size || *header_size < taken || *header_size > payload.size()) return;
  header_ = rest.first(*header_size - taken);
  body_at_ = *header_size;
}

std::optional<Field> RecordReader::next() {
  static constexpr std::array<uint8_t, 10> kSizes{0, 1, 2, 3, 4, 6, 8, 8, 0, 0};
  const auto type = take_varint(header_);
  if (!type || *type == 10 || *type == 11) return std::nullopt;
  const uint64_t size = *type < 10 ? kSizes[*type] : (*type - 12) / 2;
  if (size > payload_.size() - body_at_) {
    header_ = {};
    return std::nullopt;
  }
  Field field{*type, payload_.subspan(body_at_, size)};
  body_at_ += size;
  return field;
}

std::string decode_text(ByteView bytes, uint32_t encoding) {
  if (encoding != 2 && encoding != 3) return std::string(as_text(bytes));
  const auto unit = [&](size_t i) -> uint32_t {
    return encoding == 2 ? load_le<uint16_t>(&bytes[i]) : load_be<uint16_t>(&bytes[i]);
  };
  std::string out;
  for (size_t i = 0; i + 2 <= bytes.size(); i += 2) {
    uint32_t c = unit(i);
    if (c >= 0xd800 && c < 0xdc00 && i + 4 <= bytes.size() && unit(i + 2) >= 0xdc00 && unit(i + 2) < 0xe000) {
      c = 0x10000 + ((c - 0xd800) << 10) + (unit(i + 2) - 0xdc00);
      i += 2;
    } else if (c >= 0xd800 && c < 0xe000) {
      c = 0xfffd;
    }
    append_utf8(out, c);
  }
  return out;
}

Result<Buffer> read_payload(const PageSource& source, const Cell& cell, uint32_t usable, uint64_t max) {
  if (cell.payload_size > max) return fail(Code::kDamaged, "a record is larger than it may be");
  Buffer out = to_buffer(cell.local);
  uint32_t next = cell.overflow;
  // Each turn adds usable - 4 bytes, so a loop in the chain ends when the payload is full.
  while (out.size() < cell.payload_size) {
    if (next == 0) return fail(Code::kDamaged, "a chain of overflow pages ends early");
    TRY_ASSIGN(ByteView page, source(next));
    if (page.size() < usable) return fail(Code::kDamaged, "an overflow page is too short");
    next = load_be<uint32_t>(page.data());
    const size_t take = std::min<size_t>(usable - 4, cell.payload_size - out.size());
    append(out, page.subspan(4, take));
  }
  return out;
}

}  // namespace varve::engine::sqlite
