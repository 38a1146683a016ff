#include "backup/sqlite/staging.h"

#include <fmt/format.h>
#include <sys/file.h>

#include "base/time.h"
#include "crypto/crypto.h"

namespace varve::backup::sqlite {
namespace {

constexpr std::string_view kMark = ".varve-restore-";
// What SQLite keeps beside a database. Left in place, an old WAL would be replayed into the restored file.
constexpr const char* kCompanions[] = {"-wal", "-shm", "-journal"};

// A restore under way holds a lock on its file; what nobody holds was left by one that was killed.
void remove_leftovers(const os::Path& folder, const std::string& prefix) {
  auto names = os::list_directory(folder);
  if (!names) return;
  for (const std::string& name : *names) {
    if (!name.starts_with(prefix)) continue;
    auto file = os::File::open(folder / name, os::File::Mode::kReadWrite);
    if (file && ::flock(file->fd(), LOCK_EX | LOCK_NB) == 0) (void)os::remove_file(folder / name);
  }
}

}  // namespace

Error target_exists(const os::Path& target) {
  return Error{
      Code::kConflict, fmt::format("{} exists", target.string()),
      "choose another --target, or say --force: the existing file is then kept beside, under a new name"};
}

Result<StagedFile> StagedFile::create(const os::Path& target) {
  const os::Path folder = target.parent_path();
  const std::string prefix = "." + target.filename().string() + std::string(kMark);
  remove_leftovers(folder, prefix);
  const auto random = crypto::random_array<6>();
  TRY_ASSIGN(os::File file, os::File::open(folder / (prefix + to_hex(random)), os::File::Mode::kCreateNew));
  (void)::flock(file.fd(), LOCK_EX | LOCK_NB);
  return StagedFile(std::move(file), target);
}

StagedFile::~StagedFile() {
  if (file_.is_open() && !published_) (void)os::remove_file(file_.path());
}

Result<> StagedFile::publish(bool replace, std::vector<std::string>* kept) {
  TRY_OK(file_.sync());
  if (!replace) {
    auto renamed = os::rename_no_replace(file_.path(), target_);
    if (!renamed && renamed.error().code == Code::kExists) return fail(target_exists(target_));
    TRY_OK(renamed);
  } else {
    std::string suffix = ".before-restore-" + to_rfc3339(std::chrono::floor<std::chrono::seconds>(now()));
    std::erase(suffix, ':');
    // Companions first: until the database itself moves, a killed restore leaves it readable without losing a
    // commit that was checkpointed; the moved WAL fits the moved database again by name.
    for (const char* companion : kCompanions) {
      const os::Path from = target_.string() + companion;
      TRY_ASSIGN(auto there, os::status(from));
      if (!there) continue;
      const os::Path to = target_.string() + suffix + companion;
      TRY_OK(os::rename_file(from, to));
      kept->push_back(to.string());
    }
    TRY_ASSIGN(auto there, os::status(target_));
    if (there) {
      const os::Path to = target_.string() + suffix;
      TRY_OK(os::rename_file(target_, to));
      kept->insert(kept->begin(), to.string());
    }
    TRY_OK(os::rename_no_replace(file_.path(), target_));
  }
  published_ = true;
  return os::sync_directory(target_.parent_path());
}

}  // namespace varve::backup::sqlite
