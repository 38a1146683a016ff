// Writes slots into packs: compressing and sealing in parallel, uploading behind, telling each slot's place
// at once.
//
// A slot's place (pack, ordinal) is settled when it is appended; the work on its frame goes on in other
// threads. The packs are durable when finish() has returned.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "base/context.h"
#include "base/progress.h"
#include "repo/pack.h"

namespace varve::repo {

struct PackStreamOptions {
  size_t pack_size = 32u << 20;    // stored bytes a pack is closed at
  uint32_t pack_slots = 1u << 18;  // … or slots, so that its index stays small
  size_t frame_size = 64u << 10;   // plain bytes; smaller appends of pages share a frame
  int level = 3;
  unsigned workers = 2;
  unsigned uploads = 2;  // packs uploading side by side; bounds memory with pack_size
};

class PackStream {
 public:
  PackStream(RepositoryPtr repo, Context ctx, const WriterId& writer, PackStreamOptions options,
             Progress* progress);
  ~PackStream();  // abandons what is not finished
  PackStream(const PackStream&) = delete;
  PackStream& operator=(const PackStream&) = delete;

  // The place of the first slot; the others follow it in the same pack. Waits while too much is under way.
  // Thread-safe.
  Result<SlotPlace> append(FrameInput input);
  // Waits until everything is stored. Once.
  Result<std::vector<PackInfo>> finish();
  uint64_t stored_bytes() const { return stored_bytes_; }  // uploaded so far

 private:
  struct Pack;
  struct Job;
  Result<> wait_for_room(std::unique_lock<std::mutex>& lock, size_t bytes, uint32_t slots);
  void dispatch_shared();
  void close_current();
  void push_ready(std::shared_ptr<Pack> pack);
  void wake_all();
  void push_job(std::shared_ptr<Pack> pack, uint32_t frame, FrameInput input);
  void encode_jobs();
  void upload_packs();
  Result<> upload(Pack& pack);
  void fail_with(Error error);

  const RepositoryPtr repo_;
  const Context ctx_;
  const WriterId writer_;
  const PackStreamOptions options_;
  Progress* const progress_;

  std::mutex mutex_;
  std::condition_variable_any room_, work_, whole_;  // for append() and finish(), encoders, uploaders
  std::optional<Error> error_;
  std::shared_ptr<Pack> current_;
  std::optional<FrameInput>
      shared_;  // the frame that small appends share; its number is the last of current_
  std::deque<Job> jobs_;
  std::deque<std::shared_ptr<Pack>> ready_;  // whole, to be uploaded
  std::vector<PackInfo> done_;
  uint32_t next_pack_ = 0;
  size_t raw_in_flight_ = 0, packs_alive_ = 0;
  bool stopping_ = false;
  std::atomic<uint64_t> stored_bytes_{0};
  std::vector<std::jthread> threads_;
};

}  // namespace varve::repo
