#include "os/trace.h"

#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <stdlib.h>
#include <string_view>
#include <unistd.h>

#include "os/file.h"

namespace varve::os {
namespace {

std::atomic<bool> g_traced = false;
Tracer g_tracer;

// State of the fault from the environment: lives as long as the process, which the exit handler needs.
std::atomic<uint64_t> g_calls = 0;
std::string g_count_file;

bool grows(Op op) {
  return op != Op::kRemove && op != Op::kRemoveDir && op != Op::kRemoveObject && op != Op::kSync &&
         op != Op::kSyncDir;
}

Error failure(int errnum, const Call& call) {
  return errno_error(errnum, op_name(call.op), call.path);
}

void report_count() {
  std::string text = fmt::format("{}\n", g_calls.load());
  int fd = STDERR_FILENO;
  if (g_count_file.empty()) {
    text = "traced calls: " + text;
  } else {
    fd = ::open(g_count_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  }
  if (fd >= 0 && ::write(fd, text.data(), text.size()) < 0) ::_exit(1);
}

}  // namespace

const char* op_name(Op op) {
  switch (op) {
    case Op::kCreate:
      return "create";
    case Op::kWrite:
      return "write";
    case Op::kTruncate:
      return "truncate";
    case Op::kSync:
      return "sync";
    case Op::kSyncDir:
      return "sync folder";
    case Op::kMkdir:
      return "make folder";
    case Op::kLink:
      return "link";
    case Op::kRename:
      return "rename";
    case Op::kRemove:
      return "remove";
    case Op::kRemoveDir:
      return "remove folder";
    case Op::kPutObject:
      return "put";
    case Op::kRemoveObject:
      return "remove object";
  }
  return "change";
}

void set_tracer(Tracer tracer) {
  g_traced = false;
  g_tracer = std::move(tracer);
  g_traced = static_cast<bool>(g_tracer);
}

Result<> trace(const Call& call) {
  if (!g_traced.load(std::memory_order_relaxed)) return {};
  return g_tracer(call);
}

Result<> install_fault_from_environment() {
  const char* value = ::getenv("VARVE_TEST_FAULT");
  if (value == nullptr || *value == '\0') return {};
  const std::string_view text = value;
  if (text == "count" || text.starts_with("count:")) {
    if (text.size() > 6) g_count_file = text.substr(6);
    set_tracer([](const Call&) -> Result<> {
      ++g_calls;
      return {};
    });
    ::atexit(report_count);
    return {};
  }
  const size_t at = text.find('@');
  const std::string_view kind = text.substr(0, at);
  uint64_t n = 0;
  bool valid = at != text.npos && (kind == "kill" || kind == "enospc" || kind == "eio");
  if (valid) {
    auto [end, error] = std::from_chars(text.data() + at + 1, text.data() + text.size(), n);
    valid = error == std::errc() && end == text.data() + text.size() && n > 0;
  }
  if (!valid) {
    return fail(Code::kUsage, fmt::format("VARVE_TEST_FAULT is \"{}\"", text),
                "it is one of kill@N, enospc@N, eio@N, count and count:FILE, and N is at least 1");
  }
  if (kind == "kill") {
    set_tracer([n](const Call&) -> Result<> {
      if (++g_calls == n) ::kill(::getpid(), SIGKILL);
      return {};
    });
  } else if (kind == "enospc") {
    set_tracer([n](const Call& call) -> Result<> {
      if (++g_calls >= n && grows(call.op)) return fail(failure(ENOSPC, call));
      return {};
    });
  } else {
    set_tracer([n](const Call& call) -> Result<> {
      if (++g_calls == n) return fail(failure(EIO, call));
      return {};
    });
  }
  return {};
}

}  // namespace varve::os
