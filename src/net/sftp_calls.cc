// What one asks an SFTP server for: names and places. Bodies of files: sftp_files.cc.
#include <fmt/format.h>

#include "base/text.h"
#include "net/sftp.h"

namespace varve::net {
namespace {

constexpr uint32_t kForRead = 1;
constexpr uint32_t kHasPermissions = 4;

bool is_absent(const SftpReply& reply) {
  if (reply.type != SftpType::kStatus) return false;
  const auto verdict = parse_sftp_status(reply.body());
  return verdict && (verdict->code == SftpCode::kNoSuchFile || verdict->code == SftpCode::kNoSuchPath);
}

}  // namespace

Result<std::string> Sftp::real_path(const Context& ctx, const std::string& path) {
  SftpRequest r = request(SftpType::kRealpath);
  r.string(path);
  TRY_ASSIGN(const SftpReply reply, ask(ctx, std::move(r)));
  if (reply.type != SftpType::kName) return refusal(reply, "find", path);
  auto names = parse_sftp_names(reply.body());
  if (!names || names->size() != 1) return nonsense("no path, where one is due");
  return std::move((*names)[0].name);
}

Result<Sftp::Sight> Sftp::look(const Context& ctx, std::span<const std::string> paths,
                               const std::string& space_of) {
  auto all = [&]() -> Result<Sight> {
    std::vector<uint32_t> ids;
    for (const std::string& path : paths) {
      SftpRequest r = request(SftpType::kLstat);
      r.string(path);
      TRY_ASSIGN(const uint32_t id, send(ctx, r));
      ids.push_back(id);
    }
    std::optional<uint32_t> space;
    if (!space_of.empty() && offers_.space) {
      SftpRequest r = extended("statvfs@openssh.com");
      r.string(space_of);
      TRY_ASSIGN(space, send(ctx, r));
    }
    Sight out;
    for (size_t i = 0; i < ids.size(); ++i) {
      TRY_ASSIGN(const SftpReply reply, await(ctx, ids[i]));
      if (is_absent(reply)) {
        out.statuses.push_back(std::nullopt);
        continue;
      }
      if (reply.type != SftpType::kAttributes) return refusal(reply, "look at", paths[i]);
      auto status = parse_sftp_attributes(reply.body());
      if (!status) return nonsense(status.error().message);
      out.statuses.push_back(*status);
    }
    if (space) {
      TRY_ASSIGN(const SftpReply reply, await(ctx, *space));
      if (reply.type == SftpType::kExtendedReply) {
        if (auto told = parse_sftp_space(reply.body())) out.space = *told;
      }
    }
    return out;
  };
  auto out = all();
  if (!out) settle(ctx);
  return out;
}

Result<SftpStatus> Sftp::status(const Context& ctx, const std::string& path) {
  SftpRequest r = request(SftpType::kStat);
  r.string(path);
  TRY_ASSIGN(const SftpReply reply, ask(ctx, std::move(r)));
  if (reply.type != SftpType::kAttributes) return refusal(reply, "look at", path);
  auto status = parse_sftp_attributes(reply.body());
  if (!status) return nonsense(status.error().message);
  return status;
}

Result<> Sftp::link(const Context& ctx, const std::string& from, const std::string& to) {
  SftpRequest r = extended("hardlink@openssh.com");
  r.string(from).string(to);
  return ask_ok(ctx, std::move(r), "name", to);
}

Result<> Sftp::rename(const Context& ctx, const std::string& from, const std::string& to) {
  SftpRequest r = request(SftpType::kRename);
  r.string(from).string(to);
  return ask_ok(ctx, std::move(r), "name", to);
}

Result<> Sftp::replace(const Context& ctx, const std::string& from, const std::string& to) {
  if (!offers_.replace)
    return fail(Code::kUnsupported, fmt::format("{} cannot replace a file in one step", peer()));
  SftpRequest r = extended("posix-rename@openssh.com");
  r.string(from).string(to);
  return ask_ok(ctx, std::move(r), "replace", to);
}

Result<> Sftp::make_folder(const Context& ctx, const std::string& path, uint32_t mode) {
  SftpRequest r = request(SftpType::kMkdir);
  r.string(path).u32(kHasPermissions).u32(mode);
  return ask_ok(ctx, std::move(r), "make the folder", path);
}

Result<std::vector<Result<>>> Sftp::remove_files(const Context& ctx, std::span<const std::string> paths) {
  std::vector<uint32_t> ids;
  for (const std::string& path : paths) {
    SftpRequest r = request(SftpType::kRemove);
    r.string(path);
    TRY_ASSIGN(const uint32_t id, send(ctx, r));
    ids.push_back(id);
  }
  std::vector<Result<>> out;
  for (size_t i = 0; i < ids.size(); ++i) {
    auto removed = expect_ok(ctx, ids[i], "remove", paths[i]);
    if (broken_) return fail(std::move(removed).error());
    out.push_back(std::move(removed));
  }
  return out;
}

Result<> Sftp::sync_folder(const Context& ctx, const std::string& path, const std::string& doomed) {
  auto refused = [&] { return fail(Code::kUnsupported, fmt::format("{} cannot sync a folder", peer())); };
  if (!offers_.sync) return refused();
  SftpRequest r = request(SftpType::kOpen);
  r.string(path).u32(kForRead).u32(0);
  auto handle = open(ctx, std::move(r), "open", path);
  if (!handle) {
    if (broken_ || handle.error().code == Code::kNotFound) return fail(std::move(handle).error());
    return refused();
  }
  SftpRequest sync = extended("fsync@openssh.com");
  sync.string(*handle);
  TRY_ASSIGN(const uint32_t synced, send(ctx, sync));
  SftpRequest end = request(SftpType::kClose);
  end.string(*handle);
  TRY_ASSIGN(const uint32_t closed, send(ctx, end));
  std::optional<uint32_t> removed;
  if (!doomed.empty()) {
    SftpRequest remove = request(SftpType::kRemove);
    remove.string(doomed);
    TRY_ASSIGN(removed, send(ctx, remove));
  }
  auto done = expect_ok(ctx, synced, "sync", path);
  for (const uint32_t id : {closed, removed.value_or(closed)}) {
    if (!broken_ && awaits(id)) (void)await(ctx, id);
  }
  return done;
}

}  // namespace varve::net
