// What every protobuf message of this module needs.
#pragma once

#include <google/protobuf/message_lite.h>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/time.h"

namespace varve::repo {

// Text as protobuf demands it: each byte that is no UTF-8 becomes U+FFFD. Without this, a host name or a
// table's name in another encoding would be written, and never be read again.
std::string utf8(std::string_view text);

Buffer serialize(const google::protobuf::MessageLite& message);
// kDamaged, naming `what`.
Result<> parse(google::protobuf::MessageLite& message, ByteView bytes, std::string_view what);

inline int64_t to_wire(Timestamp t) {
  return t.time_since_epoch().count();
}
// kDamaged outside the years 1 to 9999: later code prints it.
Result<Timestamp> time_from_wire(int64_t micros);

}  // namespace varve::repo
