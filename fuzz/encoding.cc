// Hexadecimal and base64: what is accepted is exactly what the encoder would have written.
#include "crypto/crypto.h"
#include "fuzz.h"

using namespace varve;

FUZZ_TARGET(input) {
  const std::string_view text = as_text(input);
  if (auto bytes = crypto::from_base64(text)) FUZZ_CHECK(crypto::to_base64(*bytes) == text);
  if (auto bytes = from_hex(text)) {
    const std::string back = to_hex(*bytes);
    FUZZ_CHECK(back.size() == text.size() && *from_hex(back) == *bytes);
  }
  FUZZ_CHECK(*crypto::from_base64(crypto::to_base64(input)) == to_buffer(input));
  FUZZ_CHECK(*from_hex(to_hex(input)) == to_buffer(input));
}
