// Large objects, sent in parts. Until the last request none of them is to be seen.
#pragma once

#include "store/s3/client.h"

namespace varve::store::s3 {

inline constexpr uint64_t kMostObject = uint64_t{5} << 40;

struct Upload {
  const Key& key;
  Body body;
  std::vector<net::Header> headers;  // of the object
  bool create_only = true;
};

// Several parts at a time; the bytes stay with the caller. What fails, or is stopped, is aborted.
Result<> upload_in_parts(Client& client, const Context& ctx, const Upload& upload);

// Ends the uploads below the prefix that began longer ago than `age`. Returns how many.
Result<uint64_t> abort_uploads(Client& client, const Context& ctx, Seconds age);

// A part's size for a body: as asked, or more where the number of parts would pass 10,000.
uint64_t part_size_for(uint64_t body, uint64_t asked);

}  // namespace varve::store::s3
