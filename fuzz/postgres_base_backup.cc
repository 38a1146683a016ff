// A message inside the copy of a base backup, as a server could send it.
#include "engine/postgres/base_backup_message.h"
#include "fuzz.h"

using namespace varve;
using namespace varve::engine::postgres;

FUZZ_TARGET(input) {
  const auto message = parse_backup_message(input);
  if (!message) return;
  if (const auto* data = std::get_if<ArchiveData>(&*message)) {
    FUZZ_CHECK(data->bytes.size() == input.size() - 1);
  }
  if (const auto* begin = std::get_if<ArchiveBegin>(&*message)) {
    FUZZ_CHECK(begin->name.size() + begin->location.size() + 3 == input.size());
  }
}
