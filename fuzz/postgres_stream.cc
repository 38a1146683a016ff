// A message inside a stream of WAL, as a server could send it.
#include "engine/postgres/stream_message.h"
#include "fuzz.h"

using namespace varve;
using namespace varve::engine::postgres;

FUZZ_TARGET(input) {
  const auto message = parse_stream_message(input);
  if (!message) return;
  if (const auto* data = std::get_if<StreamData>(&*message)) {
    FUZZ_CHECK(data->bytes.size() == input.size() - 25);
    FUZZ_CHECK(data->start + data->bytes.size() >= data->start);
  }
}
