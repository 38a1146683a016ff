#include "net/ssh_agent.h"

#include <cerrno>
#include <fmt/format.h>
#include <sys/socket.h>
#include <system_error>

#include "net/ssh_known_hosts.h"

namespace varve::net {
namespace {

constexpr std::byte kFailure{5}, kAskKeys{11}, kKeys{12}, kAskSignature{13}, kSignature{14};
constexpr uint32_t kMostAnswer = 256 << 10;
constexpr uint32_t kMostKeys = 1024;
constexpr std::chrono::hours kPatience{1};  // the context ends it before

void put_u32(Buffer& to, size_t value) {
  std::byte bytes[4];
  store_be(bytes, static_cast<uint32_t>(value));
  append(to, bytes);
}

void put_string(Buffer& to, ByteView bytes) {
  put_u32(to, bytes.size());
  append(to, bytes);
}

Result<ByteView> take_string(ByteReader& reader) {
  TRY_ASSIGN(const uint32_t size, reader.be<uint32_t>());
  return reader.take(size);
}

tl::unexpected<Error> lost(int errnum) {
  return fail(Code::kUnreachable, errnum == 0 ? "the ssh-agent closed the connection"
                                              : fmt::format("the connection to the ssh-agent broke: {}",
                                                            std::generic_category().message(errnum)));
}

}  // namespace

Result<std::vector<AgentKey>> parse_agent_keys(ByteView body) {
  ByteReader reader(body);
  TRY_ASSIGN(const ByteView type, reader.take(1));
  if (type[0] != kKeys) return fail(Code::kDamaged, "the ssh-agent does not tell its keys");
  TRY_ASSIGN(const uint32_t count, reader.be<uint32_t>());
  if (count > kMostKeys) return fail(Code::kDamaged, "the ssh-agent tells of too many keys");
  std::vector<AgentKey> out;
  for (uint32_t i = 0; i < count; ++i) {
    TRY_ASSIGN(const ByteView blob, take_string(reader));
    TRY_ASSIGN(const ByteView comment, take_string(reader));
    if (!host_key_type(blob).empty()) out.push_back({to_buffer(blob), std::string(as_text(comment))});
  }
  return out;
}

Result<Buffer> parse_agent_signature(ByteView body, std::string_view algorithm) {
  ByteReader reader(body);
  TRY_ASSIGN(const ByteView type, reader.take(1));
  if (type[0] == kFailure) return fail(Code::kDenied, "the ssh-agent refused to sign");
  if (type[0] != kSignature) return fail(Code::kDamaged, "the ssh-agent answers something else");
  TRY_ASSIGN(const ByteView whole, take_string(reader));
  ByteReader inner(whole);
  TRY_ASSIGN(const ByteView name, take_string(inner));
  if (as_text(name) != algorithm)
    return fail(Code::kDamaged, fmt::format("the ssh-agent does not sign by {}", algorithm));
  TRY_ASSIGN(const ByteView signature, take_string(inner));
  return to_buffer(signature);
}

Result<SshAgent> SshAgent::connect(const Context& ctx, const std::string& path) {
  TRY_ASSIGN(Socket socket, connect_local(ctx, path));
  return SshAgent(std::move(socket));
}

Result<std::vector<AgentKey>> SshAgent::keys(const Context& ctx) {
  TRY_ASSIGN(const Buffer answer, ask(ctx, ByteView(&kAskKeys, 1)));
  return parse_agent_keys(answer);
}

Result<Buffer> SshAgent::sign(const Context& ctx, ByteView blob, ByteView data, std::string_view algorithm) {
  Buffer request;
  request.push_back(kAskSignature);
  put_string(request, blob);
  put_string(request, data);
  put_u32(request, algorithm == "rsa-sha2-256" ? 2 : algorithm == "rsa-sha2-512" ? 4 : 0);
  TRY_ASSIGN(const Buffer answer, ask(ctx, request));
  return parse_agent_signature(answer, algorithm);
}

Result<Buffer> SshAgent::ask(const Context& ctx, ByteView request) {
  Buffer framed;
  put_string(framed, request);
  TRY_OK(send(ctx, framed));
  std::byte head[4];
  TRY_OK(receive(ctx, head));
  const auto size = load_be<uint32_t>(head);
  if (size == 0 || size > kMostAnswer) return fail(Code::kDamaged, "the ssh-agent answers nonsense");
  Buffer answer(size);
  TRY_OK(receive(ctx, answer));
  return answer;
}

Result<> SshAgent::send(const Context& ctx, ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(socket_.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n >= 0) {
      bytes = bytes.subspan(static_cast<size_t>(n));
    } else if (errno == EAGAIN) {
      TRY_OK(wait_for(ctx, socket_.fd(), false, true, kPatience));
    } else if (errno != EINTR) {
      return lost(errno);
    }
  }
  return {};
}

Result<> SshAgent::receive(const Context& ctx, MutableBytes out) {
  while (!out.empty()) {
    const ssize_t n = ::recv(socket_.fd(), out.data(), out.size(), 0);
    if (n > 0) {
      out = out.subspan(static_cast<size_t>(n));
    } else if (n == 0) {
      return lost(0);
    } else if (errno == EAGAIN) {
      TRY_OK(wait_for(ctx, socket_.fd(), true, false, kPatience));
    } else if (errno != EINTR) {
      return lost(errno);
    }
  }
  return {};
}

}  // namespace varve::net
