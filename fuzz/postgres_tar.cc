// An archive of a base backup, as a server could send it: the first byte says in which portions.
#include <algorithm>

#include "base/text.h"
#include "engine/postgres/tar.h"
#include "fuzz.h"

using namespace varve;
using namespace varve::engine::postgres;

FUZZ_TARGET(input) {
  if (input.empty()) return;
  const size_t portion = 1 + std::to_integer<size_t>(input[0]) * 8;
  const bool terminated = (std::to_integer<unsigned>(input[0]) & 1) != 0;
  ByteView rest = input.subspan(1);
  TarReader reader(
      [&](Buffer& bytes) -> Result<bool> {
        const ByteView next = rest.first(std::min(portion, rest.size()));
        bytes = to_buffer(next);
        rest = rest.subspan(next.size());
        return !next.empty();
      },
      terminated);
  uint64_t content = 0;
  for (;;) {
    const auto entry = reader.next();
    if (!entry || !*entry) break;
    FUZZ_CHECK(!(*entry)->path.empty() && (*entry)->path.front() != '/');
    for (const std::string_view part : split((*entry)->path, '/')) FUZZ_CHECK(part != ".." && !part.empty());
    FUZZ_CHECK((*entry)->type == engine::FileType::kRegular || (*entry)->size == 0);
    Buffer bytes(std::min<uint64_t>((*entry)->size, 4096));
    if (!reader.read(bytes)) break;
    content += bytes.size();
  }
  FUZZ_CHECK(content <= input.size());
}
