// Reading objects, by name and by version.
#pragma once

#include "store/s3/client.h"

namespace varve::store::s3 {

// `version`: empty for the current one. As Store::get and Store::head; the key without the prefix.
Result<uint64_t> read_object(Client& client, const Context& ctx, const Key& key, const std::string& version,
                             Range range, const Sink& sink);
Result<ObjectInfo> head_object(Client& client, const Context& ctx, const Key& key,
                               const std::string& version);

struct ContentRange {
  uint64_t first = 0, last = 0, whole = 0;
};
// "bytes 0-9/300"; nullopt for what is none.
std::optional<ContentRange> parse_content_range(std::string_view text);

}  // namespace varve::store::s3
