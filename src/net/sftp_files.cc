#include <algorithm>
#include <deque>
#include <fmt/format.h>

#include "base/text.h"
#include "net/sftp.h"

namespace varve::net {
namespace {

constexpr uint32_t kForRead = 1, kForWrite = 2, kCreate = 8, kExclusive = 32;
constexpr uint32_t kHasPermissions = 4;
constexpr size_t kMostAhead = size_t{4} << 20;  // bytes asked for or sent, and not answered yet
constexpr size_t kNamesAhead = 2;               // the second usually says that there are no more

}  // namespace

Result<> Sftp::write_new(const Context& ctx, const std::string& path, std::span<const ByteView> body,
                         uint32_t mode) {
  SftpRequest r = request(SftpType::kOpen);
  r.string(path).u32(kForWrite | kCreate | kExclusive).u32(kHasPermissions).u32(mode);
  TRY_ASSIGN(const std::string handle, open(ctx, std::move(r), "make", path));
  auto written = send_body(ctx, handle, body, path);
  settle(ctx);
  if (broken_) return written;
  if (!written) {
    (void)close(ctx, handle, path);
    return written;
  }
  // Requests that concern one file are carried out in the order in which they were sent.
  std::optional<uint32_t> synced;
  if (offers_.sync) {
    SftpRequest sync = extended("fsync@openssh.com");
    sync.string(handle);
    TRY_ASSIGN(synced, send(ctx, sync));
  }
  SftpRequest end = request(SftpType::kClose);
  end.string(handle);
  TRY_ASSIGN(const uint32_t closed, send(ctx, end));
  if (synced) written = expect_ok(ctx, *synced, "sync", path);
  if (broken_) return written;
  auto ended = expect_ok(ctx, closed, "close", path);
  return written ? ended : written;
}

Result<> Sftp::send_body(const Context& ctx, const std::string& handle, std::span<const ByteView> body,
                         const std::string& path) {
  struct Sent {
    uint32_t id;
    size_t size;
  };
  std::deque<Sent> under_way;
  size_t ahead = 0;
  uint64_t at = 0;
  size_t piece = 0, offset = 0;  // the place in the body
  uint64_t left = 0;
  for (const ByteView& p : body) left += p.size();
  while (left > 0 || !under_way.empty()) {
    if (left > 0 && ahead < kMostAhead) {
      const auto size = static_cast<size_t>(std::min<uint64_t>(left, write_piece_));
      SftpRequest r = request(SftpType::kWrite);
      r.reserve(size + 64 + handle.size());
      r.string(handle).u64(at).u32(static_cast<uint32_t>(size));
      for (size_t due = size; due > 0;) {
        while (offset == body[piece].size()) ++piece, offset = 0;
        const ByteView part = body[piece].subspan(offset, std::min(due, body[piece].size() - offset));
        r.bytes(part);
        offset += part.size();
        due -= part.size();
      }
      TRY_ASSIGN(const uint32_t id, send(ctx, r));
      under_way.push_back({id, size});
      ahead += size;
      at += size;
      left -= size;
      continue;
    }
    const Sent first = under_way.front();
    under_way.pop_front();
    ahead -= first.size;
    TRY_OK(expect_ok(ctx, first.id, "write", path));
  }
  return {};
}

Result<uint64_t> Sftp::read(const Context& ctx, const std::string& path, uint64_t offset, uint64_t length,
                            const Sink& sink) {
  SftpRequest r = request(SftpType::kOpen);
  r.string(path).u32(kForRead).u32(0);
  TRY_ASSIGN(const std::string handle, open(ctx, std::move(r), "open", path));
  auto delivered = [&]() -> Result<uint64_t> {
    SftpRequest look = request(SftpType::kFstat);
    look.string(handle);
    TRY_ASSIGN(const SftpReply reply, ask(ctx, std::move(look)));
    if (reply.type != SftpType::kAttributes) return refusal(reply, "look at", path);
    auto status = parse_sftp_attributes(reply.body());
    if (!status) return nonsense(status.error().message);
    if (offset < status->size && length > 0) {
      const uint64_t end = offset + std::min(length, status->size - offset);
      TRY_OK(receive_range(ctx, handle, offset, end, sink, path));
    }
    return status->size;
  }();
  settle(ctx);
  if (!broken_) (void)close(ctx, handle, path);
  return delivered;
}

Result<> Sftp::receive_range(const Context& ctx, const std::string& handle, uint64_t offset, uint64_t end,
                             const Sink& sink, const std::string& path) {
  struct Asked {
    uint32_t id;
    uint64_t at;
    size_t size;
  };
  std::deque<Asked> under_way;
  uint64_t next = offset;
  auto ask_for = [&](uint64_t at, size_t size) -> Result<Asked> {
    SftpRequest r = request(SftpType::kRead);
    r.string(handle).u64(at).u32(static_cast<uint32_t>(size));
    TRY_ASSIGN(const uint32_t id, send(ctx, r));
    return Asked{id, at, size};
  };
  while (next < end || !under_way.empty()) {
    while (next < end && under_way.size() * read_piece_ < kMostAhead) {
      TRY_ASSIGN(const Asked asked,
                 ask_for(next, static_cast<size_t>(std::min<uint64_t>(read_piece_, end - next))));
      under_way.push_back(asked);
      next += asked.size;
    }
    const Asked first = under_way.front();
    under_way.pop_front();
    TRY_OK(ctx.check());
    TRY_ASSIGN(const SftpReply reply, await(ctx, first.id));
    if (reply.type != SftpType::kData) {
      const auto verdict = reply.type == SftpType::kStatus ? parse_sftp_status(reply.body()) : SftpVerdict{};
      if (verdict && verdict->code == SftpCode::kEof)
        return fail(Code::kDamaged, fmt::format("{} at {} is shorter than it was", printable(path), peer()));
      return refusal(reply, "read", path);
    }
    auto data = parse_sftp_data(reply.body());
    if (!data) return nonsense(data.error().message);
    if (data->empty() || data->size() > first.size) return nonsense("more or less data than was asked for");
    TRY_OK(sink(*data));
    if (data->size() == first.size) continue;
    // It gives less at once than we ask for: take the rest before what follows, and ask for as much from now
    // on.
    read_piece_ = std::max(data->size(), size_t{4096});
    TRY_ASSIGN(const Asked rest, ask_for(first.at + data->size(), first.size - data->size()));
    under_way.push_front(rest);
  }
  return {};
}

Result<> Sftp::entries(const Context& ctx, const std::string& path,
                       const std::function<Result<>(SftpEntry&&)>& callback) {
  SftpRequest r = request(SftpType::kOpendir);
  r.string(path);
  TRY_ASSIGN(const std::string handle, open(ctx, std::move(r), "list", path));
  auto done = receive_entries(ctx, handle, callback, path);
  settle(ctx);
  if (!broken_) (void)close(ctx, handle, path);
  return done;
}

Result<> Sftp::receive_entries(const Context& ctx, const std::string& handle,
                               const std::function<Result<>(SftpEntry&&)>& callback,
                               const std::string& path) {
  std::deque<uint32_t> under_way;
  for (;;) {
    while (under_way.size() < kNamesAhead) {
      SftpRequest r = request(SftpType::kReaddir);
      r.string(handle);
      TRY_ASSIGN(const uint32_t id, send(ctx, r));
      under_way.push_back(id);
    }
    const uint32_t first = under_way.front();
    under_way.pop_front();
    TRY_ASSIGN(const SftpReply reply, await(ctx, first));
    if (reply.type != SftpType::kName) {
      const auto verdict = reply.type == SftpType::kStatus ? parse_sftp_status(reply.body()) : SftpVerdict{};
      if (verdict && verdict->code == SftpCode::kEof) return {};
      return refusal(reply, "list", path);
    }
    auto names = parse_sftp_names(reply.body());
    if (!names) return nonsense(names.error().message);
    for (SftpEntry& entry : *names) {
      if (entry.name != "." && entry.name != "..") TRY_OK(callback(std::move(entry)));
    }
  }
}

}  // namespace varve::net
