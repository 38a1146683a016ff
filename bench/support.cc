#include "support.h"

#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "store/mem/mem_store.h"
#include "store/wrap/forward.h"

namespace varve::bench {
namespace {

double seconds(const timeval& t) {
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
}

double own_cpu() {
  rusage use{};
  ::getrusage(RUSAGE_SELF, &use);
  return seconds(use.ru_utime) + seconds(use.ru_stime);
}

double since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

namespace {
class NullStore : public store::Forward {
 public:
  NullStore() : Forward(std::make_shared<store::MemStore>()) {}
  Result<> put(const Context& ctx, const store::Key& key, store::Body body,
               const store::PutOptions& options) override {
    if (!key.starts_with("packs/")) return Forward::put(ctx, key, body, options);
    discarded_ += store::body_size(body);
    return {};
  }
  std::atomic<uint64_t> discarded_{0};
};
}  // namespace

store::StorePtr null_store() {
  return std::make_shared<NullStore>();
}
uint64_t discarded_bytes(const store::StorePtr& null) {
  return static_cast<const NullStore&>(*null).discarded_;
}

StopWatch::StopWatch() : begin_(std::chrono::steady_clock::now()), cpu_(own_cpu()) {}
Usage StopWatch::elapsed() const {
  return {since(begin_), own_cpu() - cpu_};
}

uint64_t peak_resident() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::strtoull(line.c_str() + 6, nullptr, 10) * 1024;
  }
  give_up(Error{Code::kIo, "/proc/self/status does not tell VmHWM"});
}

ProgramRun run_program(const std::vector<std::string>& argv, bool show_output) {
  std::vector<char*> args;
  for (const std::string& a : argv) args.push_back(const_cast<char*>(a.c_str()));
  args.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (!show_output) posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  const auto begin = std::chrono::steady_clock::now();
  pid_t pid = 0;
  if (::posix_spawnp(&pid, args[0], &actions, nullptr, args.data(), environ) != 0)
    give_up(Error{Code::kNotFound, "cannot run " + argv[0]});
  posix_spawn_file_actions_destroy(&actions);
  int status = 0;
  rusage use{};
  if (::wait4(pid, &status, 0, &use) != pid) give_up(Error{Code::kInternal, "cannot wait for " + argv[0]});
  return {{since(begin), seconds(use.ru_utime) + seconds(use.ru_stime)}, status == 0};
}

repo::RepositoryPtr new_repository(store::StorePtr store, repo::Encryption encryption) {
  repo::KeySource key;
  if (encryption != repo::Encryption::kNone) key.key_file = to_buffer(as_bytes(repo::generate_key_file()));
  return need(repo::Repository::create({}, std::move(store), key, {encryption}));
}

void give_up(const Error& error) {
  std::fprintf(stderr, "error: %s\n", error.describe().c_str());
  std::exit(1);
}

std::string option(int argc, char** argv, std::string_view name, std::string_view otherwise) {
  const std::string prefix = "--" + std::string(name) + "=";
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg.starts_with(prefix)) return std::string(arg.substr(prefix.size()));
  }
  return std::string(otherwise);
}
uint64_t number_option(int argc, char** argv, std::string_view name, uint64_t otherwise) {
  const std::string text = option(argc, argv, name, "");
  return text.empty() ? otherwise : std::strtoull(text.c_str(), nullptr, 10);
}
bool has_flag(int argc, char** argv, std::string_view name) {
  const std::string flag = "--" + std::string(name);
  for (int i = 1; i < argc; ++i) {
    if (argv[i] == flag) return true;
  }
  return false;
}

}  // namespace varve::bench
