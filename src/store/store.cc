#include "store/store.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"

namespace varve::store {
namespace {

constexpr size_t kMostKey = 512;
constexpr size_t kMostSegment = 255;  // a file's name
// A request to a bucket brings at most 1000 keys; a folder can give more at once, and need not be read again
// for each.
constexpr size_t kListAtOnce = 65536;  // some 10 MiB

bool is_key_character(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
         c == '=' || c == '@' || c == '+' || c == '-';
}

tl::unexpected<Error> bad_key(std::string_view key, std::string_view why) {
  return fail(Code::kUsage,
              fmt::format("\"{}\" is no name for an object: {}", printable(key.substr(0, kMostKey)), why),
              "names are segments of [A-Za-z0-9._=@+-] joined by '/'");
}

}  // namespace

Result<> check_key(std::string_view key) {
  if (key.empty()) return bad_key(key, "it is empty");
  if (key.size() > kMostKey) return bad_key(key, fmt::format("it is longer than {} bytes", kMostKey));
  char before = '/';
  size_t segment = 0;
  for (char c : key) {
    if (c == '/' && before == '/') return bad_key(key, "a segment is empty");
    if (c == '.' && before == '/') return bad_key(key, "a segment begins with a dot");
    if (c != '/' && !is_key_character(c)) return bad_key(key, "it holds a character that no name may hold");
    segment = c == '/' ? 0 : segment + 1;
    if (segment > kMostSegment)
      return bad_key(key, fmt::format("a segment is longer than {} bytes", kMostSegment));
    before = c;
  }
  if (before == '/') return bad_key(key, "a segment is empty");
  return {};
}

uint64_t body_size(Body body) {
  uint64_t total = 0;
  for (const ByteView& piece : body) total += piece.size();
  return total;
}

uint64_t range_size(Range range, uint64_t object_size) {
  return range.offset >= object_size ? 0 : std::min(range.length, object_size - range.offset);
}

Result<> put_bytes(Store& s, const Context& ctx, const Key& key, ByteView bytes, const PutOptions& options) {
  return s.put(ctx, key, Body(&bytes, 1), options);
}

Result<Buffer> get_bytes(Store& s, const Context& ctx, const Key& key, uint64_t max_size, Range range) {
  Buffer out;
  if (range.length != UINT64_MAX) out.reserve(static_cast<size_t>(std::min(range.length, max_size)));
  TRY_ASSIGN(const uint64_t size, s.get(ctx, key, range, [&](ByteView piece) -> Result<> {
    if (piece.size() > max_size - out.size()) {
      return fail(Code::kDamaged, fmt::format("{} in {} is larger than the {} it may be", printable(key),
                                              s.describe(), human_size(max_size)));
    }
    append(out, piece);
    return {};
  }));
  if (out.size() != range_size(range, size)) {
    return fail(Code::kUnreachable, fmt::format("{} delivered {} of {} bytes of {}", s.describe(), out.size(),
                                                range_size(range, size), printable(key)));
  }
  return out;
}

Result<bool> exists(Store& s, const Context& ctx, const Key& key) {
  auto info = s.head(ctx, key);
  if (info) return true;
  if (info.error().code == Code::kNotFound) return false;
  return fail(std::move(info).error());
}

Result<> for_each(Store& s, const Context& ctx, const std::string& prefix,
                  const std::function<Result<>(const ObjectInfo&)>& callback) {
  std::string token;
  do {
    TRY_ASSIGN(const ListPage page, s.list(ctx, prefix, token, kListAtOnce));
    for (const ObjectInfo& info : page.objects) TRY_OK(callback(info));
    token = page.next;
  } while (!token.empty());
  return {};
}

Result<> remove_one(Store& s, const Context& ctx, const Key& key) {
  TRY_ASSIGN(auto results, s.remove(ctx, std::span<const Key>(&key, 1)));
  if (results.size() != 1)
    return fail(Code::kInternal, fmt::format("{} results for one removal", results.size()));
  return std::move(results[0].result);
}

}  // namespace varve::store
