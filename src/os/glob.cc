#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"
#include "os/file.h"

namespace varve::os {
namespace {

// Folders below a "**": deeper than any sane tree, so that a mistake ends.
constexpr int kMostDepth = 64;

bool is_wild(std::string_view segment) {
  return segment.find_first_of("*?[") != segment.npos;
}

class Glob {
 public:
  explicit Glob(std::vector<std::string> segments) : segments_(std::move(segments)) {}

  Result<> walk(const Path& at, size_t i, int depth) {
    const bool last = i + 1 == segments_.size();
    const std::string& segment = segments_[i];
    if (segment == "**") return walk_any(at, i, depth);
    if (!is_wild(segment)) return last ? take(at / segment) : walk(at / segment, i + 1, depth);
    TRY_ASSIGN(const auto names, list(at));
    for (const std::string& name : names) {
      // As in a shell: what is hidden is meant only when the pattern says so.
      if (name[0] == '.' && segment[0] != '.') continue;
      if (!glob_match(segment, name)) continue;
      TRY_OK(last ? take(at / name) : walk(at / name, i + 1, depth));
    }
    return {};
  }

  std::vector<Path> found() && {
    std::sort(found_.begin(), found_.end());
    found_.erase(std::unique(found_.begin(), found_.end()), found_.end());
    return std::move(found_);
  }

 private:
  // "**": no folder, or any number of them. A last "**" takes every file below.
  Result<> walk_any(const Path& at, size_t i, int depth) {
    const bool last = i + 1 == segments_.size();
    if (depth >= kMostDepth) {
      return fail(
          Code::kUsage,
          fmt::format("\"**\" reached more than {} folders deep, at {}", kMostDepth, printable(at.native())),
          "name the folders in the pattern more closely");
    }
    if (!last) TRY_OK(walk(at, i + 1, depth));
    TRY_ASSIGN(const auto names, list(at));
    for (const std::string& name : names) {
      if (name[0] == '.') continue;
      const Path child = at / name;
      // Links to folders are not followed: they can lead anywhere, and in circles.
      TRY_ASSIGN(const auto s, os::status(child, false));
      if (s && s->is_directory) {
        TRY_OK(walk_any(child, i, depth + 1));
      } else if (last) {
        TRY_OK(take(child));
      }
    }
    return {};
  }

  Result<std::vector<std::string>> list(const Path& at) {
    const Path folder = at.empty() ? Path(".") : at;
    TRY_ASSIGN(const auto s, os::status(folder));
    if (!s || !s->is_directory) return std::vector<std::string>();
    auto names = list_directory(folder);
    if (!names && names.error().code == Code::kNotFound) return std::vector<std::string>();
    return names;
  }

  Result<> take(Path path) {
    TRY_ASSIGN(const auto s, os::status(path));
    if (s && s->is_regular) found_.push_back(std::move(path));
    return {};
  }

  std::vector<std::string> segments_;
  std::vector<Path> found_;
};

}  // namespace

Result<std::vector<Path>> glob_files(const std::string& pattern) {
  std::vector<std::string> segments;
  for (std::string_view part : split(pattern, '/')) {
    // "**/**" means what "**" means, and would only walk everything twice.
    if (part.empty() || (part == "**" && !segments.empty() && segments.back() == "**")) continue;
    segments.emplace_back(part);
  }
  if (segments.empty()) return fail(Code::kUsage, "an empty file pattern");
  // A name may hold the pattern's own characters: "app[1].db".
  if (auto s = os::status(pattern); s && *s && (*s)->is_regular) return std::vector<Path>{pattern};
  Glob glob(std::move(segments));
  TRY_OK(glob.walk(pattern.starts_with('/') ? Path("/") : Path(), 0, 0));
  return std::move(glob).found();
}

}  // namespace varve::os
