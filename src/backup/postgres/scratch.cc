#include "backup/postgres/scratch.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <pwd.h>
#include <signal.h>
#include <unistd.h>
#include <utility>

#include "base/log.h"
#include "base/text.h"
#include "os/process.h"

namespace varve::backup::postgres {

namespace {

constexpr std::string_view kPrefix = "varve-table-";
constexpr std::string_view kOwnerFile = "varve-scratch";  // the process that made the folder
constexpr std::string_view kPidFile = "postmaster.pid";
constexpr std::chrono::seconds kStopTime{60};

std::string to_text(const os::ProcessIdentity& id) {
  return fmt::format("{}\n{}\n{}\n{}\n", id.host, id.boot, id.pid, id.started);
}

std::optional<os::ProcessIdentity> from_text(std::string_view text) {
  const auto lines = split(text, '\n');
  if (lines.size() < 4) return std::nullopt;
  os::ProcessIdentity out{.host = std::string(lines[0]), .boot = std::string(lines[1])};
  const auto number = [](std::string_view t, auto& to) {
    return std::from_chars(t.data(), t.data() + t.size(), to).ec == std::errc();
  };
  if (!number(lines[2], out.pid) || !number(lines[3], out.started)) return std::nullopt;
  return out;
}

// Of a run that can be at work no more: its process is gone, or the machine was started anew since.
bool is_abandoned(const os::Path& folder) {
  const auto text = os::read_file(folder / kOwnerFile, 4096);
  const auto made_by = text ? from_text(as_text(*text)) : std::nullopt;
  if (!made_by) return false;
  const os::ProcessIdentity us = os::self_identity();
  if (made_by->host == us.host && made_by->boot != us.boot) return true;
  return os::liveness(*made_by) == os::Liveness::kDead;
}

// The server of an abandoned folder, if it still runs. Its number alone could be another process's by now: a
// server works in its data directory.
std::optional<db::RunningServer> server_in(const os::Path& folder) {
  const os::Path data = folder / "data";
  const auto text = os::read_file(data / kPidFile, 4096);
  if (!text) return std::nullopt;
  int64_t pid = 0;
  const std::string_view first = split(as_text(*text), '\n').front();
  if (std::from_chars(first.data(), first.data() + first.size(), pid).ec != std::errc() || pid <= 1)
    return std::nullopt;
  std::error_code failed;
  const os::Path works_in = std::filesystem::read_symlink(fmt::format("/proc/{}/cwd", pid), failed);
  if (failed || works_in != std::filesystem::canonical(data, failed) || failed) return std::nullopt;
  db::RunningServer out;
  out.data_directory = data;
  out.process = os::identity_of(pid);
  return out;
}

// Nobody waits for what it would still write.
Result<> stop_now(const db::RunningServer& server) {
  const Context ctx = Context{}.with_deadline(kStopTime);
  return db::stop_server(ctx, server, std::chrono::seconds(0));
}

void sweep(const Context& ctx, const os::Path& parent) {
  const auto names = os::list_directory(parent);
  if (!names) return;
  for (const std::string& name : *names) {
    const os::Path folder = parent / name;
    if (!name.starts_with(kPrefix) || !ctx.check() || !is_abandoned(folder)) continue;
    if (const auto server = server_in(folder)) {
      if (const auto stopped = stop_now(*server); !stopped) {
        log::warn("the server of an interrupted restore in {} does not end: {}", printable(folder.native()),
                  stopped.error().describe());
        continue;
      }
    }
    if (const auto removed = os::remove_tree(folder); !removed)
      log::warn("what an interrupted restore left cannot be removed: {}", removed.error().describe());
    else
      log::info("removed {}, which an interrupted restore had left", printable(folder.native()));
  }
}

std::optional<ScratchOwner> account_named(const char* name) {
  passwd entry;
  passwd* found = nullptr;
  std::array<char, 16384> buffer;
  if (::getpwnam_r(name, &entry, buffer.data(), buffer.size(), &found) != 0 || !found) return std::nullopt;
  return ScratchOwner{found->pw_uid, found->pw_gid};
}

// Only for root: another user needs the right to pass through every folder above.
Result<> ensure_reachable(const os::Path& folder, const ScratchOwner& owner) {
  for (os::Path at = folder; at.has_relative_path(); at = at.parent_path()) {
    TRY_ASSIGN(const auto status, os::status(at));
    if (!status) return fail(os::errno_error(ENOENT, "open", at));
    const bool passes = (status->mode & 0001) != 0 ||
                        (status->uid == owner.uid && (status->mode & 0100) != 0) ||
                        (status->gid == owner.gid && (status->mode & 0010) != 0);
    if (!passes)
      return fail(Code::kDenied,
                  fmt::format("the scratch server's user may not enter {}", printable(at.native())),
                  "name a folder that it may enter: --scratch /var/tmp");
  }
  return {};
}

}  // namespace

Result<Scratch> Scratch::create(const Context& ctx, const os::Path& parent, ScratchOwner fallback) {
  os::Path base = parent;
  if (base.empty()) {
    const char* tmp = ::getenv("TMPDIR");
    base = tmp && *tmp ? tmp : "/tmp";
  }
  base = std::filesystem::absolute(base).lexically_normal();
  if (!base.has_filename()) base = base.parent_path();
  TRY_OK(os::make_directories(base, 0755));
  sweep(ctx, base);
  std::optional<ScratchOwner> owner;
  if (::geteuid() == 0) {
    owner = account_named("postgres").value_or(fallback);
    if (owner->uid == 0)
      return fail(Code::kDenied, "PostgreSQL does not run as root, and there is no user postgres",
                  "run as another user");
    TRY_OK(ensure_reachable(base, *owner));
  }
  std::string name = (base / (std::string(kPrefix) + "XXXXXX")).native();
  if (::mkdtemp(name.data()) == nullptr) return fail(os::errno_error(errno, "create a folder in", base));
  Scratch out(name);
  out.owner_ = owner;
  TRY_OK(os::replace_file(out.path_ / kOwnerFile, as_bytes(to_text(os::self_identity()))));
  TRY_OK(out.give(out.path_));
  TRY_OK(out.clear(ctx));
  return out;
}

Scratch::Scratch(Scratch&& other) noexcept
    : path_(std::exchange(other.path_, {})),
      owner_(other.owner_),
      server_(std::exchange(other.server_, std::nullopt)) {}

Scratch::~Scratch() {
  if (const auto removed = remove(); !removed)
    log::warn("the scratch database cannot be removed: {}", removed.error().describe());
}

Result<> Scratch::give(const os::Path& path) const {
  if (owner_ && ::lchown(path.c_str(), owner_->uid, owner_->gid) != 0)
    return fail(os::errno_error(errno, "change the owner of", path));
  return {};
}

Result<> Scratch::clear(const Context& ctx) {
  TRY_OK(ctx.check());
  TRY_OK(stop_server());
  for (const os::Path& folder : {data(), sockets(), tablespaces()}) {
    TRY_OK(os::remove_tree(folder));
    TRY_OK(os::make_directories(folder, 0700));
    TRY_OK(give(folder));
  }
  return {};
}

Result<db::RunningServer> Scratch::start(const Context& ctx, const db::Binaries& binaries,
                                         const db::ServerOptions& options) {
  TRY_ASSIGN(server_, db::start_server(ctx, data(), binaries, options));
  return *server_;
}

Result<> Scratch::stop_server() {
  if (!server_) return {};
  TRY_OK(stop_now(*server_));
  server_.reset();
  return {};
}

Result<> Scratch::remove() {
  if (path_.empty()) return {};
  // A folder whose server may still write is left for the next run.
  TRY_OK(stop_server());
  return os::remove_tree(std::exchange(path_, {}));
}

}  // namespace varve::backup::postgres
