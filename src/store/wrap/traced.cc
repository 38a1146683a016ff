#include "store/wrap/traced.h"

#include "os/trace.h"
#include "store/wrap/forward.h"

namespace varve::store {
namespace {

class Traced : public Forward {
 public:
  using Forward::Forward;

  Result<> put(const Context& ctx, const Key& key, Body body, const PutOptions& options) override {
    TRY_OK(os::trace({.op = os::Op::kPutObject, .path = key, .other = {}, .size = body_size(body)}));
    return inner().put(ctx, key, body, options);
  }
  Result<std::vector<RemoveResult>> remove(const Context& ctx, std::span<const Key> keys) override {
    if (!keys.empty()) TRY_OK(os::trace({.op = os::Op::kRemoveObject, .path = keys.front(), .other = {}}));
    return inner().remove(ctx, keys);
  }
};

}  // namespace

StorePtr with_trace(StorePtr inner) {
  return std::make_shared<Traced>(std::move(inner));
}

}  // namespace varve::store
