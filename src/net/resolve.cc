#include "net/resolve.h"

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <netdb.h>
#include <optional>
#include <sys/socket.h>
#include <system_error>
#include <thread>

namespace varve::net {
namespace {

constexpr std::chrono::seconds kLongestWait{2};

// Shared by who asks and the thread that may outlive the question.
struct Lookup {
  std::mutex mutex;
  std::condition_variable_any answered;
  std::optional<int> code;
};

void look_up(const std::shared_ptr<Lookup>& lookup, const std::string& host) {
  addrinfo hints = {}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  const int code = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (found != nullptr) ::freeaddrinfo(found);
  std::lock_guard lock(lookup->mutex);
  lookup->code = code;
  lookup->answered.notify_all();
}

}  // namespace

// getaddrinfo() cannot be interrupted, so a thread waits for it and is left behind if need be.
bool is_unknown_host(const Context& ctx, const std::string& host) {
  auto lookup = std::make_shared<Lookup>();
  try {
    std::thread([lookup, host] { look_up(lookup, host); }).detach();
  } catch (const std::system_error&) {
    return false;
  }
  std::unique_lock lock(lookup->mutex);
  const auto until = std::min(ctx.deadline, SteadyClock::now() + kLongestWait);
  lookup->answered.wait_until(lock, ctx.stop, until, [&] { return lookup->code.has_value(); });
  return lookup->code == EAI_NONAME || lookup->code == EAI_NODATA;
}

}  // namespace varve::net
