#include <fmt/format.h>

#include "repo/collect.h"
#include "repo/retention.h"

namespace varve::repo {
namespace {

constexpr auto kAfterCommit = std::chrono::seconds(120);

Result<> check_not_condemned(const Manifest& m, const Condemned& condemned) {
  for (const PackInfo& pack : m.packs) {
    if (condemned.packs.contains(pack.id))
      return fail(Code::kConflict,
                  fmt::format("{} of {} needs {}, which a collection has condemned meanwhile", m.id, m.source,
                              pack_key(pack.id)),
                  "run the backup again; a full one (--type full) refers to nothing that was there before");
  }
  return {};
}

// Neither condemned, nor can anything have been condemned, carried out and forgotten: the records of a
// collection stay while a pin stands that stood when it was done.
Result<> check_accepted(const Repository& repo, const Context& ctx, const Pin& pin, const Manifest& m,
                        Condemned known) {
  TRY_ASSIGN(const Condemned condemned, read_condemned(repo, ctx, std::move(known)));
  TRY_OK(check_not_condemned(m, condemned));
  return pin.check_standing(ctx);
}

// Only what is ours: a put that failed may have met another's manifest of the same name.
Result<> remove_ours(const Repository& repo, const Context& ctx, const Manifest& m) {
  auto there = load_manifest(repo, ctx, m.source, m.id);
  if (!there && there.error().code == Code::kNotFound) return {};
  if (!there) return fail(std::move(there).error());
  if (there->writer != m.writer) return {};
  return store::remove_one(repo.store(), ctx, manifest_key(m.source, m.id));
}

Error withdraw(const Repository& repo, const Context& ctx, const Manifest& m, Error why) {
  auto removed = remove_ours(repo, ctx, m);
  if (!removed)
    why.context.push_back(fmt::format("and {} could not be withdrawn ({}): do not rely on this backup",
                                      manifest_key(m.source, m.id), removed.error().describe()));
  return why;
}

// Sealed, and known to open and decode again.
Result<Buffer> seal_manifest(const Repository& repo, const Manifest& m) {
  TRY_OK(repo.check_may_write());
  const store::Key key = manifest_key(m.source, m.id);
  const Buffer encoded = encode(m);
  TRY_ASSIGN(Buffer sealed, repo.seal_object("manifest", key, encoded));
  auto back = repo.open_object("manifest", key, sealed);
  if (!back || *back != encoded)
    return fail(Code::kInternal,
                fmt::format("{}: what was sealed does not open again; nothing was stored", key));
  if (auto decoded = decode_manifest(*back); !decoded)
    return fail(Code::kInternal, fmt::format("{}: {}; nothing was stored", key, decoded.error().message));
  return sealed;
}

}  // namespace

Result<uint64_t> commit_manifest(const Repository& repo, const Context& ctx, const Pin& pin, Manifest& m,
                                 std::optional<Timestamp> locked_until) {
  TRY_ASSIGN(Condemned condemned, read_condemned(repo, ctx));
  TRY_OK(check_not_condemned(m, condemned));
  TRY_OK(pin.check_standing(ctx));
  m.collections_seen = condemned.plan_ids;
  m.writer = pin.writer().hex();
  TRY_OK(extend_retention(repo, ctx, m, locked_until));
  TRY_ASSIGN(const Buffer sealed, seal_manifest(repo, m));

  auto put = store::put_bytes(repo.store(), ctx, manifest_key(m.source, m.id), sealed);
  if (!put && put.error().code == Code::kExists) return fail(std::move(put).error());
  Context after = Context{}.with_deadline(kAfterCommit);
  after.trace = ctx.trace;
  if (!put)
    return fail(withdraw(repo, after, m, std::move(put).error()));  // it may have arrived all the same
  auto accepted = check_accepted(repo, after, pin, m, std::move(condemned));
  // Locked only now, for a locked one could not be withdrawn.
  if (const auto until = repo.lasting().retain_until; accepted && until)
    accepted = repo.store().extend_retention(after, manifest_key(m.source, m.id), *until);
  if (!accepted) return fail(withdraw(repo, after, m, std::move(accepted).error()));
  return sealed.size();
}

}  // namespace varve::repo
