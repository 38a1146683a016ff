#include "repo/page_reader.h"

#include <algorithm>

namespace varve::repo {
namespace {

// Of pages of 4 KiB that cannot be compressed, what one request carries: a little less than 8 MiB, for frames
// are some bytes longer than their pages.
constexpr size_t kPart = 1920;
// Of parts for each thread that fetches: the next are at hand while another batch is gathered.
constexpr size_t kWaiting = 2;

size_t fetchers_for(const SlotReaderOptions& options, size_t parallel_gets) {
  const size_t fit = std::max<size_t>(1, options.in_flight / options.max_request);
  return std::clamp<size_t>(parallel_gets, std::max(1u, options.workers),
                            std::max<size_t>(fit, std::max(1u, options.workers)));
}

}  // namespace

PageReader::PageReader(SlotReader& slots, SlotReader::DeliverRow deliver)
    : slots_(slots),
      deliver_(std::move(deliver)),
      fetchers_(fetchers_for(slots.options_, slots.repo_->store().parallel_gets())),
      decoders_(std::max(1u, slots.options_.workers)),
      group_(slots.ctx_.stop) {}

Result<> PageReader::add(std::vector<SlotReader::Request> requests) {
  if (requests.empty()) return {};
  std::sort(requests.begin(), requests.end(), [](const auto& a, const auto& b) {
    if (auto c = a.place.pack <=> b.place.pack; c != 0) return c < 0;
    return a.place.ordinal < b.place.ordinal;
  });
  const auto batch = std::make_shared<const Batch>(std::move(requests));
  const std::span<const SlotReader::Request> all(*batch);
  std::unique_lock lock(mutex_);
  for (size_t begin = 0, i = 1; i <= all.size(); ++i) {
    if (i < all.size() && all[i].place.pack == all[begin].place.pack && i - begin < kPart) continue;
    parts_.push_back({batch, all.subspan(begin, i - begin)});
    begin = i;
  }
  for (; threads_ < std::min(fetchers_, parts_.size()); ++threads_)
    group_.spawn([this](const std::stop_token& stop) { return work(stop); });
  changed_.notify_all();
  const bool room =
      changed_.wait(lock, group_.token(), [this] { return parts_.size() <= kWaiting * fetchers_; });
  if (room) return {};
  lock.unlock();
  return finish();
}

Result<> PageReader::finish() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
  TRY_OK(group_.wait());
  // Stopped from outside, before anyone noticed.
  if (!parts_.empty()) {
    TRY_OK(slots_.ctx_.check());
    return fail(Code::kInternal, "pages were left unread");
  }
  return {};
}

Result<> PageReader::work(const std::stop_token& stop) {
  codec::Decompressor decompressor;
  Context ctx = slots_.ctx_;
  ctx.stop = stop;
  for (;;) {
    Part part;
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [this] { return closed_ || !parts_.empty(); }) || parts_.empty())
        return {};
      part = std::move(parts_.front());
      parts_.pop_front();
    }
    changed_.notify_all();
    TRY_OK(read(ctx, part, decompressor));
  }
}

Result<> PageReader::read(const Context& ctx, const Part& part, codec::Decompressor& decompressor) {
  for (auto rest = part.requests; !rest.empty();) {
    TRY_OK(ctx.check());
    TRY_ASSIGN(const SlotReader::Run run, slots_.fetch_run(ctx, rest));
    rest = rest.subspan(run.requests.size());
    decoders_.acquire();
    auto decoded = slots_.decode_run(run, decompressor, deliver_);
    decoders_.release();
    TRY_OK(decoded);
  }
  return {};
}

}  // namespace varve::repo
