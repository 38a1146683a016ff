// How a person names a table.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace varve::engine::postgres {

struct TableName {
  std::string database, schema, name;  // database and schema may be empty: whichever

  std::string text() const;  // "app.public.orders", as far as it is known
  bool operator==(const TableName&) const = default;
};

// "orders", "public.orders", "app.public.orders". Names are taken letter by letter; one with a dot in it
// stands in double quotes: public."my.table". kUsage for anything else.
Result<TableName> parse_table_name(std::string_view text);

// "name" for SQL, and 'text' (never as E'…': standard_conforming_strings is on wherever we are).
std::string quote_identifier(std::string_view name);
std::string quote_literal(std::string_view text);
// "schema"."name"
std::string quote_table(std::string_view schema, std::string_view name);

// The longest name a server takes (NAMEDATALEN - 1).
inline constexpr size_t kLongestIdentifier = 63;
// `name` cut so that it and `suffix` fit, never within a character of UTF-8.
std::string fitting_name(std::string_view name, std::string_view suffix);

}  // namespace varve::engine::postgres
