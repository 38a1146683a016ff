#include "net/line.h"

#include <algorithm>
#include <fmt/format.h>
#include <linux/sockios.h>
#include <mutex>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/time.h"
#include "net/transfer.h"

namespace varve::net {
namespace {

// An endpoint, and what belongs to it: a token's, a metadata server's, a proxy.
constexpr long kMostConnections = 4;
// The clock that waits and the clock of the deadline need not agree to the end.
constexpr std::chrono::milliseconds kLongestWait{1000};

tl::unexpected<Error> library_failed(const char* what, const char* why) {
  return fail(Code::kInternal, fmt::format("libcurl failed while {}: {}", what, why));
}

bool start_library() {
  static std::once_flag once;
  static CURLcode started = CURLE_FAILED_INIT;
  std::call_once(once, [] { started = curl_global_init(CURL_GLOBAL_DEFAULT); });
  return started == CURLE_OK;
}

// In the multi handle for as long as the request runs. Taking it out ends an unfinished one.
class Attached {
 public:
  Attached(CURLM* multi, CURL* easy)
      : multi_(multi), easy_(easy), code_(curl_multi_add_handle(multi, easy)) {}
  ~Attached() { curl_multi_remove_handle(multi_, easy_); }
  Attached(const Attached&) = delete;
  Attached& operator=(const Attached&) = delete;
  CURLMcode code() const { return code_; }

 private:
  CURLM* multi_;
  CURL* easy_;
  CURLMcode code_;
};

}  // namespace

Result<std::unique_ptr<Line>> Line::create() {
  if (!start_library()) return library_failed("starting", "no memory, or no source of random numbers");
  std::unique_ptr<Line> line(new Line);
  line->multi_ = curl_multi_init();
  line->easy_ = curl_easy_init();
  if (line->multi_ == nullptr || line->easy_ == nullptr) return library_failed("starting", "no memory");
  curl_multi_setopt(line->multi_, CURLMOPT_MAXCONNECTS, kMostConnections);
  return line;
}

Line::~Line() {
  if (easy_ != nullptr) curl_easy_cleanup(easy_);
  if (multi_ != nullptr) curl_multi_cleanup(multi_);
}

Result<CURLcode> Line::run(const Context& ctx, const Transfer& transfer,
                           std::chrono::milliseconds stalled_after) {
  watch_sockets();
  const Attached attached(multi_, easy_);
  if (attached.code() != CURLM_OK) return library_failed("sending", curl_multi_strerror(attached.code()));
  return run_attached(ctx, transfer, stalled_after);
}

Result<CURLcode> Line::run_attached(const Context& ctx, const Transfer& transfer,
                                    std::chrono::milliseconds stalled_after) {
  // libcurl may sleep in poll() when the stop comes.
  const std::stop_callback wake(ctx.stop, [this] { curl_multi_wakeup(multi_); });
  Moved before;
  auto last_moved = SteadyClock::now();
  for (;;) {
    int running = 0;
    if (const CURLMcode code = curl_multi_perform(multi_, &running); code != CURLM_OK)
      return library_failed("sending", curl_multi_strerror(code));
    if (running == 0) return verdict();
    TRY_OK(ctx.check());
    const auto now = SteadyClock::now();
    // Until the connection stands, connect_within holds.
    const Moved after = moved(transfer);
    if (after != before || !transfer.under_way()) {
      before = after;
      last_moved = now;
    }
    if (now - last_moved >= stalled_after) {
      return fail(Error{Code::kUnreachable, fmt::format("{} fell silent: nothing moved for {}",
                                                        transfer.origin(), to_human(stalled_after))}
                      .with_retry(Retry::kTransient));
    }
    const auto left = std::min(ctx.deadline, last_moved + stalled_after) - now;
    const auto wait = std::min(std::chrono::ceil<std::chrono::milliseconds>(left), kLongestWait);
    if (const CURLMcode code = curl_multi_poll(multi_, nullptr, 0, static_cast<int>(wait.count()), nullptr);
        code != CURLM_OK)
      return library_failed("waiting", curl_multi_strerror(code));
  }
}

CURLcode Line::verdict() {
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg == CURLMSG_DONE && message->easy_handle == easy_) return message->data.result;
  }
  return CURLE_GOT_NOTHING;
}

Line::Moved Line::moved(const Transfer& transfer) const {
  Moved out;
  curl_easy_getinfo(easy_, CURLINFO_SIZE_UPLOAD_T, &out.sent);
  curl_easy_getinfo(easy_, CURLINFO_SIZE_DOWNLOAD_T, &out.received);
  out.headers = transfer.header_bytes();
  // A slow link drains for minutes what the kernel took in a moment: megabytes, by its buffer.
  for (const int socket : sockets_) {
    int queued = 0;
    if (::ioctl(socket, SIOCOUTQ, &queued) == 0) out.in_kernel += queued;
  }
  return out;
}

void Line::watch_sockets() {
  curl_easy_setopt(easy_, CURLOPT_OPENSOCKETFUNCTION, &Line::open_socket);
  curl_easy_setopt(easy_, CURLOPT_OPENSOCKETDATA, this);
  curl_easy_setopt(easy_, CURLOPT_CLOSESOCKETFUNCTION, &Line::close_socket);
  curl_easy_setopt(easy_, CURLOPT_CLOSESOCKETDATA, this);
}

// libcurl itself lets child processes inherit them.
curl_socket_t Line::open_socket(void* line, curlsocktype, curl_sockaddr* address) {
  const int socket = ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  if (socket < 0) return CURL_SOCKET_BAD;
  static_cast<Line*>(line)->sockets_.push_back(socket);
  return socket;
}

int Line::close_socket(void* line, curl_socket_t socket) {
  std::erase(static_cast<Line*>(line)->sockets_, socket);
  return ::close(socket);
}

}  // namespace varve::net
