// What the benchmarks share: stores that keep nothing, stop watches, and the resources a run has used.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "repo/repository.h"
#include "store/store.h"

namespace varve::bench {

// Keeps small objects in memory (pins, keys, manifests) and counts packs without keeping them: what a backup
// costs apart from the store. Nothing can be restored from it.
store::StorePtr null_store();
uint64_t discarded_bytes(const store::StorePtr& null);

struct Usage {
  double wall = 0, cpu = 0;  // seconds; cpu: user and system, all threads
};
class StopWatch {
 public:
  StopWatch();
  Usage elapsed() const;

 private:
  std::chrono::steady_clock::time_point begin_;
  double cpu_;
};

// The most memory this process has had resident, in bytes (VmHWM).
uint64_t peak_resident();

// Runs a program, its output thrown away or passed on. wall and cpu are the child's alone.
struct ProgramRun {
  Usage usage;
  bool success = false;
};
ProgramRun run_program(const std::vector<std::string>& argv, bool show_output);

// A new repository with a key file of its own (or unencrypted).
repo::RepositoryPtr new_repository(store::StorePtr store, repo::Encryption encryption);

// The value of a Result, or the end of the program with the error told.
[[noreturn]] void give_up(const Error& error);
template <typename T>
T need(Result<T> result) {
  if (!result) give_up(result.error());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// "--name=value" of the command line; the default when it is not there.
std::string option(int argc, char** argv, std::string_view name, std::string_view otherwise);
uint64_t number_option(int argc, char** argv, std::string_view name, uint64_t otherwise);
bool has_flag(int argc, char** argv, std::string_view name);

}  // namespace varve::bench
