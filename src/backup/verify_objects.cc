#include "backup/verify_objects.h"

#include <algorithm>
#include <fmt/format.h>

#include "repo/collect.h"
#include "repo/config.h"
#include "repo/key_object.h"
#include "repo/sealed_json.h"

namespace varve::backup {
namespace {

constexpr size_t kMostSiblings = 2000;
constexpr auto kFromKit = "; put it back from the recovery kit: varve key restore";

std::vector<std::string_view> segments(std::string_view key) {
  std::vector<std::string_view> out;
  for (size_t from = 0; from <= key.size();) {
    const size_t slash = std::min(key.find('/', from), key.size());
    out.push_back(key.substr(from, slash - from));
    from = slash + 1;
  }
  return out;
}

Result<std::optional<Damage>> check_config(const repo::Repository& repo, const Context& ctx) {
  const std::string key(repo::kConfigKey);
  auto bytes = store::get_bytes(repo.store(), ctx, key, repo::kMaxJsonObject);
  if (!bytes) {
    if (bytes.error().code == Code::kNotFound) return Damage{"missing", std::string("is missing") + kFromKit};
    TRY_ASSIGN(Damage d, damage_of(repo, ctx, key, bytes.error()));
    return d;
  }
  if (as_text(*bytes) == repo.config_text()) return std::nullopt;
  auto other = repo::decode_config(as_text(*bytes));
  if (other && !(other->id == repo.id()))
    return Damage{"foreign", std::string("is that of another repository") + kFromKit};
  return Damage{"damaged", std::string("was changed since this repository was made") + kFromKit};
}

// True: a key of this repository.
Result<bool> check_key(const repo::Repository& repo, const Context& ctx, const std::string& name,
                       Findings& findings, std::set<Findings::Id>& problems) {
  auto bytes = store::get_bytes(repo.store(), ctx, name, repo::kMaxJsonObject);
  if (!bytes) {
    TRY_ASSIGN(const Damage d, damage_of(repo, ctx, name, bytes.error()));
    problems.insert(findings.add(name, d));
    return false;
  }
  auto object =
      repo::parse_key_object(std::string_view(name).substr(repo::kKeyPrefix.size()), as_text(*bytes));
  if (!object) {
    TRY_ASSIGN(Damage d, damage_of(repo, ctx, name, object.error()));
    d.message += kFromKit;
    problems.insert(findings.add(name, d));
    return false;
  }
  if (object->repository == repo.id()) return true;
  problems.insert(
      findings.add(name, {"foreign", "is a key of another repository, or of an init that did not end"}));
  return false;
}

}  // namespace

std::optional<std::string> kind_of(std::string_view key) {
  const auto s = segments(key);
  if (s.size() == 2 && s[0] == "pins") return "pin";
  if (s.size() == 3 && s[0] == "leases") return "lease";
  if (s.size() == 3 && s[0] == "events") return "event";
  if (s.size() == 3 && s[0] == "gc" && (s[2] == "plan" || s[2] == "done" || s[2] == "closed"))
    return "collection " + std::string(s[2]);
  if (s.size() == 4 && s[0] == "sources" && s[2] == "holds") return "hold";
  return std::nullopt;
}

Result<> check_small_objects(const repo::Repository& repo, const Context& ctx, unsigned workers,
                             const std::vector<SmallObject>& objects, Findings& findings) {
  return in_parallel(ctx, workers, objects.size(), [&](const Context& mine, size_t i) -> Result<> {
    const SmallObject& o = objects[i];
    auto plain = repo.get_object(mine, o.kind, o.key);
    if (plain || plain.error().code == Code::kNotFound) return {};
    std::vector<std::string> siblings;
    for (const SmallObject& other : objects) {
      if (other.kind == o.kind && siblings.size() < kMostSiblings) siblings.push_back(other.key);
    }
    TRY_ASSIGN(const Damage d, sealed_damage(repo, mine, o.kind, o.key, plain.error(), siblings));
    findings.add(o.key, d);
    return {};
  });
}

Result<std::set<Findings::Id>> check_way_in(const repo::Repository& repo, const Context& ctx,
                                            Findings& findings) {
  std::set<Findings::Id> fatal, of_keys;
  TRY_ASSIGN(const std::optional<Damage> config, check_config(repo, ctx));
  if (config) fatal.insert(findings.add(std::string(repo::kConfigKey), *config));
  if (!repo.encrypted()) return fatal;

  std::vector<std::string> names;
  TRY_OK(store::for_each(repo.store(), ctx, std::string(repo::kKeyPrefix),
                         [&](const store::ObjectInfo& o) -> Result<> {
                           names.push_back(o.key);
                           return {};
                         }));
  const std::string ours = repo::key_key(repo.key_id());
  if (std::find(names.begin(), names.end(), ours) == names.end()) {
    of_keys.insert(findings.add(
        ours, {"missing",
               std::string("is missing: the secret in use will not open the repository again") + kFromKit}));
  }
  size_t good = 0;
  for (const std::string& name : names) {
    TRY_ASSIGN(const bool whole, check_key(repo, ctx, name, findings, of_keys));
    good += whole;
  }
  if (good == 0) fatal.merge(of_keys);
  return fatal;
}

}  // namespace varve::backup
