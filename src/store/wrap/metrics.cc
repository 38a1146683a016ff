#include "store/wrap/metrics.h"

#include "store/wrap/forward.h"

namespace varve::store {
namespace {

bool is_answer(const Error& e) {
  return e.code == Code::kNotFound || e.code == Code::kExists;
}

class Measured : public Forward {
 public:
  Measured(StorePtr inner, std::shared_ptr<Metrics> metrics)
      : Forward(std::move(inner)), metrics_(std::move(metrics)) {}

  Result<> put(const Context& ctx, const Key& key, Body body, const PutOptions& options) override {
    return measure(
        CallKind::kPut, [&] { return inner().put(ctx, key, body, options); },
        [&](const Result<>& r) { return r ? body_size(body) : 0; });
  }
  Result<uint64_t> get(const Context& ctx, const Key& key, Range range, const Sink& sink) override {
    uint64_t delivered = 0;
    auto counting = [&](ByteView piece) {
      delivered += piece.size();
      return sink(piece);
    };
    return measure(
        CallKind::kGet, [&] { return inner().get(ctx, key, range, counting); },
        [&](const Result<uint64_t>&) { return delivered; });
  }
  Result<ObjectInfo> head(const Context& ctx, const Key& key) override {
    return measure(
        CallKind::kHead, [&] { return inner().head(ctx, key); },
        [](const Result<ObjectInfo>&) { return uint64_t{0}; });
  }
  Result<ListPage> list(const Context& ctx, const std::string& prefix, const std::string& token,
                        size_t most) override {
    return measure(
        CallKind::kList, [&] { return inner().list(ctx, prefix, token, most); },
        [](const Result<ListPage>& r) { return r ? r->objects.size() : size_t{0}; });
  }
  Result<std::vector<RemoveResult>> remove(const Context& ctx, std::span<const Key> keys) override {
    return measure(
        CallKind::kRemove, [&] { return inner().remove(ctx, keys); },
        [&](const Result<std::vector<RemoveResult>>&) { return keys.size(); });
  }
  Result<> extend_retention(const Context& ctx, const Key& key, Timestamp until) override {
    return measure(
        CallKind::kExtend, [&] { return inner().extend_retention(ctx, key, until); },
        [](const Result<>&) { return uint64_t{0}; });
  }

 private:
  template <typename Call, typename Bytes>
  auto measure(CallKind kind, const Call& call, const Bytes& bytes) -> decltype(call()) {
    const auto begin = SteadyClock::now();
    auto result = call();
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(SteadyClock::now() - begin);
    metrics_->record(kind, took, bytes(result), !result && !is_answer(result.error()));
    return result;
  }

  std::shared_ptr<Metrics> metrics_;
};

}  // namespace

void Metrics::record(CallKind kind, std::chrono::microseconds took, uint64_t bytes, bool failed) {
  Counters& c = counters_[static_cast<size_t>(kind)];
  ++c.calls;
  if (failed) ++c.failures;
  c.bytes += bytes;
  c.total_us += took.count();
  int64_t longest = c.longest_us;
  while (took.count() > longest && !c.longest_us.compare_exchange_weak(longest, took.count())) {
  }
}

MetricsSnapshot Metrics::snapshot() const {
  MetricsSnapshot out;
  for (size_t i = 0; i < kCallKinds; ++i) {
    const Counters& c = counters_[i];
    out.by_kind[i] = {c.calls, c.failures, c.bytes, std::chrono::microseconds(c.total_us),
                      std::chrono::microseconds(c.longest_us)};
  }
  return out;
}

StorePtr with_metrics(StorePtr inner, std::shared_ptr<Metrics> metrics) {
  return std::make_shared<Measured>(std::move(inner), std::move(metrics));
}

}  // namespace varve::store
