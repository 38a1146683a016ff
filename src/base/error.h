// The one way a failure travels through Varve: a Result that holds a value or an Error.
//
// No function of Varve throws; exceptions of libraries are caught in the module that wraps the library.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

namespace varve {

// What kind of failure, as a caller or a person distinguishes it. exit_code() maps it to the process's.
enum class Code {
  kUsage,        // wrong arguments or configuration, wrong key
  kNotFound,     // a named thing is not there
  kDamaged,      // bytes are not what was written
  kUnreachable,  // a store cannot be reached, or answered nonsense
  kDenied,       // a store or the system refused permission
  kNoSpace,      // the disk or quota is full
  kDatabase,     // the database refused, or is not one
  kConflict,     // someone else holds it, or it exists already
  kExists,       // create-only put lost: the key is taken
  kIncomplete,   // coverage is missing: something needed was never stored
  kInterrupted,  // asked to stop
  kUnsupported,  // this build or store cannot do it
  kIo,           // the local system failed
  kInternal,     // a bug of ours
};

// Whether trying the same call again may help. An allow-list: whatever is not known to pass is kNever.
enum class Retry { kNever, kTransient, kThrottled };

struct Error {
  Code code = Code::kInternal;
  std::string message;    // what happened, to what; no trailing full stop
  std::string hint = {};  // what to do next; may be empty
  Retry retry = Retry::kNever;
  std::chrono::seconds retry_after{0};    // the other side asked to be left alone for so long
  std::vector<std::string> context = {};  // outermost last: "while reading pack …"
  std::shared_ptr<const Error> cause = {};

  Error&& with_hint(std::string h) && {
    hint = std::move(h);
    return std::move(*this);
  }
  Error&& with_retry(Retry r) && {
    retry = r;
    return std::move(*this);
  }
  Error&& with_context(std::string c) && {
    context.push_back(std::move(c));
    return std::move(*this);
  }
  Error&& caused_by(Error e) && {
    cause = std::make_shared<const Error>(std::move(e));
    return std::move(*this);
  }

  // message, then each context and cause, on one line; never the hint.
  std::string describe() const;
};

template <typename T = void>
using Result = tl::expected<T, Error>;

// return fail(Code::kNotFound, fmt::format(…), "hint");
inline tl::unexpected<Error> fail(Code code, std::string message, std::string hint = {}) {
  return tl::unexpected<Error>(Error{code, std::move(message), std::move(hint)});
}
inline tl::unexpected<Error> fail(Error error) {
  return tl::unexpected<Error>(std::move(error));
}

// The process's exit status for a failure (DESIGN "exit codes"); never 0.
int exit_code(Code code);
// A stable machine word for --json: "not_found", "damaged", …
std::string_view code_name(Code code);

}  // namespace varve

#define VARVE_CONCAT_(a, b) a##b
#define VARVE_CONCAT(a, b) VARVE_CONCAT_(a, b)

// TRY_OK(expr): returns the error of a Result to the caller.
#define TRY_OK(...) TRY_OK_(VARVE_CONCAT(varve_result_, __COUNTER__), __VA_ARGS__)
#define TRY_OK_(tmp, ...)                                      \
  do {                                                         \
    auto tmp = (__VA_ARGS__);                                  \
    if (!tmp) return ::tl::unexpected(std::move(tmp).error()); \
  } while (false)

// TRY_ASSIGN(auto x, expr): declares or assigns x from the value, or returns the error.
#define TRY_ASSIGN(decl, ...) TRY_ASSIGN_(VARVE_CONCAT(varve_result_, __COUNTER__), decl, __VA_ARGS__)
#define TRY_ASSIGN_(tmp, decl, ...)                          \
  auto tmp = (__VA_ARGS__);                                  \
  if (!tmp) return ::tl::unexpected(std::move(tmp).error()); \
  decl = std::move(*tmp)
