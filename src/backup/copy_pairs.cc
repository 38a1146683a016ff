#include "backup/copy_pairs.h"

#include <fmt/format.h>

#include "base/text.h"

namespace varve::backup {
namespace {

constexpr size_t kPage = 16384;  // some 3 MiB

class Listing {
 public:
  Listing(const Context& ctx, store::Store* store, const std::string& prefix)
      : ctx_(ctx), store_(store), prefix_(prefix), more_(store != nullptr) {}

  // The object it stands at; null at the end. Valid until the next call.
  Result<const store::ObjectInfo*> peek() {
    while (at_ == page_.objects.size()) {
      if (!more_) return nullptr;
      TRY_OK(ctx_.check());
      TRY_ASSIGN(store::ListPage next, store_->list(ctx_, prefix_, page_.next, kPage));
      // The two listings are joined by their order: one that is out of order would make objects seem to miss.
      for (const store::ObjectInfo& o : next.objects) {
        if (o.key <= last_)
          return fail(Code::kUnreachable, fmt::format("{} lists {} after {}", store_->describe(),
                                                      printable(o.key), printable(last_)));
        last_ = o.key;
      }
      page_ = std::move(next);
      at_ = 0;
      more_ = !page_.next.empty();
    }
    return &page_.objects[at_];
  }
  void next() { ++at_; }

 private:
  const Context& ctx_;
  store::Store* const store_;
  const std::string& prefix_;
  store::ListPage page_;
  size_t at_ = 0;
  bool more_;
  store::Key last_;
};

}  // namespace

Result<> for_each_pair(const Context& ctx, store::Store& from, store::Store* to, const std::string& prefix,
                       const PairCallback& callback) {
  Listing left(ctx, &from, prefix), right(ctx, to, prefix);
  while (true) {
    TRY_ASSIGN(const store::ObjectInfo* a, left.peek());
    TRY_ASSIGN(const store::ObjectInfo* b, right.peek());
    if (a == nullptr && b == nullptr) return {};
    if (a != nullptr && b != nullptr && a->key != b->key) (a->key < b->key ? b : a) = nullptr;
    TRY_OK(callback(a, b));
    if (a != nullptr) left.next();
    if (b != nullptr) right.next();
  }
}

}  // namespace varve::backup
