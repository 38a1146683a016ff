// The records of a collection, gc/<id>/plan, …/done and …/closed: written by the collector alone.
#pragma once

#include "repo/collect.h"

namespace varve::repo {

struct CollectionPart {
  std::string_view name, kind;  // last segment of the object's name; its kind
};
inline constexpr CollectionPart kPlanPart{"plan", "collection plan"};
inline constexpr CollectionPart kDonePart{"done", "collection done"};
inline constexpr CollectionPart kClosedPart{"closed", "collection closed"};

struct CollectionOutcome {
  std::string id;
  std::vector<PackId> removed, pardoned;
  std::vector<std::string> removed_objects;
};

// Each is create-only: kExists.
Result<> put_plan(const Repository& repo, const Context& ctx, const CollectionPlan& plan);
Result<> put_done(const Repository& repo, const Context& ctx, const CollectionOutcome& outcome);
Result<> put_closed(const Repository& repo, const Context& ctx, const std::string& id,
                    const std::vector<WriterId>& pins);
// What is left of records whose plan is gone: a drop that did not end.
Result<std::vector<store::Key>> list_dropped_plans(const Repository& repo, const Context& ctx);

}  // namespace varve::repo
