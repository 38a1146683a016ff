#include "repo/probe.h"

#include <barrier>
#include <fmt/format.h>
#include <thread>

#include "base/log.h"
#include "crypto/crypto.h"
#include "repo/ids.h"

namespace varve::repo {
namespace {

constexpr int kRounds = 3;

// True: stored. False: refused because the name is taken.
Result<bool> try_put(const Context& ctx, store::Store& store, const store::Key& key, std::string_view body) {
  auto put = store::put_bytes(store, ctx, key, as_bytes(body));
  if (put) return true;
  if (put.error().code == Code::kExists) return false;
  return fail(std::move(put).error());
}

Result<bool> race(const Context& ctx, store::Store& store, const store::Key& key) {
  const std::array<std::string, 3> bodies = {to_hex(crypto::random_array<16>()),
                                             to_hex(crypto::random_array<16>()),
                                             to_hex(crypto::random_array<16>())};
  std::array<Result<bool>, 2> won;
  {
    std::barrier start(2);
    const auto run = [&](size_t i) {
      start.arrive_and_wait();
      won[i] = try_put(ctx, store, key, bodies[i]);
    };
    std::jthread other(run, 1);
    run(0);
  }
  for (auto& w : won)
    if (!w) return fail(std::move(w).error());
  if (*won[0] == *won[1]) return false;
  TRY_ASSIGN(const bool late, try_put(ctx, store, key, bodies[2]));
  TRY_ASSIGN(const Buffer stored, store::get_bytes(store, ctx, key, 64));
  return !late && as_text(stored) == bodies[*won[0] ? 0 : 1];
}

}  // namespace

Result<bool> probe_create_only(const Context& ctx, store::Store& store) {
  std::vector<store::Key> keys;
  Result<bool> honoured = true;
  for (int round = 0; round < kRounds && honoured && *honoured; ++round) {
    keys.push_back(fmt::format("{}{}", kProbePrefix, to_hex(crypto::random_array<16>())));
    honoured = race(ctx, store, keys.back());
  }
  for (const store::Key& key : keys) {
    auto removed = store::remove_one(store, ctx, key);
    if (!removed) log::warn("{} could not be removed: {}", key, removed.error().describe());
  }
  if (!honoured)
    return fail(Error(honoured.error())
                    .with_context("while probing whether the store keeps objects from being replaced"));
  return honoured;
}

std::vector<Ability> probe_abilities(const Context& ctx, store::Store& store, std::optional<Timestamp> lock) {
  const store::Key key = fmt::format("{}{}", kProbePrefix, to_hex(crypto::random_array<16>()));
  std::vector<Ability> out;
  out.push_back({"put", store::put_bytes(store, ctx, key, as_bytes("a probe"))});
  // What was not put is not there; then it is enough that the store says just that.
  auto got = store::get_bytes(store, ctx, key, 64);
  const bool answered = got || got.error().code == Code::kNotFound;
  out.push_back({"get", answered ? Result<>{} : fail(std::move(got).error())});
  auto listed = store.list(ctx, std::string(kProbePrefix), "", 1);
  out.push_back({"list", listed ? Result<>{} : fail(std::move(listed).error())});
  out.push_back({"remove", store::remove_one(store, ctx, key)});
  if (lock) out.push_back({"lock", store.extend_retention(ctx, std::string(kConfigKey), *lock)});
  return out;
}

}  // namespace varve::repo
