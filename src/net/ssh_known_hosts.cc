#include "net/ssh_known_hosts.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <optional>
#include <system_error>

#include "base/text.h"

namespace varve::net {
namespace {

constexpr size_t kMostFile = size_t{16} << 20;
constexpr size_t kMostKey = 16384;

std::string to_base64(ByteView bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int n =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<size_t>(n));
  return out;
}

// Padded base64, nothing else.
std::optional<Buffer> from_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0 || text.size() > kMostKey * 2) return std::nullopt;
  const size_t pad = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  for (char c : text.substr(0, text.size() - pad)) {
    if ((c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '+' && c != '/')
      return std::nullopt;
  }
  Buffer out(text.size() / 4 * 3);
  const int n =
      EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                      reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (n < 0) return std::nullopt;
  out.resize(static_cast<size_t>(n) - pad);
  return out;
}

// '*' and '?' as in a shell, over any characters; linear in the product of the sizes.
bool matches(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = pattern.npos, mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t]) && pattern[p] != '*') {
      ++p, ++t;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++, mark = t;
    } else if (star != pattern.npos) {
      p = star + 1, t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

// "|1|salt|hash": the name's HMAC-SHA1, so that a stolen file does not tell which servers there are.
bool matches_hashed(std::string_view hosts, std::string_view name) {
  const auto parts = split(hosts, '|');
  if (parts.size() != 4 || parts[1] != "1") return false;
  const auto salt = from_base64(parts[2]);
  const auto hash = from_base64(parts[3]);
  if (!salt || !hash) return false;
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (HMAC(EVP_sha1(), salt->data(), static_cast<int>(salt->size()),
           reinterpret_cast<const unsigned char*>(name.data()), name.size(), digest, &size) == nullptr)
    return false;
  return hash->size() == size && CRYPTO_memcmp(hash->data(), digest, size) == 0;
}

bool names_host(std::string_view hosts, std::string_view name) {
  if (hosts.starts_with('|')) return matches_hashed(hosts, name);
  bool found = false;
  for (std::string_view pattern : split(hosts, ',')) {
    const bool negated = pattern.starts_with('!');
    if (negated) pattern.remove_prefix(1);
    if (pattern.empty() || !matches(to_lower(pattern), name)) continue;
    if (negated) return false;
    found = true;
  }
  return found;
}

std::string_view take_word(std::string_view& rest) {
  const size_t begin = std::min(rest.find_first_not_of(" \t"), rest.size());
  rest.remove_prefix(begin);
  const size_t end = std::min(rest.find_first_of(" \t"), rest.size());
  const std::string_view word = rest.substr(0, end);
  rest.remove_prefix(end);
  return word;
}

Result<std::string> read_text(const std::string& file) {
  std::FILE* f = std::fopen(file.c_str(), "re");
  if (f == nullptr) {
    if (errno == ENOENT || errno == ENOTDIR) return std::string();
    return fail(Code::kDenied,
                fmt::format("cannot read {}: {}", printable(file), std::generic_category().message(errno)));
  }
  std::string out;
  char piece[16384];
  size_t n = 0;
  while (out.size() <= kMostFile && (n = std::fread(piece, 1, sizeof piece, f)) > 0) out.append(piece, n);
  const bool failed = std::ferror(f) != 0;
  std::fclose(f);
  if (failed) return fail(Code::kIo, fmt::format("cannot read {}", printable(file)));
  if (out.size() > kMostFile)
    return fail(Code::kUsage, fmt::format("{} is too large for a list of hosts", printable(file)));
  return out;
}

}  // namespace

std::string host_key_type(ByteView key) {
  ByteReader reader(key);
  auto size = reader.be<uint32_t>();
  if (!size || *size == 0 || *size > 64) return {};
  auto name = reader.take(*size);
  if (!name) return {};
  for (std::byte b : *name) {
    const char c = static_cast<char>(b);
    if (c <= ' ' || c > '~' || c == ',') return {};
  }
  return std::string(as_text(*name));
}

std::string host_key_fingerprint(ByteView key) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (EVP_Digest(key.data(), key.size(), digest, &size, EVP_sha256(), nullptr) != 1) return "SHA256:?";
  std::string out = to_base64(std::as_bytes(std::span(digest, size)));
  while (out.ends_with('=')) out.pop_back();
  return "SHA256:" + out;
}

std::string host_name_in_files(std::string_view host, uint16_t port) {
  const std::string name = to_lower(host);
  return port == 22 ? name : fmt::format("[{}]:{}", name, port);
}

std::string known_hosts_line(std::string_view host, uint16_t port, ByteView key) {
  return fmt::format("{} {} {}", host_name_in_files(host, port), host_key_type(key), to_base64(key));
}

Result<KnownHosts> KnownHosts::read(const std::vector<std::string>& files) {
  KnownHosts out;
  for (const std::string& file : files) {
    TRY_ASSIGN(const std::string text, read_text(file));
    out.add(text, file);
  }
  return out;
}

void KnownHosts::add(std::string_view text, const std::string& name) {
  size_t number = 0;
  for (std::string_view rest : split(text, '\n')) {
    ++number;
    if (rest.ends_with('\r')) rest.remove_suffix(1);
    std::string_view hosts = take_word(rest);
    if (hosts.empty() || hosts.starts_with('#')) continue;
    Line line;
    if (hosts.starts_with('@')) {
      if (hosts != "@revoked") continue;
      line.revoked = true;
      hosts = take_word(rest);
    }
    const std::string_view type = take_word(rest);
    auto key = from_base64(take_word(rest));
    // The kind stands beside the key and in it: one that says two things is damaged.
    if (hosts.empty() || !key || key->size() > kMostKey || host_key_type(*key) != type || type.empty())
      continue;
    line.hosts = hosts;
    line.key = std::move(*key);
    line.place = fmt::format("{}:{}", name, number);
    lines_.push_back(std::move(line));
  }
}

KnownHosts::Answer KnownHosts::check(std::string_view host, uint16_t port, ByteView key) const {
  const std::string name = host_name_in_files(host, port), bare = to_lower(host);
  Answer out;
  for (const Line& line : lines_) {
    const bool exact = names_host(line.hosts, name);
    if (!exact && (port == 22 || !names_host(line.hosts, bare))) continue;
    const bool same = std::equal(line.key.begin(), line.key.end(), key.begin(), key.end());
    if (line.revoked) {
      if (same) return {Verdict::kRevoked, line.place};
      continue;
    }
    if (same && out.verdict != Verdict::kKnown) out = {Verdict::kKnown, line.place};
    if (!same && exact && out.verdict == Verdict::kUnknown) out = {Verdict::kChanged, line.place};
  }
  return out;
}

std::vector<std::string> KnownHosts::types(std::string_view host, uint16_t port) const {
  const std::string name = host_name_in_files(host, port), bare = to_lower(host);
  std::vector<std::string> exact, without_port;
  for (const Line& line : lines_) {
    if (line.revoked) continue;
    std::vector<std::string>* to = names_host(line.hosts, name)                 ? &exact
                                   : port != 22 && names_host(line.hosts, bare) ? &without_port
                                                                                : nullptr;
    std::string type = host_key_type(line.key);
    if (to != nullptr && std::find(to->begin(), to->end(), type) == to->end()) to->push_back(std::move(type));
  }
  return exact.empty() ? without_port : exact;
}

}  // namespace varve::net
