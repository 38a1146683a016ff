// global/pg_control as a crash, a disk or another program may have left it; and with the CRC put right, so
// that what lies behind it is reached.
#include "codec/crc32c.h"
#include "engine/postgres/backup_session.h"
#include "engine/postgres/control_file.h"
#include "fuzz.h"

using namespace varve;
using namespace varve::engine::postgres;

namespace {

void look(ByteView bytes) {
  const auto c = parse_control_file(bytes);
  if (!c) return;
  FUZZ_CHECK(c->page_size >= 1024 && c->page_size <= 32768);
  FUZZ_CHECK(uint64_t{c->page_size} * c->segment_pages <= uint64_t{1} << 40);
  FUZZ_CHECK(c->timeline != 0 && c->system_id != 0);
  FUZZ_CHECK(state_name(c->state) != "unknown");
}

}  // namespace

FUZZ_TARGET(input) {
  look(input);
  if (input.size() < 296) {
    (void)parse_backup_label(as_text(input));
    return;
  }
  for (const size_t at : {size_t{288}, size_t{292}}) {
    Buffer sealed = to_buffer(input);
    store_le<uint32_t>(sealed.data() + at, codec::crc32c(ByteView(sealed).first(at)));
    look(sealed);
  }
}
