// How far a long operation has come: counters that workers bump and a display reads.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace varve {

// Thread-safe. `phase` is set from one thread at a time and is a string literal.
struct Progress {
  std::atomic<const char*> phase{""};
  std::atomic<uint64_t> total_bytes{0};  // 0: not known
  std::atomic<uint64_t> done_bytes{0};
  std::atomic<uint64_t> total_items{0};
  std::atomic<uint64_t> done_items{0};
  std::atomic<uint64_t> stored_bytes{0};  // written to, or fetched from, the store

  void begin(const char* name, uint64_t bytes, uint64_t items = 0);
};

// One line for a person from the counters: "reading  1.2 of 3.1 GiB (39 %), 410 MiB/s, 5 s left".
std::string progress_line(const Progress& p, double seconds_since_begin);

}  // namespace varve
