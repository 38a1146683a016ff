#include "engine/postgres/table_name.h"

#include <fmt/format.h>
#include <vector>

#include "base/text.h"

namespace varve::engine::postgres {
namespace {

tl::unexpected<Error> malformed(std::string_view text) {
  return fail(Code::kUsage, fmt::format("{}: is no name of a table", printable(text)),
              "table, schema.table or database.schema.table; a name with a dot in double quotes: "
              "public.\"my.table\"");
}

// Takes one name off the front.
bool take_part(std::string_view& rest, std::string& out) {
  if (!rest.starts_with('"')) {
    const size_t end = std::min(rest.find('.'), rest.size());
    out = rest.substr(0, end);
    rest.remove_prefix(end);
    return out.find('"') == std::string::npos;
  }
  for (size_t i = 1; i < rest.size(); ++i) {
    if (rest[i] != '"') {
      out += rest[i];
    } else if (i + 1 < rest.size() && rest[i + 1] == '"') {
      out += rest[i++];
    } else {
      rest.remove_prefix(i + 1);
      return true;
    }
  }
  return false;
}

std::string quoted(std::string_view text, char quote) {
  std::string out(1, quote);
  for (char c : text) {
    if (c == quote) out += c;
    out += c;
  }
  return out + quote;
}

}  // namespace

std::string TableName::text() const {
  std::string out;
  for (const std::string* part : {&database, &schema, &name}) {
    if (part->empty()) continue;
    if (!out.empty()) out += '.';
    out += part->find_first_of(".\"") == std::string::npos ? *part : quoted(*part, '"');
  }
  return out;
}

Result<TableName> parse_table_name(std::string_view text) {
  std::vector<std::string> parts;
  std::string_view rest = text;
  for (;;) {
    std::string part;
    if (!take_part(rest, part) || part.empty() || part.size() > kLongestIdentifier ||
        part.find('\0') != std::string::npos)
      return malformed(text);
    parts.push_back(std::move(part));
    if (rest.empty()) break;
    if (parts.size() == 3 || rest.front() != '.') return malformed(text);
    rest.remove_prefix(1);
  }
  TableName out;
  out.name = parts.back();
  if (parts.size() > 1) out.schema = parts[parts.size() - 2];
  if (parts.size() > 2) out.database = parts[0];
  return out;
}

std::string quote_identifier(std::string_view name) {
  return quoted(name, '"');
}

std::string quote_literal(std::string_view text) {
  return quoted(text, '\'');
}

std::string quote_table(std::string_view schema, std::string_view name) {
  return quote_identifier(schema) + "." + quote_identifier(name);
}

std::string fitting_name(std::string_view name, std::string_view suffix) {
  size_t length = std::min(name.size(), kLongestIdentifier - std::min(suffix.size(), kLongestIdentifier));
  while (length > 0 && length < name.size() && (static_cast<unsigned char>(name[length]) & 0xc0) == 0x80)
    --length;
  return std::string(name.substr(0, length)) + std::string(suffix);
}

}  // namespace varve::engine::postgres
