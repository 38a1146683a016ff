#include "net/sftp.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"

namespace varve::net {
namespace {

constexpr uint32_t kVersion = 3;
constexpr uint32_t kMostPacket = 1 << 20;  // the common servers stay below 256 KiB
constexpr size_t kSafePiece = 32768;       // what every server must take
constexpr size_t kMostPiece = 255 << 10;   // what OpenSSH takes

size_t piece(uint64_t limit) {
  return static_cast<size_t>(std::clamp<uint64_t>(limit, kSafePiece, kMostPiece));
}

Code code_of(SftpCode code) {
  switch (code) {
    case SftpCode::kNoSuchFile:
    case SftpCode::kNoSuchPath:
      return Code::kNotFound;
    case SftpCode::kPermissionDenied:
    case SftpCode::kWriteProtected:
      return Code::kDenied;
    case SftpCode::kExists:
      return Code::kExists;
    case SftpCode::kNoSpace:
    case SftpCode::kQuotaExceeded:
      return Code::kNoSpace;
    case SftpCode::kUnsupported:
      return Code::kUnsupported;
    default:
      return Code::kUnreachable;
  }
}

std::string_view name_of(SftpCode code) {
  switch (code) {
    case SftpCode::kNoSuchFile:
    case SftpCode::kNoSuchPath:
      return "there is no such file";
    case SftpCode::kPermissionDenied:
      return "permission denied";
    case SftpCode::kUnsupported:
      return "the server cannot do that";
    case SftpCode::kFailure:
      return "the server gives no reason (\"failure\")";
    default:
      return "";
  }
}

}  // namespace

Result<std::unique_ptr<Sftp>> Sftp::connect(const Context& ctx, const SshOptions& options) {
  TRY_ASSIGN(auto session, SshSession::connect(ctx, options));
  std::unique_ptr<Sftp> out(new Sftp(std::move(session)));
  const Context bounded = ctx.with_deadline(options.connect_within);
  TRY_OK(out->session_->start_subsystem(bounded, "sftp"));
  TRY_OK(out->begin(bounded));
  log::debug("connected to {} ({})", out->peer(), out->session_->algorithms());
  return out;
}

Result<> Sftp::begin(const Context& ctx) {
  read_piece_ = write_piece_ = kSafePiece;
  SftpRequest hello(SftpType::kInit, kVersion);
  TRY_OK(session_->write(ctx, hello.finish()));
  awaited_.insert(kVersion);
  TRY_ASSIGN(const SftpReply answer, receive(ctx));
  if (answer.type != SftpType::kVersion) return nonsense("it speaks another version of SFTP than 3");
  auto extensions = parse_sftp_extensions(answer.body());
  if (!extensions) return nonsense(extensions.error().message);
  bool limits = false;
  for (const SftpExtension& e : *extensions) {
    if (e.name == "fsync@openssh.com") offers_.sync = true;
    if (e.name == "hardlink@openssh.com") offers_.link = true;
    if (e.name == "posix-rename@openssh.com") offers_.replace = true;
    if (e.name == "statvfs@openssh.com" && e.data == "2") offers_.space = true;
    if (e.name == "limits@openssh.com") limits = true;
  }
  if (!limits) return {};
  TRY_ASSIGN(const SftpReply reply, ask(ctx, extended("limits@openssh.com")));
  if (reply.type != SftpType::kExtendedReply) return {};
  auto told = parse_sftp_limits(reply.body());
  if (!told) return nonsense(told.error().message);
  read_piece_ = piece(told->read);
  write_piece_ = piece(told->write);
  return {};
}

SftpRequest Sftp::request(SftpType type) {
  return SftpRequest(type, next_id_++);
}

SftpRequest Sftp::extended(std::string_view name) {
  SftpRequest out = request(SftpType::kExtended);
  out.string(name);
  return out;
}

Result<uint32_t> Sftp::send(const Context& ctx, SftpRequest& request) {
  const ByteView packet = request.finish();
  const auto id = load_be<uint32_t>(packet.data() + 5);
  if (broken_) return fail(Code::kInternal, "a broken connection is used");
  auto sent = session_->write(ctx, packet);
  if (!sent) {
    broken_ = true;
    return fail(std::move(sent).error());
  }
  awaited_.insert(id);
  return id;
}

Result<SftpReply> Sftp::receive(const Context& ctx) {
  if (broken_) return fail(Code::kInternal, "a broken connection is used");
  broken_ = true;  // until a whole packet is in
  std::byte head[4];
  TRY_OK(session_->read(ctx, head));
  const auto size = load_be<uint32_t>(head);
  if (size < 5 || size > kMostPacket) return nonsense("a packet of a wrong size");
  Buffer packet(size);
  TRY_OK(session_->read(ctx, packet));
  TRY_ASSIGN(SftpReply reply, parse_sftp_reply(std::move(packet)));
  if (awaited_.erase(reply.id) == 0) return nonsense("an answer that nobody asked for");
  broken_ = false;
  return reply;
}

Result<SftpReply> Sftp::await(const Context& ctx, uint32_t id) {
  for (;;) {
    if (auto it = arrived_.find(id); it != arrived_.end()) {
      SftpReply out = std::move(it->second);
      arrived_.erase(it);
      return out;
    }
    TRY_ASSIGN(SftpReply reply, receive(ctx));
    if (reply.id == id) return reply;
    arrived_.emplace(reply.id, std::move(reply));
  }
}

Result<SftpReply> Sftp::ask(const Context& ctx, SftpRequest request) {
  TRY_ASSIGN(const uint32_t id, send(ctx, request));
  return await(ctx, id);
}

Result<> Sftp::expect_ok(const Context& ctx, uint32_t id, std::string_view doing, const std::string& path) {
  TRY_ASSIGN(const SftpReply reply, await(ctx, id));
  if (reply.type != SftpType::kStatus) return nonsense("not a status, where one is due");
  auto verdict = parse_sftp_status(reply.body());
  if (!verdict) return nonsense(verdict.error().message);
  if (verdict->code == SftpCode::kOk) return {};
  return fail(error_of(*verdict, doing, path));
}

Result<> Sftp::ask_ok(const Context& ctx, SftpRequest request, std::string_view doing,
                      const std::string& path) {
  TRY_ASSIGN(const uint32_t id, send(ctx, request));
  return expect_ok(ctx, id, doing, path);
}

Error Sftp::error_of(const SftpVerdict& verdict, std::string_view doing, const std::string& path) const {
  const std::string_view known = name_of(verdict.code);
  const std::string why = !known.empty() ? std::string(known)
                          : !verdict.words.empty()
                              ? verdict.words
                              : fmt::format("status {}", static_cast<uint32_t>(verdict.code));
  Error out{code_of(verdict.code),
            fmt::format("cannot {} {} at {}: {}", doing, printable(path), peer(), why)};
  if (verdict.code == SftpCode::kNoConnection || verdict.code == SftpCode::kConnectionLost)
    out.retry = Retry::kTransient;
  if (out.code == Code::kNoSpace) out.hint = "free some space on the server, or raise the quota";
  return out;
}

tl::unexpected<Error> Sftp::refusal(const SftpReply& reply, std::string_view doing, const std::string& path) {
  if (reply.type != SftpType::kStatus) return nonsense("another kind of answer than the one that is due");
  auto verdict = parse_sftp_status(reply.body());
  if (!verdict) return nonsense(verdict.error().message);
  if (verdict->code == SftpCode::kOk) return nonsense("\"done\", where an answer is due");
  return fail(error_of(*verdict, doing, path));
}

tl::unexpected<Error> Sftp::nonsense(std::string_view what) {
  broken_ = true;
  return fail(Code::kUnreachable, fmt::format("{} breaks the protocol: {}", peer(), what),
              "is it an SFTP server? A log-in script that prints something breaks the protocol, too");
}

void Sftp::settle(const Context& ctx) {
  arrived_.clear();
  while (!broken_ && !awaited_.empty()) {
    if (!receive(ctx)) broken_ = true;
  }
}

Result<std::string> Sftp::open(const Context& ctx, SftpRequest request, std::string_view doing,
                               const std::string& path) {
  TRY_ASSIGN(const SftpReply reply, ask(ctx, std::move(request)));
  if (reply.type != SftpType::kHandle) return refusal(reply, doing, path);
  auto handle = parse_sftp_handle(reply.body());
  if (!handle) return nonsense(handle.error().message);
  return handle;
}

Result<> Sftp::close(const Context& ctx, const std::string& handle, const std::string& path) {
  SftpRequest r = request(SftpType::kClose);
  r.string(handle);
  return ask_ok(ctx, std::move(r), "close", path);
}

}  // namespace varve::net
