#include "repo/collection_plan.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>

#include "os/process.h"
#include "repo/format.pb.h"
#include "repo/wire.h"

namespace varve::repo {
namespace {

Result<std::vector<PackId>> pack_ids(const google::protobuf::RepeatedPtrField<std::string>& in) {
  std::vector<PackId> out;
  out.reserve(static_cast<size_t>(in.size()));
  for (const std::string& bytes : in) {
    TRY_ASSIGN(const PackId id, PackId::from_bytes(as_bytes(bytes)));
    out.push_back(id);
  }
  return out;
}

Result<std::vector<WriterId>> writer_ids(const google::protobuf::RepeatedPtrField<std::string>& in) {
  std::vector<WriterId> out;
  for (const std::string& text : in) {
    TRY_ASSIGN(const WriterId id, WriterId::from_hex_text(text));
    out.push_back(id);
  }
  return out;
}

template <typename Message>
Result<Message> load(const Repository& repo, const Context& ctx, const std::string& id,
                     const CollectionPart& part) {
  const store::Key key = collection_key(id, part.name);
  TRY_ASSIGN(const Buffer bytes, repo.get_object(ctx, part.kind, key));
  Message out;
  TRY_OK(parse(out, bytes, key));
  if (out.id() != id) return fail(Code::kDamaged, fmt::format("{}: is of another collection", key));
  return out;
}

Result<CollectionPlan> load_plan(const Repository& repo, const Context& ctx, const std::string& id) {
  TRY_ASSIGN(const auto in, load<format::CollectionPlan>(repo, ctx, id, kPlanPart));
  CollectionPlan out;
  out.id = id;
  TRY_ASSIGN(out.created, time_from_wire(in.created_us()));
  TRY_ASSIGN(out.not_before, time_from_wire(in.not_before_us()));
  TRY_ASSIGN(out.packs, pack_ids(in.packs()));
  out.objects.assign(in.objects().begin(), in.objects().end());
  TRY_ASSIGN(out.pins, writer_ids(in.pins()));
  return out;
}

Result<> load_done(const Repository& repo, const Context& ctx, CollectionPlan& plan) {
  TRY_ASSIGN(const auto in, load<format::CollectionDone>(repo, ctx, plan.id, kDonePart));
  TRY_ASSIGN(plan.removed_packs, pack_ids(in.removed_packs()));
  plan.done = true;
  return {};
}

Result<> load_closed(const Repository& repo, const Context& ctx, CollectionPlan& plan) {
  TRY_ASSIGN(const auto in, load<format::CollectionClosed>(repo, ctx, plan.id, kClosedPart));
  TRY_ASSIGN(plan.closed_pins, writer_ids(in.pins()));
  plan.closed = true;
  return {};
}

// A record that goes while it is read is one that nobody needs any more.
Result<> unless_gone(Result<> r) {
  return !r && r.error().code == Code::kNotFound ? Result<>() : r;
}

struct Parts {
  bool plan = false, done = false, closed = false;
};
Result<std::map<std::string, Parts>> list_parts(const Repository& repo, const Context& ctx) {
  std::map<std::string, Parts> out;
  TRY_OK(store::for_each(
      repo.store(), ctx, std::string(kCollectionPrefix), [&](const store::ObjectInfo& info) -> Result<> {
        const std::string_view rest = std::string_view(info.key).substr(kCollectionPrefix.size());
        Parts& parts = out[std::string(rest.substr(0, rest.find('/')))];
        const std::string_view part = last_segment(rest);
        parts.plan |= part == kPlanPart.name;
        parts.done |= part == kDonePart.name;
        parts.closed |= part == kClosedPart.name;
        return {};
      }));
  return out;
}

void add_packs(google::protobuf::RepeatedPtrField<std::string>& to, const std::vector<PackId>& packs) {
  to.Reserve(static_cast<int>(packs.size()));
  for (const PackId& id : packs) to.Add(std::string(as_text(id.view())));
}
void add_writers(google::protobuf::RepeatedPtrField<std::string>& to, const std::vector<WriterId>& writers) {
  for (const WriterId& id : writers) to.Add(id.hex());
}

}  // namespace

Result<std::vector<CollectionPlan>> list_plans(const Repository& repo, const Context& ctx) {
  TRY_ASSIGN(const auto all, list_parts(repo, ctx));
  std::vector<CollectionPlan> out;
  for (const auto& [id, parts] : all) {
    if (!parts.plan) continue;
    auto plan = load_plan(repo, ctx, id);
    if (!plan && plan.error().code == Code::kNotFound) continue;
    if (!plan) return fail(std::move(plan).error());
    if (parts.done) TRY_OK(unless_gone(load_done(repo, ctx, *plan)));
    if (parts.closed) TRY_OK(unless_gone(load_closed(repo, ctx, *plan)));
    out.push_back(std::move(*plan));
  }
  return out;
}

Result<std::vector<store::Key>> list_dropped_plans(const Repository& repo, const Context& ctx) {
  TRY_ASSIGN(const auto all, list_parts(repo, ctx));
  std::vector<store::Key> out;
  for (const auto& [id, parts] : all) {
    if (parts.plan) continue;
    if (parts.done) out.push_back(collection_key(id, kDonePart.name));
    if (parts.closed) out.push_back(collection_key(id, kClosedPart.name));
  }
  return out;
}

Result<Condemned> read_condemned(const Repository& repo, const Context& ctx, Condemned known) {
  TRY_ASSIGN(const auto all, list_parts(repo, ctx));
  Condemned out = std::move(known);
  for (const auto& [id, parts] : all) {
    if (!parts.plan || std::find(out.plan_ids.begin(), out.plan_ids.end(), id) != out.plan_ids.end())
      continue;
    auto plan = load_plan(repo, ctx, id);
    if (!plan && plan.error().code == Code::kNotFound) continue;
    if (!plan) return fail(std::move(plan).error());
    out.packs.insert(plan->packs.begin(), plan->packs.end());
    out.plan_ids.push_back(id);
  }
  return out;
}

Result<> put_plan(const Repository& repo, const Context& ctx, const CollectionPlan& plan) {
  format::CollectionPlan out;
  out.set_id(plan.id);
  out.set_created_us(to_wire(plan.created));
  out.set_not_before_us(to_wire(plan.not_before));
  add_packs(*out.mutable_packs(), plan.packs);
  for (const std::string& object : plan.objects) out.add_objects(object);
  out.set_host(utf8(os::self_identity().host));
  add_writers(*out.mutable_pins(), plan.pins);
  return repo.put_object(ctx, kPlanPart.kind, collection_key(plan.id, kPlanPart.name), serialize(out));
}

Result<> put_done(const Repository& repo, const Context& ctx, const CollectionOutcome& outcome) {
  format::CollectionDone out;
  out.set_id(outcome.id);
  out.set_finished_us(to_wire(now()));
  add_packs(*out.mutable_removed_packs(), outcome.removed);
  for (const std::string& object : outcome.removed_objects) out.add_removed_objects(object);
  add_packs(*out.mutable_pardoned_packs(), outcome.pardoned);
  return repo.put_object(ctx, kDonePart.kind, collection_key(outcome.id, kDonePart.name), serialize(out));
}

Result<> put_closed(const Repository& repo, const Context& ctx, const std::string& id,
                    const std::vector<WriterId>& pins) {
  format::CollectionClosed out;
  out.set_id(id);
  out.set_closed_us(to_wire(now()));
  add_writers(*out.mutable_pins(), pins);
  return repo.put_object(ctx, kClosedPart.kind, collection_key(id, kClosedPart.name), serialize(out));
}

}  // namespace varve::repo
