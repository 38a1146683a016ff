// The text of CREATE statements as sqlite_schema keeps them.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace varve::engine::sqlite {

// Where the name stands in "CREATE [TEMP] [UNIQUE|VIRTUAL] TABLE|INDEX|TRIGGER|VIEW [IF NOT EXISTS]
// [schema.]name …": its offset and length, schema prefix included. kDatabase for any other text.
struct NamePlace {
  size_t at = 0, size = 0;
};
Result<NamePlace> find_created_name(std::string_view sql);
// The same statement for another name.
Result<std::string> with_created_name(std::string_view sql, std::string_view name);

}  // namespace varve::engine::sqlite
