#include "backup/copy_target.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"
#include "repo/config.h"
#include "repo/pin.h"
#include "repo/sealed_json.h"

namespace varve::backup {
namespace {

constexpr auto kPoll = std::chrono::seconds(1);
constexpr auto kGiveBack = std::chrono::seconds(20);

// A pin of a copy of this repository tells that what is there was left by one that did not end.
Result<> check_leftovers(const Context& ctx, store::Store& to, const repo::RepoId& id) {
  TRY_ASSIGN(const store::ListPage page, to.list(ctx, "", "", 1));
  if (page.objects.empty()) return {};
  auto copies = repo::list_copies(ctx, to);
  if (!copies && copies.error().code != Code::kDamaged) return fail(std::move(copies).error());
  for (const repo::CopyInfo& copy : copies.value_or(std::vector<repo::CopyInfo>{})) {
    if (copy.repository == id) return {};
    return fail(
        Code::kConflict,
        fmt::format("{} is being copied to from another repository: {}", to.describe(), repo::describe(copy)),
        "choose an empty place");
  }
  return fail(
      Code::kConflict,
      fmt::format("{} holds no repository but other things, for example {}", to.describe(),
                  printable(page.objects.front().key)),
      "choose an empty place; if this was a copy and lost its varve.json, put that back: varve key restore");
}

// Of processes that are dead, and what an earlier copy of this one left because it failed.
Result<> remove_ended_copies(const Context& ctx, store::Store& to, const repo::CopyInfo& own) {
  auto copies = repo::list_copies(ctx, to);
  if (!copies && copies.error().code == Code::kDamaged) {
    log::warn("the pin of a copy cannot be read: {}", copies.error().describe());
    return {};
  }
  if (!copies) return fail(std::move(copies).error());
  const auto before = [&](const repo::CopyInfo& copy) {
    return copy.id != own.id && copy.from == own.from && copy.process.host == own.process.host &&
           copy.process.boot == own.process.boot && copy.process.pid == own.process.pid &&
           copy.process.started == own.process.started;
  };
  for (const repo::CopyInfo& copy : *copies)
    if (before(copy) || os::liveness(copy.process) == os::Liveness::kDead)
      TRY_OK(store::remove_one(to, ctx, repo::copy_key(copy.id)));
  return {};
}

// What may remove packs at the target without knowing of our pin. Without the key a pin does not say what it
// is for, so any may be a collection's.
Result<std::optional<std::string>> collection_under_way(const Context& ctx, const store::StorePtr& to,
                                                        const repo::Repository* opened) {
  if (opened == nullptr) {
    TRY_ASSIGN(const store::ListPage page, to->list(ctx, std::string(repo::kPinPrefix), "", 1));
    if (page.objects.empty()) return std::nullopt;
    return page.objects.front().key;
  }
  const auto at_target = opened->copy_in(to);
  TRY_ASSIGN(const auto pins, repo::list_pins(*at_target, ctx));
  for (const repo::PinInfo& pin : pins) {
    if (pin.what != "gc") continue;
    if (os::liveness(pin.process) == os::Liveness::kDead) {
      TRY_OK(store::remove_one(*to, ctx, repo::pin_key(pin.writer)));
      continue;
    }
    return fmt::format("{} (host {}, process {}, since {})", repo::pin_key(pin.writer),
                       printable(pin.process.host), pin.process.pid, to_rfc3339(pin.started));
  }
  return std::nullopt;
}

Result<> wait_for_collections(const Context& ctx, const store::StorePtr& to, const CopyOptions& options) {
  const auto give_up = SteadyClock::now() + options.patience;
  while (true) {
    TRY_ASSIGN(const auto busy, collection_under_way(ctx, to, options.opened.get()));
    if (!busy) return {};
    if (SteadyClock::now() >= give_up)
      return fail(Code::kConflict, fmt::format("a collection is under way at {}: {}", to->describe(), *busy),
                  "copy when it has ended; if nothing is at work there, varve gc forgets what has ended, and "
                  "the pin of a host that is gone for good may be removed");
    TRY_OK(ctx.sleep(kPoll));
  }
}

}  // namespace

Result<CopiedConfig> read_copied_config(const Context& ctx, store::Store& from) {
  auto bytes = store::get_bytes(from, ctx, std::string(repo::kConfigKey), repo::kMaxJsonObject);
  if (!bytes && bytes.error().code == Code::kNotFound)
    return fail(Code::kNotFound, fmt::format("there is no repository at {}", from.describe()));
  if (!bytes) return fail(std::move(bytes).error());
  CopiedConfig out{std::string(as_text(*bytes)), {}};
  auto config = repo::decode_config(out.text);
  if (!config)
    return fail(std::move(config).error().with_context(fmt::format("while opening {}", from.describe())));
  out.config = *config;
  // There may be objects that this program would leave behind.
  if (auto may = repo::check_may_write(out.config); !may)
    return fail(std::move(may).error().with_context(fmt::format("while copying {}", from.describe())));
  return out;
}

Result<bool> check_target(const Context& ctx, store::Store& to, const CopiedConfig& config, bool repair) {
  const store::Key key(repo::kConfigKey);
  auto bytes = store::get_bytes(to, ctx, key, repo::kMaxJsonObject);
  if (!bytes && bytes.error().code == Code::kNotFound) {
    TRY_OK(check_leftovers(ctx, to, config.config.id));
    return false;
  }
  if (!bytes && bytes.error().code != Code::kDamaged) return fail(std::move(bytes).error());
  if (bytes && as_text(*bytes) == config.text) return true;
  if (const auto other = bytes ? repo::decode_config(as_text(*bytes)) : Result<repo::Config>(repo::Config{});
      bytes && other && other->id != config.config.id)
    return fail(Code::kConflict, fmt::format("{} holds another repository", to.describe()),
                "a copy has the id of its original: choose an empty place");
  if (!repair)
    return fail(Code::kDamaged, fmt::format("{}: is damaged at {}", key, to.describe()),
                "copy with --repair, or put it back from the recovery kit: varve key restore");
  TRY_OK(store::put_bytes(to, ctx, key, as_bytes(config.text), {.mode = store::PutMode::kUnconditional}));
  return true;
}

Result<repo::CopyPin> pin_target(const Context& ctx, const store::StorePtr& from, const store::StorePtr& to,
                                 const repo::RepoId& id, const CopyOptions& options) {
  TRY_ASSIGN(repo::CopyPin pin, repo::CopyPin::take(ctx, to, id, from->describe()));
  const auto checked = [&]() -> Result<> {
    TRY_ASSIGN(const bool same, store::exists(*from, ctx, repo::copy_key(pin.info().id)));
    if (same)
      return fail(Code::kUsage,
                  fmt::format("{} and {} are the same place", from->describe(), to->describe()));
    TRY_OK(remove_ended_copies(ctx, *to, pin.info()));
    return wait_for_collections(ctx, to, options);
  }();
  if (checked) return pin;
  if (auto released = pin.release(Context{}.with_deadline(kGiveBack)); !released)
    log::warn("{} could not be removed: {}", repo::copy_key(pin.info().id), released.error().describe());
  return fail(checked.error());
}

}  // namespace varve::backup
