// What every decorator is made from: passes each call on; a decorator overrides what it changes.
#pragma once

#include <utility>

#include "store/store.h"

namespace varve::store {

class Forward : public Store {
 public:
  explicit Forward(StorePtr inner) : inner_(std::move(inner)) {}

  Capabilities capabilities() const override { return inner_->capabilities(); }
  Result<> put(const Context& ctx, const Key& key, Body body, const PutOptions& options) override {
    return inner_->put(ctx, key, body, options);
  }
  Result<uint64_t> get(const Context& ctx, const Key& key, Range range, const Sink& sink) override {
    return inner_->get(ctx, key, range, sink);
  }
  Result<ObjectInfo> head(const Context& ctx, const Key& key) override { return inner_->head(ctx, key); }
  Result<ListPage> list(const Context& ctx, const std::string& prefix, const std::string& token,
                        size_t most) override {
    return inner_->list(ctx, prefix, token, most);
  }
  Result<std::vector<RemoveResult>> remove(const Context& ctx, std::span<const Key> keys) override {
    return inner_->remove(ctx, keys);
  }
  Result<> extend_retention(const Context& ctx, const Key& key, Timestamp until) override {
    return inner_->extend_retention(ctx, key, until);
  }
  size_t parallel_gets() const override { return inner_->parallel_gets(); }
  Result<uint64_t> remove_unfinished(const Context& ctx, Seconds age) override {
    return inner_->remove_unfinished(ctx, age);
  }
  std::string describe() const override { return inner_->describe(); }
  std::span<const StorePtr> alternatives() const override { return inner_->alternatives(); }
  std::string policy() const override { return inner_->policy(); }

 protected:
  Store& inner() const { return *inner_; }

 private:
  StorePtr inner_;
};

}  // namespace varve::store
