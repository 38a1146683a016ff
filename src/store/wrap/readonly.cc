#include "store/wrap/readonly.h"

#include <fmt/format.h>

#include "store/wrap/forward.h"

namespace varve::store {
namespace {

class ReadOnly : public Forward {
 public:
  using Forward::Forward;
  Result<> put(const Context&, const Key& key, Body, const PutOptions&) override {
    return refuse("write", key);
  }
  Result<std::vector<RemoveResult>> remove(const Context&, std::span<const Key> keys) override {
    return refuse("remove", keys.empty() ? "objects" : keys[0]);
  }
  Result<> extend_retention(const Context&, const Key& key, Timestamp) override {
    return refuse("extend the retention of", key);
  }
  Result<uint64_t> remove_unfinished(const Context&, Seconds) override {
    return refuse("remove", "what puts have left");
  }

 private:
  tl::unexpected<Error> refuse(const char* what, const Key& key) const {
    return fail(Code::kDenied,
                fmt::format("cannot {} {}: {} is open for reading only", what, key, describe()),
                "open the store without the read-only option to change it");
  }
};

}  // namespace

StorePtr with_readonly(StorePtr inner) {
  return std::make_shared<ReadOnly>(std::move(inner));
}

}  // namespace varve::store
