// What a manifest says about a PostgreSQL backup, as anyone may have written it; and paths of a data
// directory.
#include "engine/postgres/capture_data.h"
#include "fuzz.h"

using namespace varve;
using namespace varve::engine::postgres;

FUZZ_TARGET(input) {
  if (const auto file = relation_file(as_text(input))) {
    FUZZ_CHECK(file->tablespace != 0 && file->filenode != 0);
    FUZZ_CHECK(may_vanish(as_text(input)) && may_shrink(as_text(input)));
  }
  (void)is_temporary_relation(as_text(input));
  const auto data = decode_capture_data(input);
  if (!data) return;
  const Buffer again = encode_capture_data(*data);
  const auto twice = decode_capture_data(again);
  FUZZ_CHECK(twice && encode_capture_data(*twice) == again);
  (void)user_tables(data->databases);
}
