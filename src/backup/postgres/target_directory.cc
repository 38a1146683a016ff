#include "backup/postgres/target_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include "base/text.h"
#include "engine/postgres/control_file.h"

namespace varve::backup::postgres {

namespace db = engine::postgres;

namespace {

tl::unexpected<Error> occupied(const os::Path& path, std::string_view what) {
  return fail(Code::kConflict, fmt::format("{} {}", path.string(), what),
              "choose an empty --target, or --delta to bring that cluster back to the state asked for");
}

// The first line of postmaster.pid is the server's process. One that cannot be read, or whose process is
// there, may be running.
Result<bool> server_may_run(const os::Path& path) {
  const os::Path file = path / "postmaster.pid";
  TRY_ASSIGN(const auto there, os::status(file));
  if (!there) return false;
  TRY_ASSIGN(const Buffer content, os::read_file(file, 64 << 10));
  const std::string text(as_text(content));
  char* end = nullptr;
  const long pid = std::strtol(text.c_str(), &end, 10);
  if (end == text.c_str() || pid <= 0) return true;
  return ::kill(static_cast<pid_t>(pid), 0) == 0 || errno != ESRCH;
}

Result<> sync_file_system(const os::Path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return fail(os::errno_error(errno, "open", path));
  const int failed = ::syncfs(fd) == 0 ? 0 : errno;
  ::close(fd);
  if (failed) return fail(os::errno_error(failed, "sync", path));
  return {};
}

}  // namespace

Result<TargetDirectory> TargetDirectory::prepare(const Context& ctx, const os::Path& path, uint64_t system_id,
                                                 bool delta) {
  TargetDirectory out(std::filesystem::absolute(path).lexically_normal());
  if (!out.path_.has_filename()) out.path_ = out.path_.parent_path();
  TRY_ASSIGN(const auto there, os::status(out.path_));
  if (!there) {
    TRY_OK(os::make_directories(out.path_, 0700));
    return out;
  }
  if (!there->is_directory) return occupied(out.path_, "is no folder");
  TRY_ASSIGN(const auto names, os::list_directory(out.path_));
  if (names.empty()) return out;
  out.had_files_ = true;
  TRY_ASSIGN(const bool running, server_may_run(out.path_));
  if (running)
    return fail(Code::kConflict, fmt::format("a server may be running in {}", out.path_.string()),
                "stop it first (or, if it is gone for certain, remove its postmaster.pid)");
  const os::Path marker = out.path_ / kMarker;
  TRY_ASSIGN(const auto unfinished, os::status(marker));
  std::string found;
  if (unfinished) {
    TRY_ASSIGN(const Buffer content, os::read_file(marker, 4096));
    found = as_text(content);
    if (!delta)
      return fail(Code::kConflict, fmt::format("{} holds a restore that did not end", out.path_.string()),
                  "--delta goes on with it; or choose an empty --target");
  } else {
    if (!delta) return occupied(out.path_, "is not empty");
    auto control = db::read_control_file(ctx, out.path_);
    if (!control) return occupied(out.path_, "is not empty, and holds no cluster that could be recognised");
    found = std::to_string(control->control.system_id);
  }
  if (found != std::to_string(system_id))
    return fail(Code::kConflict,
                fmt::format("{} holds another cluster (system identifier {}, the backup's is {})",
                            out.path_.string(), printable(found), system_id),
                "choose an empty --target");
  return out;
}

Result<> TargetDirectory::begin(uint64_t system_id) const {
  TRY_OK(os::replace_file(path_ / kMarker, as_bytes(std::to_string(system_id))));
  const os::Path control = path_ / db::kControlPath;
  TRY_ASSIGN(const auto there, os::status(control, false));
  if (!there) return {};
  TRY_OK(os::remove_file(control));
  return os::sync_directory(control.parent_path());
}

Result<> TargetDirectory::finish(ByteView control_file, uint32_t mode) const {
  TRY_ASSIGN(const auto folder, os::status(path_));
  TRY_OK(sync_file_system(path_));
  const os::Path tablespaces = path_ / "pg_tblspc";
  TRY_OK(os::for_each_entry(tablespaces,
                            [&](const os::Entry& e) { return sync_file_system(tablespaces / e.name); }));
  const os::Path control = path_ / db::kControlPath, ready = control.native() + ".varve";
  TRY_OK(os::replace_file(ready, control_file, mode));
  if (::geteuid() == 0 && ::chown(ready.c_str(), folder->uid, folder->gid) != 0)
    return fail(os::errno_error(errno, "give its owner", ready));
  TRY_OK(os::rename_file(ready, control));
  TRY_OK(os::sync_directory(control.parent_path()));
  TRY_OK(os::remove_file(path_ / kMarker));
  return os::sync_directory(path_);
}

}  // namespace varve::backup::postgres
