#include "store/open.h"

#include <fmt/format.h>

#include "base/text.h"
#include "store/local/local_store.h"
#include "store/mem/mem_store.h"
#include "store/wrap/limit.h"
#include "store/wrap/readonly.h"
#include "store/wrap/retry.h"
#include "store/wrap/throttle.h"

namespace varve::store {
namespace {

constexpr std::string_view kSchemes = "file:///folder, a plain path, or mem://name for tests";

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Result<std::string> percent_decode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
    if (high < 0 || low < 0 || high + low == 0)
      return fail(Code::kUsage, fmt::format("\"{}\" holds a '%' that is no %XX", printable(text)),
                  "write %25 for a '%'");
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

Result<StorePtr> open_driver(const Address& address, const OpenOptions& options) {
  if (address.scheme == "file") return LocalStore::open(address.place, options.create && !options.read_only);
  return MemStore::named(address.place);
}

}  // namespace

Result<Address> parse_address(std::string_view text) {
  text = trim(text);
  if (text.empty())
    return fail(Code::kUsage, "the address of the repository is empty", std::string(kSchemes));
  if (text.find('\0') != text.npos)
    return fail(Code::kUsage, "the address of the repository holds a zero byte");
  const size_t mark = text.find("://");
  if (mark == text.npos) return Address{"file", std::string(text)};
  const std::string scheme = to_lower(text.substr(0, mark));
  const std::string_view rest = text.substr(mark + 3);
  if (scheme == "file") {
    // file://host/path names another host's file; only "localhost" is ours.
    const std::string_view path = rest.starts_with("localhost/") ? rest.substr(9) : rest;
    if (!path.starts_with('/')) {
      return fail(Code::kUsage, fmt::format("\"{}\" is no whole path", printable(text)),
                  "write file:///folder with three slashes, or a plain path");
    }
    TRY_ASSIGN(std::string decoded, percent_decode(path));
    return Address{scheme, std::move(decoded)};
  }
  if (scheme == "mem") return Address{scheme, std::string(rest)};
  return fail(Code::kUsage, fmt::format("there is no kind of store called \"{}\"", printable(scheme)),
              fmt::format("addresses are {}", kSchemes));
}

Result<StorePtr> open_store(const Context& ctx, const std::string& address, const OpenOptions& options) {
  TRY_OK(ctx.check());
  TRY_ASSIGN(const Address parsed, parse_address(address));
  TRY_ASSIGN(StorePtr store, open_driver(parsed, options));
  if (options.limit_rate > 0) store = with_throttle(std::move(store), options.limit_rate);
  store = with_retry(with_limit(std::move(store)));
  if (options.read_only) store = with_readonly(std::move(store));
  return store;
}

}  // namespace varve::store
