#include "store/s3/retention.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/log.h"
#include "store/cloud/answer.h"
#include "store/s3/integrity.h"
#include "store/s3/times.h"
#include "store/s3/xml.h"

namespace varve::store::s3 {
namespace {

constexpr std::string_view kNoLock =
    "Object Lock is switched on when a bucket is made, or later by its owner: docs/stores/s3.md says how";

// nullopt: the object is there, and has none.
Result<std::optional<Retention>> retention_of(Client& client, const Context& ctx, const Key& key) {
  const Call call{.key = client.options().prefix + key,
                  .query = {{"retention", ""}},
                  .doing = client.doing("reading the retention of", key, "in")};
  TRY_ASSIGN(const auto answer, client.send(ctx, call));
  if (answer.status / 100 == 2) {
    auto out = parse_retention(answer.body);
    if (!out) return fail(cloud::nonsense(answer, call.doing, out.error().message));
    return *out;
  }
  const auto said = parse_error(answer.body);
  if (said &&
      (said->code == "NoSuchObjectLockConfiguration" || said->code == "ObjectLockConfigurationNotFoundError"))
    return std::nullopt;
  return fail(client.refusal(answer, call.doing));
}

Result<> put_retention(Client& client, const Context& ctx, const Key& key, const Retention& retention) {
  const std::string xml = fmt::format(
      "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{}</Mode>"
      "<RetainUntilDate>{}</RetainUntilDate></Retention>",
      retention.mode, to_milliseconds(retention.until));
  const ByteView body = as_bytes(xml);
  Call call{.method = "PUT",
            .key = client.options().prefix + key,
            .query = {{"retention", ""}},
            .headers = {{"Content-Type", "application/xml"}},
            .body = Body(&body, 1),
            .doing = client.doing("extending the retention of", key, "in")};
  add_md5(call.body, &call.headers);
  TRY_ASSIGN(const auto answer, client.demand(ctx, call));
  if (!answer.body.empty()) return fail(cloud::nonsense(answer, call.doing, "nothing was to be said"));
  return {};
}

}  // namespace

Result<> check_object_lock(Client& client, const Context& ctx) {
  const Call call{.query = {{"object-lock", ""}},
                  .doing = "asking whether " + client.describe() + " has Object Lock"};
  TRY_ASSIGN(const auto answer, client.send(ctx, call));
  bool locks = false;
  if (answer.status / 100 == 2) {
    const auto said = parse_lock_configuration(answer.body);
    if (!said) return fail(cloud::nonsense(answer, call.doing, said.error().message));
    locks = *said;
  } else {
    const auto said = parse_error(answer.body);
    if (!said || said->code != "ObjectLockConfigurationNotFoundError") {
      Error refusal = client.refusal(answer, call.doing);
      if (refusal.code != Code::kDenied || !said || said->code != "AccessDenied")
        return fail(std::move(refusal));
      log::info("{}; taking the setting's word that it has", refusal.describe());
      locks = true;
    }
  }
  if (locks) return {};
  return fail(
      Code::kUsage,
      fmt::format("the bucket of {} has no Object Lock, and the settings ask for it", client.describe()),
      std::string(kNoLock));
}

Error no_retention(const Client& client) {
  return {Code::kUnsupported, fmt::format("{} was opened without Object Lock", client.describe()),
          "set object_lock_mode = \"governance\" or \"compliance\" for this repository"};
}

Result<> check_future(const Client& client, Timestamp until) {
  if (until > client.time()) return {};
  return fail(Code::kUsage,
              fmt::format("an object cannot be retained until {}: that has passed", to_rfc3339(until)));
}

Result<> extend(Client& client, const Context& ctx, const Key& key, Timestamp until) {
  TRY_ASSIGN(auto held, retention_of(client, ctx, key));
  if (held && held->until >= until) return {};
  TRY_OK(check_future(client, until));
  Retention wanted{client.options().lock_mode, until};
  if (held && held->mode == "COMPLIANCE") wanted.mode = held->mode;
  auto done = put_retention(client, ctx, key, wanted);
  if (done || done.error().code != Code::kDenied) return done;
  // Someone else may have extended it further in the meantime: then ours would shorten it.
  TRY_ASSIGN(held, retention_of(client, ctx, key));
  if (held && held->until >= until) return {};
  return done;
}

Result<std::optional<std::string>> lock_of(Client& client, const Context& ctx, const Key& key,
                                           const std::string& version) {
  const Call call{.method = "HEAD",
                  .key = client.options().prefix + key,
                  .query = {{"versionId", version}},
                  .doing = client.doing("looking at", key, "in")};
  TRY_ASSIGN(const auto answer, client.demand(ctx, call));
  if (answer.header("x-amz-object-lock-legal-hold") == "ON")
    return fmt::format("{} in {} is under a legal hold", key, client.describe());
  const auto until = parse_rfc3339(answer.header("x-amz-object-lock-retain-until-date").value_or(""));
  if (until && *until > client.time())
    return fmt::format("{} in {} is retained until {}", key, client.describe(), to_rfc3339(*until));
  return std::nullopt;
}

}  // namespace varve::store::s3
