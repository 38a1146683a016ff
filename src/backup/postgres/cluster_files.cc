#include "backup/postgres/cluster_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <list>
#include <sys/stat.h>
#include <unistd.h>
#include <unordered_set>

#include "base/text.h"
#include "codec/codec.h"
#include "engine/postgres/control_file.h"

namespace varve::backup::postgres {

namespace db = engine::postgres;

namespace {

constexpr std::string_view kTablespaces = "pg_tblspc/";
constexpr std::string_view kTablespaceMap = "tablespace_map";

bool is_regular(const repo::FileRecord& f) {
  return f.attributes.type == static_cast<uint32_t>(engine::FileType::kRegular);
}

class FilesRestore {
 public:
  FilesRestore(const repo::Repository& repo, const Context& ctx, const TargetDirectory& target,
               repo::SlotReader& slots, const repo::Manifest& manifest, const db::CaptureData& data,
               const FilesOptions& options, Progress& progress)
      : ctx_(ctx),
        target_(target),
        slots_(slots),
        table_(slots, manifest),
        manifest_(manifest),
        data_(data),
        options_(options),
        progress_(progress),
        pages_(slots, progress),
        hasher_(repo.page_hasher()) {}

  Result<FilesRestored> run() {
    progress_.begin("restoring", manifest_.size, manifest_.files);
    TRY_OK(table_.for_each(
        [&](const repo::FileRecord& f) { return is_regular(f) ? Result<>{} : make_place(f); }));
    if (options_.delta) TRY_OK(remove_others());
    TRY_OK(table_.for_each([&](const repo::FileRecord& f) { return is_regular(f) ? file(f) : Result<>{}; }));
    TRY_OK(flush());
    // Last, so that a folder that we may not write to can still be filled.
    TRY_OK(table_.for_each([&](const repo::FileRecord& f) {
      if (f.attributes.type == static_cast<uint32_t>(engine::FileType::kDirectory))
        adopt(place(f), f.attributes);
      return Result<>{};
    }));
    repo::FileAttributes top;
    top.mode = data_.mode ? data_.mode : 0700;
    top.uid = data_.uid;
    top.gid = data_.gid;
    adopt(target_.path(), top);
    if (out_.control_file.empty())
      return fail(Code::kDamaged, fmt::format("backup {} has no {}", manifest_.id, db::kControlPath));
    return std::move(out_);
  }

 private:
  os::Path place(const repo::FileRecord& f) const { return target_.path() / f.attributes.path; }

  // Folders, and the links of tablespaces.
  Result<> make_place(const repo::FileRecord& f) {
    TRY_OK(ctx_.check());
    const os::Path path = place(f);
    if (f.attributes.type == static_cast<uint32_t>(engine::FileType::kDirectory)) {
      paths_.insert(f.attributes.path);
      return os::make_directories(path, 0700);
    }
    if (!f.attributes.path.starts_with(kTablespaces))
      return fail(Code::kDamaged,
                  fmt::format("{}: a link that no cluster has", printable(f.attributes.path)));
    return make_tablespace(path, f.attributes);
  }

  Result<> make_tablespace(const os::Path& link, const repo::FileAttributes& a) {
    paths_.insert(a.path);
    const auto mapped = options_.tablespaces.find(a.link_target);
    const os::Path there = mapped == options_.tablespaces.end() ? a.link_target : mapped->second;
    if (!there.is_absolute())
      return fail(Code::kUsage, fmt::format("{}: a tablespace needs an absolute path", there.string()));
    TRY_ASSIGN(const auto status, os::status(there));
    if (status && !options_.delta) {
      TRY_ASSIGN(const auto names, os::list_directory(there));
      if (!names.empty())
        return fail(Code::kConflict,
                    fmt::format("the place of a tablespace, {}, is not empty", there.string()),
                    fmt::format("give it another: --tablespace-map {}=/new/place", a.link_target));
    }
    TRY_OK(os::make_directories(there, 0700));
    if (::geteuid() == 0 && ::chown(there.c_str(), top_owner().uid, top_owner().gid) != 0) note_owner();
    TRY_OK(os::make_directories(link.parent_path(), 0700));
    TRY_ASSIGN(const auto old, os::status(link, false));
    if (old) TRY_OK(old->is_directory ? os::remove_tree(link) : os::remove_file(link));
    if (::symlink(there.c_str(), link.c_str()) != 0)
      return fail(os::errno_error(errno, "make the link", link));
    if (::geteuid() == 0 && ::lchown(link.c_str(), top_owner().uid, top_owner().gid) != 0) note_owner();
    moved_[a.path.substr(kTablespaces.size())] = there.string();
    return {};
  }

  // What the backup lacks: a server would take a file of a relation made later for one of its own.
  Result<> remove_others() {
    TRY_OK(table_.for_each([&](const repo::FileRecord& f) {
      paths_.insert(f.attributes.path);
      return Result<>{};
    }));
    return remove_others_in("");
  }
  Result<> remove_others_in(const std::string& folder) {
    TRY_OK(ctx_.check());
    const os::Path here = target_.path() / folder;
    TRY_ASSIGN(const auto names, os::list_directory(here));
    for (const std::string& name : names) {
      const std::string path = folder.empty() ? name : folder + "/" + name;
      if (path == kMarker) continue;
      TRY_ASSIGN(const auto status, os::status(here / name, false));
      if (!status) continue;
      const bool tablespace = status->is_symlink && paths_.contains(path);
      if (!paths_.contains(path)) {
        TRY_OK(status->is_directory ? os::remove_tree(here / name) : os::remove_file(here / name));
      } else if (status->is_directory || tablespace) {
        TRY_OK(remove_others_in(path));
      }
    }
    return {};
  }

  Result<> file(const repo::FileRecord& f) {
    TRY_OK(ctx_.check());
    const repo::FileAttributes& a = f.attributes;
    out_.bytes += a.size;
    ++out_.files;
    if (a.path == db::kControlPath) {
      out_.control_mode = a.mode & 0777;
      return read_small(f, out_.control_file);
    }
    if (a.path == kTablespaceMap) return tablespace_map(f);
    TRY_ASSIGN(os::File out, open(f));
    TRY_OK(os_attributes(out, a));
    if (options_.wanted && !options_.wanted(a.path)) {
      progress_.done_bytes += a.size;
    } else if (options_.delta) {
      TRY_OK(write_changed(f, out));
    } else {
      open_.push_back(std::move(out));
      TRY_OK(pages_.add(table_, f, open_.back()));
    }
    ++progress_.done_items;
    return pages_.is_full() ? flush() : Result<>{};
  }

  Result<os::File> open(const repo::FileRecord& f) {
    const os::Path path = place(f);
    TRY_ASSIGN(const auto there, os::status(path, false));
    if (there && !there->is_regular)
      TRY_OK(there->is_directory ? os::remove_tree(path) : os::remove_file(path));
    const bool keep = options_.delta && there && there->is_regular;
    TRY_ASSIGN(os::File out,
               os::File::open(path, keep ? os::File::Mode::kReadWrite : os::File::Mode::kCreateNew, 0600));
    TRY_OK(out.truncate(f.attributes.size));
    return out;
  }

  // Only pages whose content differs from what is there.
  Result<> write_changed(const repo::FileRecord& f, os::File& out) {
    const repo::FileAttributes& a = f.attributes;
    Buffer here;
    for (uint64_t s = 0; s < f.segments.size(); ++s) {
      TRY_OK(ctx_.check());
      TRY_ASSIGN(const repo::SegmentMap map, table_.map(f, s));
      TRY_ASSIGN(const std::vector<uint64_t> ids, table_.page_ids(map));
      for (uint32_t i = 0; i < map.pages.size(); ++i) {
        const uint64_t page = map.first_page + i;
        here.resize(a.page_bytes(page));
        TRY_OK(out.read_exact_at(page * a.page_size, here));
        progress_.done_bytes += here.size();
        const bool zeros = all_zero(here);
        if (map.is_zero(i) ? zeros : !zeros && hasher_(here) == ids[i]) {
          out_.kept += here.size();
          continue;
        }
        if (map.is_zero(i)) {
          std::fill(here.begin(), here.end(), std::byte{0});
        } else {
          TRY_OK(slots_.read_page(map.place(i), here));
        }
        TRY_OK(out.write_at(page * a.page_size, here));
      }
    }
    return {};
  }

  Result<> read_small(const repo::FileRecord& f, Buffer& out) {
    const repo::FileAttributes& a = f.attributes;
    constexpr uint64_t kSmall = 1 << 20;
    if (a.size > kSmall) return fail(Code::kDamaged, fmt::format("{} is too large", a.path));
    out.assign(a.size, std::byte{0});
    for (uint64_t s = 0; s < f.segments.size(); ++s) {
      TRY_ASSIGN(const repo::SegmentMap map, table_.map(f, s));
      for (uint32_t i = 0; i < map.pages.size(); ++i) {
        const uint64_t page = map.first_page + i;
        const auto bytes = MutableBytes(out).subspan(page * a.page_size, a.page_bytes(page));
        if (!map.is_zero(i)) TRY_OK(slots_.read_page(map.place(i), bytes));
      }
    }
    return {};
  }

  // The server makes the links anew from it: it must say where we put them. A line each: "16400 /path".
  Result<> tablespace_map(const repo::FileRecord& f) {
    Buffer content;
    TRY_OK(read_small(f, content));
    std::string out;
    for (const std::string_view line : split(as_text(content), '\n')) {
      const auto at = moved_.find(std::string(line.substr(0, line.find(' '))));
      if (!line.empty())
        out += at == moved_.end() ? std::string(line) + "\n" : fmt::format("{} {}\n", at->first, at->second);
    }
    TRY_OK(os::replace_file(place(f), as_bytes(out)));
    adopt(place(f), f.attributes);
    return {};
  }

  Result<> os_attributes(os::File& out, const repo::FileAttributes& a) {
    if (::fchmod(out.fd(), a.mode & 0777) != 0)
      return fail(os::errno_error(errno, "set the mode of", out.path()));
    const Owner owner = owner_of(a);
    if (::geteuid() == 0 && ::fchown(out.fd(), owner.uid, owner.gid) != 0) note_owner();
    return {};
  }
  void adopt(const os::Path& path, const repo::FileAttributes& a) {
    const Owner owner = owner_of(a);
    if (::chmod(path.c_str(), a.mode & 0777) != 0 ||
        (::geteuid() == 0 && ::chown(path.c_str(), owner.uid, owner.gid) != 0))
      note_owner();
  }
  using Owner = FilesOptions::Owner;
  Owner owner_of(const repo::FileAttributes& a) const { return options_.owner.value_or(Owner{a.uid, a.gid}); }
  Owner top_owner() const { return options_.owner.value_or(Owner{data_.uid, data_.gid}); }
  void note_owner() {
    if (!std::exchange(owner_noted_, true))
      out_.notes.push_back("some owners or modes could not be restored");
  }

  Result<> flush() {
    TRY_OK(pages_.flush());
    open_.clear();
    return {};
  }

  const Context& ctx_;
  const TargetDirectory& target_;
  repo::SlotReader& slots_;
  repo::FileTableReader table_;
  const repo::Manifest& manifest_;
  const db::CaptureData& data_;
  const FilesOptions& options_;
  Progress& progress_;
  PageWriter pages_;
  codec::PageHasher hasher_;
  std::list<os::File> open_;
  std::unordered_set<std::string> paths_;     // of the backup; the files only with delta
  std::map<std::string, std::string> moved_;  // a tablespace's oid → its place
  FilesRestored out_;
  bool owner_noted_ = false;
};

}  // namespace

Result<FilesRestored> restore_files(const repo::Repository& repo, const Context& ctx,
                                    const TargetDirectory& target, repo::SlotReader& slots,
                                    const repo::Manifest& manifest, const db::CaptureData& data,
                                    const FilesOptions& options, Progress& progress) {
  return FilesRestore(repo, ctx, target, slots, manifest, data, options, progress).run();
}

}  // namespace varve::backup::postgres
