#include "engine/postgres/base_backup_message.h"

#include <fmt/format.h>

namespace varve::engine::postgres {
namespace {

// Up to a NUL, which is passed over.
Result<std::string> text(std::string_view& rest) {
  const size_t end = rest.find('\0');
  if (end == rest.npos) return fail(Code::kDamaged, "the server sent a name without an end");
  std::string out(rest.substr(0, end));
  rest.remove_prefix(end + 1);
  return out;
}

}  // namespace

Result<BackupMessage> parse_backup_message(ByteView message) {
  if (message.empty()) return fail(Code::kDamaged, "the server sent an empty message");
  const ByteView rest = message.subspan(1);
  switch (std::to_integer<char>(message[0])) {
    case 'd':
      return ArchiveData{rest};
    case 'n': {
      std::string_view names = as_text(rest);
      ArchiveBegin out;
      TRY_ASSIGN(out.name, text(names));
      TRY_ASSIGN(out.location, text(names));
      if (out.name.empty() || !names.empty())
        return fail(Code::kDamaged, "the server sent an archive without a name");
      return out;
    }
    case 'p': {
      ByteReader in(rest);
      BackupProgress out;
      TRY_ASSIGN(out.bytes, in.be<uint64_t>());
      if (in.remaining() > 0) return fail(Code::kDamaged, "the server sent a progress that is none");
      return out;
    }
    default:
      return fail(Code::kDamaged, fmt::format("the server sent a message of an unknown kind ({})",
                                              std::to_integer<unsigned>(message[0])));
  }
}

}  // namespace varve::engine::postgres
