#include "backup/backup.h"

#include <fmt/format.h>

namespace varve::backup {

Result<Type> parse_type(const std::string& text) {
  if (text == "auto") return Type::kAuto;
  if (text == "full") return Type::kFull;
  if (text == "differential" || text == "diff") return Type::kDifferential;
  if (text == "incremental" || text == "incr") return Type::kIncremental;
  return fail(Code::kUsage, fmt::format("{}: is no type of backup", text),
              "auto, full, differential or incremental");
}

}  // namespace varve::backup
