// A page of a relation: its header, and its checksum. Format: PostgreSQL's src/include/storage/bufpage.h;
// algorithm: src/include/storage/checksum_impl.h (FNV-1a in 32 lanes, with the block's number mixed in).
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace varve::engine::postgres {

// The end of the page's last WAL record. `page` holds at least 24 bytes, as everywhere here.
uint64_t page_lsn(ByteView page);
uint16_t stored_checksum(ByteView page);
// Of a page whose size is a multiple of 128 bytes, as it stands in block `block` of its fork.
uint16_t page_checksum(ByteView page, uint32_t block);

enum class PageState {
  kGood,      // the checksum fits, or all bytes are zero
  kRepaired,  // it does not, but the page was written after the backup's start: the log holds the whole page
  kBad,       // torn, or damaged: to be read again
};
// `start`: the backup's start position. A cut page under a write can look like any of the last two.
PageState verify_page(ByteView page, uint32_t block, uint64_t start);

}  // namespace varve::engine::postgres
