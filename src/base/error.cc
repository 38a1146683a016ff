#include "base/error.h"

namespace varve {

std::string Error::describe() const {
  std::string out = message;
  for (const auto& c : context) out += " (" + c + ")";
  if (cause) out += ": " + cause->describe();
  return out;
}

int exit_code(Code code) {
  switch (code) {
    case Code::kUsage:
    case Code::kUnsupported:
      return 2;
    case Code::kNotFound:
      return 3;
    case Code::kDamaged:
      return 4;
    case Code::kUnreachable:
    case Code::kDenied:
    case Code::kNoSpace:
    case Code::kIo:
      return 5;
    case Code::kDatabase:
      return 6;
    case Code::kConflict:
    case Code::kExists:
      return 7;
    case Code::kIncomplete:
      return 8;
    case Code::kInterrupted:
      return 130;
    case Code::kInternal:
      return 1;
  }
  return 1;
}

std::string_view code_name(Code code) {
  switch (code) {
    case Code::kUsage:
      return "usage";
    case Code::kNotFound:
      return "not_found";
    case Code::kDamaged:
      return "damaged";
    case Code::kUnreachable:
      return "unreachable";
    case Code::kDenied:
      return "denied";
    case Code::kNoSpace:
      return "no_space";
    case Code::kDatabase:
      return "database";
    case Code::kConflict:
      return "conflict";
    case Code::kExists:
      return "exists";
    case Code::kIncomplete:
      return "incomplete";
    case Code::kInterrupted:
      return "interrupted";
    case Code::kUnsupported:
      return "unsupported";
    case Code::kIo:
      return "io";
    case Code::kInternal:
      return "internal";
  }
  return "internal";
}

}  // namespace varve
