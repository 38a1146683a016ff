#include "backup/copy_lag.h"

#include <algorithm>
#include <fmt/format.h>

#include "backup/copy_pairs.h"
#include "backup/engines.h"
#include "repo/ids.h"

namespace varve::backup {

Result<CopyLag> copy_lag(const Context& ctx, store::Store& from, store::Store& to,
                         const std::string& source) {
  TRY_OK(repo::check_name(source));
  CopyLag out;
  const std::string backups = repo::manifest_prefix(source);
  TRY_OK(for_each_pair(ctx, from, &to, backups, [&](const auto* a, const auto* b) -> Result<> {
    if (a == nullptr) return {};
    ++out.backups;
    if (b == nullptr) out.missing.push_back(a->key.substr(backups.size()));
    return {};
  }));
  const std::string logs = repo::log_prefix(source);
  TRY_OK(for_each_pair(ctx, from, &to, logs, [&](const auto* a, const auto* b) -> Result<> {
    if (a == nullptr) return {};
    const std::string rest = a->key.substr(logs.size());
    const auto name = repo::parse_log_name(repo::last_segment(a->key));
    const size_t slash = rest.find('/');
    if (!name || slash == std::string::npos) return {};
    const Engine* engine = engine_of_epoch(rest.substr(0, slash));
    if (engine && !engine->is_log(rest.substr(0, slash))) return {};
    // Epochs are named by when they began: the last listed is the newest.
    if (const std::string epoch = rest.substr(0, slash); epoch != out.epoch) {
      out.epoch = epoch;
      out.last = out.copied = 0;
    }
    out.last = std::max(out.last, name->last);
    if (b != nullptr) out.copied = std::max(out.copied, name->last);
    return {};
  }));
  return out;
}

}  // namespace varve::backup
