#include <fmt/format.h>

#include "net/ssh.h"
#include "net/ssh_transport.h"

namespace varve::net {
namespace {

// What the server may send before we have read it: enough for a fast, distant one.
constexpr unsigned kWindow = 4u << 20;
constexpr unsigned kPacket = LIBSSH2_CHANNEL_PACKET_DEFAULT;

}  // namespace

struct SshSession::Impl {
  explicit Impl(const SshOptions& o) : options(o), transport(options) {}

  const SshOptions options;
  SshTransport transport;
  LIBSSH2_CHANNEL* channel = nullptr;  // freed with the transport's session
};

SshSession::SshSession(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SshSession::~SshSession() = default;

Result<std::unique_ptr<SshSession>> SshSession::connect(const Context& ctx, const SshOptions& options) {
  auto impl = std::make_unique<Impl>(options);
  const Context bounded = ctx.with_deadline(options.connect_within);
  auto connected = [&]() -> Result<> {
    TRY_OK(impl->transport.connect(bounded));
    return ssh_log_in(bounded, impl->transport, impl->options);
  }();
  if (!connected) {
    TRY_OK(ctx.check());
    if (SteadyClock::now() < bounded.deadline) return fail(std::move(connected).error());
    return fail(
        Error{Code::kUnreachable, fmt::format("{} did not let us in within {} s", impl->transport.peer(),
                                              options.connect_within.count() / 1000)}
            .with_retry(Retry::kTransient)
            .caused_by(std::move(connected).error()));
  }
  impl->transport.logged_in();
  return std::make_unique<SshSession>(std::move(impl));
}

Result<> SshSession::start_subsystem(const Context& ctx, const std::string& name) {
  SshTransport& t = impl_->transport;
  static constexpr std::string_view kType = "session", kRequest = "subsystem";
  TRY_ASSIGN(const long opened, t.settle(ctx, [&]() -> long {
    impl_->channel = ::libssh2_channel_open_ex(t.session(), kType.data(), static_cast<unsigned>(kType.size()),
                                               kWindow, kPacket, nullptr, 0);
    return impl_->channel != nullptr ? 0 : ::libssh2_session_last_errno(t.session());
  }));
  if (opened < 0 || impl_->channel == nullptr) return fail(t.error(opened, "opening a channel at"));
  // What the server's program says on its standard error would fill the window.
  (void)::libssh2_channel_handle_extended_data2(impl_->channel, LIBSSH2_CHANNEL_EXTENDED_DATA_IGNORE);
  TRY_ASSIGN(const long started, t.settle(ctx, [&] {
    return ::libssh2_channel_process_startup(impl_->channel, kRequest.data(),
                                             static_cast<unsigned>(kRequest.size()), name.data(),
                                             static_cast<unsigned>(name.size()));
  }));
  if (started == 0) return {};
  Error failed = t.error(started, fmt::format("starting {} at", name));
  if (started == LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED) {
    failed.code = Code::kDenied;
    failed.hint = fmt::format("the server offers no {} (Subsystem in its sshd_config)", name);
  }
  return fail(std::move(failed));
}

Result<> SshSession::write(const Context& ctx, ByteView bytes) {
  while (!bytes.empty()) {
    TRY_ASSIGN(const long n, impl_->transport.settle(ctx, [&] {
      return static_cast<long>(::libssh2_channel_write_ex(
          impl_->channel, 0, reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    }));
    if (n < 0) return fail(impl_->transport.error(n, "sending to"));
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Result<> SshSession::read(const Context& ctx, MutableBytes out) {
  while (!out.empty()) {
    TRY_ASSIGN(const long n, impl_->transport.settle(ctx, [&] {
      return static_cast<long>(
          ::libssh2_channel_read_ex(impl_->channel, 0, reinterpret_cast<char*>(out.data()), out.size()));
    }));
    if (n < 0) return fail(impl_->transport.error(n, "receiving from"));
    if (n == 0) {
      return fail(Error{Code::kUnreachable, fmt::format("{} closed the connection", peer())}.with_retry(
          Retry::kTransient));
    }
    out = out.subspan(static_cast<size_t>(n));
  }
  return {};
}

bool SshSession::still_open() {
  if (!impl_->transport.looks_open()) return false;
  if (impl_->channel == nullptr) return true;
  // Nothing is due, so that a byte would be as wrong as an end.
  char byte = 0;
  return ::libssh2_channel_read_ex(impl_->channel, 0, &byte, 1) == LIBSSH2_ERROR_EAGAIN &&
         ::libssh2_channel_eof(impl_->channel) == 0;
}

const std::string& SshSession::peer() const {
  return impl_->transport.peer();
}

std::string SshSession::algorithms() const {
  std::string out;
  for (int method :
       {LIBSSH2_METHOD_KEX, LIBSSH2_METHOD_HOSTKEY, LIBSSH2_METHOD_CRYPT_CS, LIBSSH2_METHOD_MAC_CS}) {
    const char* name = ::libssh2_session_methods(impl_->transport.session(), method);
    out += (out.empty() ? "" : ", ") + std::string(name == nullptr ? "?" : name);
  }
  return out;
}

}  // namespace varve::net
