#include "store/place.h"

#include <algorithm>
#include <fmt/format.h>
#include <vector>

#include "base/text.h"

namespace varve::store {
namespace {

constexpr std::string_view kSchemes =
    "file:///folder or a plain path, s3://bucket/prefix, azure://container/prefix, gs://bucket/prefix, "
    "sftp://user@host/folder";

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

Result<Place> file_place(std::string_view rest, std::string_view text) {
  // file://host/path names another host's file; only "localhost" is ours.
  const std::string_view path = rest.starts_with("localhost/") ? rest.substr(9) : rest;
  if (!path.starts_with('/')) {
    return fail(Code::kUsage, fmt::format("\"{}\" is no whole path", printable(text)),
                "write file:///folder with three slashes, or a plain path");
  }
  TRY_ASSIGN(std::string decoded, percent_decode(path));
  return Place{"file", "", std::move(decoded)};
}

// name=value&name=value
Result<Settings> parse_settings(std::string_view query) {
  Settings out;
  for (const std::string_view pair : split(query, '&')) {
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    if (equals == pair.npos || equals == 0)
      return fail(Code::kUsage, fmt::format("\"{}\" in the address sets nothing", printable(pair)),
                  "write ?name=value&name=value");
    TRY_ASSIGN(std::string value, percent_decode(pair.substr(equals + 1)));
    TRY_OK(out.set(std::string(pair.substr(0, equals)), std::move(value)));
  }
  return out;
}

Result<Place> bucket_place(std::string scheme, std::string_view rest, std::string_view text) {
  Place out{std::move(scheme), "", ""};
  if (const size_t query = rest.find('?'); query != rest.npos) {
    TRY_ASSIGN(out.settings, parse_settings(rest.substr(query + 1)));
    rest = rest.substr(0, query);
  }
  const size_t slash = rest.find('/');
  out.authority = rest.substr(0, slash);
  if (out.authority.empty())
    return fail(Code::kUsage,
                fmt::format("\"{}\" names no {}", printable(text), out.scheme == "sftp" ? "host" : "bucket"),
                out.scheme == "sftp" ? "write sftp://user@host/folder"
                                     : fmt::format("write {}://name/prefix", out.scheme));
  std::string_view path = slash == rest.npos ? "" : rest.substr(slash + 1);
  while (path.ends_with('/')) path.remove_suffix(1);
  while (path.starts_with('/')) path.remove_prefix(1);
  TRY_ASSIGN(out.path, percent_decode(path));
  return out;
}

}  // namespace

Result<> Settings::set(const std::string& name, std::string value) {
  if (!values_.emplace(name, std::move(value)).second)
    return fail(Code::kUsage, fmt::format("{} is set twice", printable(name)));
  return {};
}

void Settings::change(const std::string& name, const std::function<std::string(const std::string&)>& how) {
  if (const auto it = values_.find(name); it != values_.end()) it->second = how(it->second);
}

std::string Settings::text(std::string_view name, std::string_view otherwise) const {
  const auto it = values_.find(std::string(name));
  return it == values_.end() ? std::string(otherwise) : it->second;
}

Result<bool> Settings::flag(std::string_view name, bool otherwise) const {
  const auto it = values_.find(std::string(name));
  if (it == values_.end()) return otherwise;
  const std::string value = to_lower(it->second);
  if (value == "true" || value == "yes" || value == "1") return true;
  if (value == "false" || value == "no" || value == "0") return false;
  return fail(Code::kUsage,
              fmt::format("{} = \"{}\" is neither true nor false", name, printable(it->second)));
}

Result<uint64_t> Settings::size(std::string_view name, uint64_t otherwise) const {
  const auto it = values_.find(std::string(name));
  if (it == values_.end()) return otherwise;
  auto size = parse_size(it->second);
  if (!size) return fail(std::move(size).error().with_context(std::string(name)));
  return size;
}

Result<> Settings::check(std::span<const Setting> known) const {
  std::vector<std::string> names;
  for (const Setting& s : known) names.emplace_back(s.name);
  for (const auto& [name, value] : values_) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    const auto near = nearest(name, names, 1);
    return fail(
        Code::kUsage, fmt::format("there is no setting \"{}\" for such a store", printable(name)),
        near.empty() ? "docs/stores/ lists what can be set" : fmt::format("did you mean {}?", near[0]));
  }
  return {};
}

Result<Place> parse_place(std::string_view text) {
  text = trim(text);
  if (text.empty())
    return fail(Code::kUsage, "the address of the repository is empty", std::string(kSchemes));
  if (text.find('\0') != text.npos)
    return fail(Code::kUsage, "the address of the repository holds a zero byte");
  const size_t mark = text.find("://");
  if (mark == text.npos) return Place{"file", "", std::string(text)};
  std::string scheme = to_lower(text.substr(0, mark));
  const std::string_view rest = text.substr(mark + 3);
  if (scheme == "file") return file_place(rest, text);
  if (scheme == "mem") return Place{scheme, std::string(rest), ""};
  if (scheme == "s3" || scheme == "azure" || scheme == "gs" || scheme == "sftp")
    return bucket_place(std::move(scheme), rest, text);
  return fail(Code::kUsage, fmt::format("there is no kind of store called \"{}\"", printable(scheme)),
              fmt::format("addresses are {}", kSchemes));
}

}  // namespace varve::store
