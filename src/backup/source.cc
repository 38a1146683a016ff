#include "backup/source.h"

#include "crypto/crypto.h"

namespace varve::backup {
namespace {

// Letters, digits and a few signs; the rest becomes '-'.
std::string name_part(std::string_view text) {
  std::string out;
  for (char c : text.substr(0, 80)) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    out += plain || ((c == '.' || c == '-') && !out.empty()) ? c : '-';
  }
  while (!out.empty() && (out.front() == '-' || out.front() == '_')) out.erase(0, 1);
  return out.empty() ? "db" : out;
}

}  // namespace

Source named_source(std::string_view engine, std::string_view stem, const std::string& address) {
  const auto hash = crypto::digest(as_bytes(address));
  return Source{name_part(stem) + "-" + to_hex(ByteView(hash).first(4)), address, std::string(engine)};
}

}  // namespace varve::backup
