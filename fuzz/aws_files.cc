// The files of profiles and keys that people and tools write.
#include "fuzz.h"
#include "store/s3/environment.h"

using namespace varve;
using namespace varve::store::s3;

FUZZ_TARGET(input) {
  const auto ini = parse_ini(as_text(input));
  if (!ini) {
    FUZZ_CHECK(ini.error().code == Code::kUsage);
    return;
  }
  for (const auto& [title, section] : *ini) {
    for (const auto& [name, value] : section) {
      FUZZ_CHECK(!name.empty() && name.find('\n') == name.npos && value.find('\n') == value.npos);
      FUZZ_CHECK(value.find('\0') == value.npos);
    }
  }
}
