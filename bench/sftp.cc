// How fast bytes go to an SFTP server and back, against the command line client of OpenSSH in the same run.
//   tests/services/with.py sftp -- bench_sftp [--mib=64] [--rounds=5]
// One object, one connection, over loopback: put against `put -f` (which syncs, as we do), get against `get`.
// Prints for each the best round of both and their ratio; exit 1 when one is below 0.8. A number of its own
// is how the ciphers of this libssh2 do: --ours-only.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "os/file.h"
#include "store/open.h"
#include "store/place.h"
#include "support.h"

namespace varve::bench {
namespace {

constexpr double kLeast = 0.8;

struct Server {
  std::string address;              // of the store
  std::vector<std::string> client;  // sftp(1) and its options, up to the host
  std::string folder, host;
};

Server find_server() {
  const char* address = std::getenv("VARVE_TEST_SFTP");
  if (address == nullptr) give_up(Error{Code::kUsage, "run it by tests/services/with.py sftp -- bench_sftp"});
  const store::Place place = need(store::parse_place(address));
  const size_t colon = place.authority.find(':');
  return {address,
          {"/usr/bin/sftp", "-q", "-P", place.authority.substr(colon + 1), "-i",
           place.settings.text("identity_file"), "-o",
           "UserKnownHostsFile=" + place.settings.text("known_hosts"), "-o", "IdentitiesOnly=yes", "-b"},
          "/" + place.path,
          place.authority.substr(0, colon)};
}

double by_client(const Server& server, const os::Path& batch, const std::string& command) {
  std::ofstream(batch) << command << "\n";
  std::vector<std::string> argv = server.client;
  argv.push_back(batch.native());
  argv.push_back(server.host);
  const ProgramRun run = run_program(argv, false);
  if (!run.success) give_up(Error{Code::kUnreachable, "sftp failed: " + command});
  return run.usage.wall;
}

template <typename Call>
double timed(const Call& call) {
  const StopWatch watch;
  call();
  return watch.elapsed().wall;
}

bool report(const char* what, double mib, double ours, double theirs) {
  std::printf("%-4s %7.0f MiB/s, sftp %7.0f MiB/s, ratio %.2f\n", what, mib / ours, mib / theirs,
              theirs / ours);
  return theirs / ours >= kLeast;
}

int run(int argc, char** argv) {
  const uint64_t mib = number_option(argc, argv, "mib", 64), rounds = number_option(argc, argv, "rounds", 5);
  const Server server = find_server();
  const auto dir = need(os::TempDir::create("varve-bench"));
  Buffer data(mib << 20);
  uint64_t x = 88172645463325252ull;
  for (size_t i = 0; i + 8 <= data.size(); i += 8) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    store_le(data.data() + i, x);
  }
  const os::Path file = dir.path() / "in", back = dir.path() / "back", batch = dir.path() / "batch";
  need(os::replace_file(file, data));
  auto sink = need(os::File::open(back, os::File::Mode::kCreateNew));

  double put = 1e9, get = 1e9, their_put = 1e9, their_get = 1e9;
  // A connection each time, as the client makes one.
  for (uint64_t round = 0; round < rounds; ++round) {
    const store::Key key = "bench/" + std::to_string(round);
    put = std::min(put, timed([&] {
                     auto store = need(store::open_store({}, server.address, {}));
                     need(store::put_bytes(*store, {}, key, data));
                   }));
    get = std::min(get, timed([&] {
                     auto store = need(store::open_store({}, server.address, {}));
                     uint64_t at = 0;
                     need(store->get({}, key, {}, [&](ByteView part) -> Result<> {
                       TRY_OK(sink.write_at(at, part));
                       at += part.size();
                       return {};
                     }));
                   }));
    if (need(os::read_file(back, data.size())) != data)
      give_up(Error{Code::kDamaged, "it came back different"});
    if (has_flag(argc, argv, "ours-only")) continue;
    const std::string there = server.folder + "/theirs";
    their_put = std::min(their_put, by_client(server, batch, "put -f " + file.native() + " " + there));
    their_get =
        std::min(their_get, by_client(server, batch, "get " + there + " " + (dir.path() / "out").native()));
  }
  const double size = static_cast<double>(mib);
  const bool puts = report("put", size, put, their_put), gets = report("get", size, get, their_get);
  return puts && gets ? 0 : 1;
}

}  // namespace
}  // namespace varve::bench

int main(int argc, char** argv) {
  return varve::bench::run(argc, argv);
}
