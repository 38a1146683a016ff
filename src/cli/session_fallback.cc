// The part of a session that reads a repository together with its copies.
#include <algorithm>
#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"
#include "cli/session.h"
#include "repo/config.h"
#include "repo/sealed_json.h"

namespace varve::cli {
namespace {

constexpr auto kFirstAnswer = std::chrono::seconds(20);

struct Candidate {
  store::StorePtr store;
  bool reachable = true;
  std::optional<repo::RepoId> id = {};  // none: its varve.json is gone or damaged
};

Candidate look_at(const Context& ctx, store::StorePtr store) {
  Candidate out{std::move(store)};
  const auto text = store::get_bytes(*out.store, ctx.with_deadline(kFirstAnswer),
                                     std::string(repo::kConfigKey), repo::kMaxJsonObject);
  if (!text) {
    out.reachable = text.error().code != Code::kUnreachable;
    if (!out.reachable)
      log::warn("{} cannot be reached: {}", printable(out.store->describe()), text.error().describe());
    return out;
  }
  if (const auto config = repo::decode_config(as_text(*text))) out.id = config->id;
  return out;
}

}  // namespace

Result<std::vector<RepositoryPlace>> Session::fallback_places(const std::string& source,
                                                              const RepositoryPlace& first,
                                                              const Fallback& fallback) {
  std::vector<RepositoryPlace> out;
  const auto add = [&](const RepositoryPlace& place) {
    const auto known = [&](const RepositoryPlace& p) { return p.url == place.url; };
    if (!known(first) && std::none_of(out.begin(), out.end(), known)) out.push_back(place);
  };
  for (const std::string& name : fallback.repositories) {
    TRY_ASSIGN(const RepositoryPlace place, named_place(name));
    add(place);
  }
  // Who names a repository wants that one: a copy is tried out by itself so.
  if (!globals_.repo.empty() || !fallback.repositories.empty()) return out;
  TRY_ASSIGN(const plan::Configuration* config, configuration());
  for (const auto& [name, known] : config->sources) {
    if (known.repositories.empty() || first.config == nullptr) continue;
    if (known.repositories.front() != first.config->name) continue;
    if (config->sources.contains(source) && name != source) continue;
    std::vector<std::string> others(known.repositories.begin() + 1, known.repositories.end());
    if (!known.plan.empty()) {
      const auto& copies = config->plans.at(known.plan).copies;
      others.insert(others.end(), copies.begin(), copies.end());
    }
    for (const std::string& other : others) {
      const auto& repository = config->repositories.at(other);
      add({repository.url, &repository});
    }
  }
  return out;
}

// One that cannot be reached is asked last; one that holds another repository not at all.
Result<store::StorePtr> Session::store_with_fallback(const RepositoryPlace& first,
                                                     const std::vector<RepositoryPlace>& others,
                                                     bool read_only, bool unite) {
  std::vector<Candidate> all;
  std::optional<Error> why;
  bool opened_first = false;
  std::vector<RepositoryPlace> places = {first};
  places.insert(places.end(), others.begin(), others.end());
  for (const RepositoryPlace& place : places) {
    TRY_OK(ctx_.check());
    auto store = open_store(place, false, read_only);
    if (store) {
      opened_first = opened_first || &place == &places.front();
      all.push_back(look_at(ctx_, std::move(*store)));
      continue;
    }
    if (!why) why = store.error();
    log::warn("{} cannot be opened: {}", printable(place.url), store.error().describe());
  }
  if (all.empty()) return fail(std::move(*why));
  const bool first_is_read = opened_first && all.front().reachable;
  std::stable_partition(all.begin(), all.end(), [](const Candidate& c) { return c.reachable; });
  const auto named =
      std::find_if(all.begin(), all.end(), [](const Candidate& c) { return c.id.has_value(); });
  const std::string named_at = named == all.end() ? "" : printable(named->store->describe());
  std::vector<store::StorePtr> stores;
  for (Candidate& c : all) {
    if (c.id && named != all.end() && *c.id != *named->id)
      log::warn("{} holds another repository than {}, and is not read", printable(c.store->describe()),
                named_at);
    else
      stores.push_back(std::move(c.store));
  }
  store::StorePtr chosen = stores.front();
  if (!first_is_read)
    fallback_notes_.push_back(fmt::format("{} cannot be reached: what was read came from {}",
                                          printable(first.url), printable(chosen->describe())));
  stores.erase(stores.begin());
  fallback_ = store::with_fallback(std::move(chosen), std::move(stores), {.unite = unite});
  return fallback_;
}

Result<repo::RepositoryPtr> Session::open(const std::string& source, Access access,
                                          const Fallback& fallback) {
  TRY_ASSIGN(const RepositoryPlace where, place(source));
  TRY_ASSIGN(const std::vector<RepositoryPlace> others, fallback_places(source, where, fallback));
  if (others.empty()) return open(source, access);
  TRY_ASSIGN(std::optional<repo::KeySource> key, given_secret(where));
  for (size_t i = 0; !key && i < others.size(); ++i) {
    TRY_ASSIGN(key, given_secret(others[i]));
  }
  TRY_ASSIGN(store::StorePtr store,
             store_with_fallback(where, others, access == Access::kRead, fallback.unite));
  // A copy that stands in for the repository need not be able to keep its promise.
  return open_in(where, std::move(store), std::move(key),
                 fallback_notes_.empty() ? retain(where) : std::nullopt);
}

std::vector<std::string> Session::fallback_notes() const {
  std::vector<std::string> out = fallback_notes_;
  if (!fallback_) return out;
  const auto down = fallback_->first_down();
  for (const store::FallbackUse& use : fallback_->uses()) {
    if (use.objects == 0) continue;
    out.push_back(fmt::format("{} object{} came from {}, for {} {}", human_count(use.objects),
                              use.objects == 1 ? "" : "s", use.store, fallback_->describe(),
                              down ? "cannot be reached" : "did not have them intact"));
  }
  return out;
}

}  // namespace varve::cli
