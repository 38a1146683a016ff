#include "engine/sqlite/btree.h"

#include <bit>

namespace varve::engine::sqlite {

namespace {

constexpr std::string_view kMagic{"SQLite format 3\0", 16};
constexpr uint64_t kLockByte = 1u << 30;

uint8_t byte_at(ByteView b, size_t i) {
  return std::to_integer<uint8_t>(b[i]);
}

tl::unexpected<Error> not_a_database() {
  return fail(Code::kDatabase, "not a SQLite database",
              "a SQLite database begins with the text \"SQLite format 3\"; an encrypted one does not");
}

}  // namespace

Result<DatabaseHeader> parse_header(ByteView b) {
  if (b.size() < kHeaderSize || as_text(b.first(kMagic.size())) != kMagic) return not_a_database();
  DatabaseHeader h;
  const uint16_t stored_size = load_be<uint16_t>(&b[16]);
  h.page_size = stored_size == 1 ? 65536 : stored_size;
  h.write_version = byte_at(b, 18);
  h.read_version = byte_at(b, 19);
  h.reserved = byte_at(b, 20);
  const bool size_is_valid = h.page_size >= 512 && std::has_single_bit(h.page_size);
  // SQLite itself refuses pages with fewer than 480 usable bytes and payload fractions other than 64, 32, 32.
  if (!size_is_valid || h.page_size - h.reserved < 480) return not_a_database();
  if (byte_at(b, 21) != 64 || byte_at(b, 22) != 32 || byte_at(b, 23) != 32) return not_a_database();
  h.change_counter = load_be<uint32_t>(&b[24]);
  h.pages = load_be<uint32_t>(&b[28]);
  h.schema_cookie = load_be<uint32_t>(&b[40]);
  h.largest_root = load_be<uint32_t>(&b[52]);
  h.text_encoding = load_be<uint32_t>(&b[56]);
  return h;
}

uint64_t lock_page(uint32_t page_size) {
  return kLockByte / page_size + 1;
}

}  // namespace varve::engine::sqlite
