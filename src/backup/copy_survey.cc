#include "backup/copy_survey.h"

#include <algorithm>
#include <fmt/format.h>

#include "backup/copy_pairs.h"
#include "base/text.h"

namespace varve::backup {
namespace {

constexpr std::string_view kSources = "sources/";

class Surveyor {
 public:
  Surveyor(const CopyOptions& options, CopySurvey& out) : options_(options), out_(out) {}

  void see(const store::ObjectInfo* a, const store::ObjectInfo* b) {
    const std::string_view key = a != nullptr ? a->key : b->key;
    const auto parts = split(key, '/');
    if (parts.size() < 4 || !repo::check_name(parts[1])) return;
    if (a != nullptr) seen_ = true;
    if (parts.size() == 4 && parts[2] == "backups") {
      manifest(a, b);
    } else if (parts.size() == 4 && parts[2] == "holds") {
      // It counts by its name: another content under it says no more.
      if (a != nullptr && b == nullptr) out_.holds.push_back(item(*a));
      out_.present += a != nullptr && b != nullptr;
    } else if (parts.size() == 5 && parts[2] == "log" && repo::check_name(parts[3])) {
      log(a, b, out_.epochs[{std::string(parts[1]), std::string(parts[3])}], parts[4]);
    }
  }
  bool seen() const { return seen_; }

 private:
  static CopyItem item(const store::ObjectInfo& info) { return {.key = info.key, .size = info.size}; }

  void manifest(const store::ObjectInfo* a, const store::ObjectInfo* b) {
    if (a == nullptr) return;
    if (b == nullptr) {
      out_.manifests.push_back(item(*a));
    } else if (options_.deep || a->size != b->size) {
      out_.doubtful.push_back(item(*a));
      out_.doubtful.back().compare = true;
    } else {
      ++out_.present;
    }
  }

  void log(const store::ObjectInfo* a, const store::ObjectInfo* b, CopiedEpoch& epoch,
           std::string_view name) {
    if (name.starts_with("mark-")) {
      if (a != nullptr) epoch.mark = a->key;
      if (b != nullptr) epoch.marks.push_back(b->key);
      return;
    }
    if (!repo::parse_log_name(name)) return;
    if (b != nullptr) epoch.begun = true;
    if (a == nullptr) return;
    if (b == nullptr || options_.deep || a->size != b->size) {
      ++epoch.missing;
      epoch.missing_bytes += a->size;
    } else {
      ++out_.present;
    }
  }

  const CopyOptions& options_;
  CopySurvey& out_;
  bool seen_ = false;
};

Error no_such_source(const Context& ctx, store::Store& from, const std::string& source) {
  std::vector<std::string> names;
  (void)store::for_each(from, ctx, std::string(kSources), [&](const store::ObjectInfo& o) -> Result<> {
    const std::string_view rest = std::string_view(o.key).substr(kSources.size());
    const std::string name(rest.substr(0, rest.find('/')));
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    return {};
  });
  const auto near = nearest(source, names, 1);
  std::string hint = "`varve list` shows what there is";
  if (!near.empty()) hint = fmt::format("did you mean {}?", printable(near[0]));
  return Error{Code::kNotFound,
               fmt::format("there is no source \"{}\" in {}", printable(source), from.describe()), hint};
}

}  // namespace

Result<CopySurvey> survey(const Context& ctx, store::Store& from, store::Store& to,
                          const CopyOptions& options) {
  CopySurvey out;
  std::vector<std::string> prefixes;
  for (const std::string& source : options.sources) {
    TRY_OK(repo::check_name(source));
    prefixes.push_back(fmt::format("{}{}/", kSources, source));
  }
  if (prefixes.empty()) prefixes.emplace_back(kSources);
  for (size_t i = 0; i < prefixes.size(); ++i) {
    Surveyor surveyor(options, out);
    TRY_OK(for_each_pair(ctx, from, &to, prefixes[i], [&](const auto* a, const auto* b) -> Result<> {
      surveyor.see(a, b);
      return {};
    }));
    if (!options.sources.empty() && !surveyor.seen())
      return fail(no_such_source(ctx, from, options.sources[i]));
  }
  return out;
}

EpochKey backup_of(std::string_view key) {
  const size_t begin = kSources.size();
  return {std::string(key.substr(begin, key.find('/', begin) - begin)), std::string(repo::last_segment(key))};
}

std::string backup_name(std::string_view key) {
  const auto [source, id] = backup_of(key);
  return source + "/" + id;
}

}  // namespace varve::backup
