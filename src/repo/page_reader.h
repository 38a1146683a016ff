// Reads many pages behind one another: what is asked for next is gathered while earlier requests are on their
// way, so that neither the line to the store nor the processors wait.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <semaphore>
#include <vector>

#include "base/task_group.h"
#include "repo/slot_reader.h"

namespace varve::repo {

// As many requests are under way at once as the store is best asked with (Store::parallel_gets), and at least
// one for each worker; each takes at most max_request bytes, and all of them in_flight. As many threads
// decode as there are workers.
//
// add() and finish() are called from one thread.
class PageReader {
 public:
  // `slots` outlives this.
  PageReader(SlotReader& slots, SlotReader::DeliverRow deliver);
  ~PageReader() = default;  // abandons what is not read
  PageReader(const PageReader&) = delete;
  PageReader& operator=(const PageReader&) = delete;

  // These are read in the order of packs and slots, after what was added before. Waits while enough is
  // waiting to be fetched. An error is the first that happened, of any request; nothing more may then be
  // added.
  Result<> add(std::vector<SlotReader::Request> requests);
  // Waits until every page was delivered. Once.
  Result<> finish();

 private:
  using Batch = std::vector<SlotReader::Request>;
  // Requests for one pack, kept alive by their batch.
  struct Part {
    std::shared_ptr<const Batch> batch;
    std::span<const SlotReader::Request> requests;
  };
  Result<> work(const std::stop_token& stop);
  Result<> read(const Context& ctx, const Part& part, codec::Decompressor& decompressor);

  SlotReader& slots_;
  const SlotReader::DeliverRow deliver_;
  const size_t fetchers_;
  std::counting_semaphore<> decoders_;

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Part> parts_;
  size_t threads_ = 0;
  bool closed_ = false;
  TaskGroup group_;  // last: its threads end before what they use
};

}  // namespace varve::repo
