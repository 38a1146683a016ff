// The pipeline alone, from pages to sealed packs that nobody keeps, against `zstd -3 -T2` over the same
// bytes.
//   bench_pipeline FILE [--page-size=4096] [--workers=2] [--level=3] [--rounds=3] [--plain]
// Both read the file from the page cache; they take turns, and the medians are compared. Varve also hashes
// each page, encrypts (unless --plain), opens and decompresses again every frame, and checksums the packs.
#include <algorithm>
#include <cstdio>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "repo/backup_writer.h"
#include "support.h"

namespace varve::bench {
namespace {

struct Run {
  Usage usage;
  uint64_t stored = 0;
};

struct Settings {
  std::string file;
  uint32_t page_size = 4096;
  repo::PackStreamOptions packs;
  repo::Encryption encryption = repo::Encryption::kAes256Gcm;
};

Run run_varve(const Settings& settings) {
  const int fd = ::open(settings.file.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status {};
  if (fd < 0 || ::fstat(fd, &status) != 0) give_up(Error{Code::kIo, "cannot read " + settings.file});
  auto store = null_store();
  auto repo = new_repository(store, settings.encryption);
  StopWatch watch;
  repo::BackupWriter::Options options;
  options.packs = settings.packs;
  auto writer = need(repo::BackupWriter::begin(repo, {}, "bench", "", options, nullptr));
  repo::FileAttributes attributes;
  attributes.path = "file";
  attributes.size = static_cast<uint64_t>(status.st_size);
  attributes.page_size = settings.page_size;
  auto file = need(writer->file(attributes));
  Buffer buffer(1u << 20);
  for (;;) {
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0) give_up(Error{Code::kIo, "cannot read " + settings.file});
    if (n == 0) break;
    for (ByteView rest = ByteView(buffer).first(static_cast<size_t>(n)); !rest.empty();) {
      const size_t page = std::min<size_t>(settings.page_size, rest.size());
      need(file->page(rest.first(page)));
      rest = rest.subspan(page);
    }
  }
  ::close(fd);
  need(file->finish());
  repo::Manifest m;
  m.id = repo::new_backup_id(now(), "full");
  m.source = "bench";
  m.engine = "sqlite";
  m.type = "full";
  m.base = m.id;
  m.started = m.moment = now();
  need(writer->commit(std::move(m)));
  return {watch.elapsed(), discarded_bytes(store)};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int run(int argc, char** argv) {
  Settings settings;
  if (argc < 2 || argv[1][0] == '-') {
    std::fprintf(
        stderr,
        "usage: bench_pipeline FILE [--page-size=N] [--workers=N] [--level=N] [--rounds=N] [--plain]\n");
    return 2;
  }
  settings.file = argv[1];
  settings.page_size = static_cast<uint32_t>(number_option(argc, argv, "page-size", 4096));
  settings.packs.workers = static_cast<unsigned>(number_option(argc, argv, "workers", 2));
  settings.packs.level = static_cast<int>(number_option(argc, argv, "level", 3));
  settings.packs.frame_size = number_option(argc, argv, "frame-kib", 64) << 10;
  if (has_flag(argc, argv, "plain")) settings.encryption = repo::Encryption::kNone;
  const auto rounds = number_option(argc, argv, "rounds", 3);
  const bool alone = has_flag(argc, argv, "alone");  // for a profiler

  struct stat status {};
  if (::stat(settings.file.c_str(), &status) != 0) give_up(Error{Code::kIo, "cannot read " + settings.file});
  const double mib = static_cast<double>(status.st_size) / (1 << 20);
  const std::vector<std::string> peer{"zstd", "-3", "-T2", "-q", "-c", settings.file};
  if (!alone) run_program({"cat", settings.file}, false);  // into the page cache

  std::vector<double> wall, cpu, peer_wall, peer_cpu;
  uint64_t stored = 0;
  for (uint64_t i = 0; i < rounds; ++i) {
    const Run mine = run_varve(settings);
    wall.push_back(mine.usage.wall);
    cpu.push_back(mine.usage.cpu);
    stored = mine.stored;
    if (alone) continue;
    const ProgramRun theirs = run_program(peer, false);
    if (!theirs.success) give_up(Error{Code::kInternal, "zstd failed"});
    peer_wall.push_back(theirs.usage.wall);
    peer_cpu.push_back(theirs.usage.cpu);
  }
  std::printf("%-22s %7.0f MiB/s  wall %6.2f s  cpu %6.2f s  stored %.3f of the input\n", "varve",
              mib / median(wall), median(wall), median(cpu),
              static_cast<double>(stored) / static_cast<double>(status.st_size));
  if (!alone) {
    std::printf("%-22s %7.0f MiB/s  wall %6.2f s  cpu %6.2f s\n", "zstd -3 -T2", mib / median(peer_wall),
                median(peer_wall), median(peer_cpu));
    std::printf("speed: %.0f %% of zstd (target: 80 %% or more); cpu: %.2f times zstd's\n",
                100 * median(peer_wall) / median(wall), median(cpu) / median(peer_cpu));
  }
  std::printf("peak resident: %.0f MiB\n", static_cast<double>(peak_resident()) / (1 << 20));
  return 0;
}

}  // namespace
}  // namespace varve::bench

int main(int argc, char** argv) {
  return varve::bench::run(argc, argv);
}
