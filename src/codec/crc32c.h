// CRC-32C (Castagnoli), as the object stores' checksum headers have it.
#pragma once

#include <cstdint>
#include <span>

#include "base/bytes.h"

namespace varve::codec {

uint32_t crc32c(ByteView bytes, uint32_t before = 0);  // `before`: of the bytes ahead of these
uint32_t crc32c(std::span<const ByteView> pieces);

}  // namespace varve::codec
