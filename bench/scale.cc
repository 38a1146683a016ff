// Whether memory stays within its promise, whatever the size: 256 MiB resident for a file of any size, 512
// MiB for a million files.
//   bench_scale [--gib=1024] [--files=1000000] [--folder=DIR]
// The data are generated, page by page, and go through the same writer and reader as every backup, into a
// local repository: a file of which one page in 512, and one segment in 1024 wholly, is not zeros (so every
// segment has a map of its own, of many runs), and a set of small files. Each is backed up in full and, with
// one page in 10,000 (one file in 1,000) changed, incrementally; then every map is read back and compared
// with what was generated, and a sample of the contents. Each step is a process of its own; exit 1 when one
// breaks its promise or anything comes back different.
#include <cstdio>

#include "os/file.h"
#include "repo/backup_writer.h"
#include "store/open.h"
#include "support.h"

namespace varve::bench {
namespace {

constexpr uint32_t kPage = 4096;
constexpr uint64_t kMiB = 1 << 20;

uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// What is in page `page` after `round` changes; 0: zeros.
uint64_t content(uint64_t page, unsigned round) {
  if (round > 0 && mix(page + 77) % 10'000 == 0) return mix(page) | 1;
  const bool whole_segment = page / repo::kSegmentPages % 1024 == 5;
  return whole_segment || mix(page) % 512 == 0 ? page + 1 : 0;
}

// A page as a table's might be: a part that is its own, and rows that resemble each other.
void fill(uint64_t seed, MutableBytes out) {
  if (seed == 0) return (void)std::memset(out.data(), 0, out.size());
  uint64_t state = seed;
  for (size_t at = 0; at < out.size(); at += 64) {
    std::byte row[64]{};
    state = mix(state + seed);
    store_le(row, state);
    store_le(row + 16, uint64_t{at});
    std::memset(row + 24, 'x', 30);
    std::memcpy(out.data() + at, row, std::min<size_t>(64, out.size() - at));
  }
}

struct Case {
  std::string folder;
  uint64_t gib = 0, files = 0;
};

std::string file_path(uint64_t number) {
  char text[64];
  std::snprintf(text, sizeof text, "tenants/%03u/%03u/customer-%07u.db",
                static_cast<unsigned>(number / 10'000), static_cast<unsigned>(number / 100 % 100),
                static_cast<unsigned>(number));
  return text;
}
repo::FileAttributes attributes_of(uint64_t number) {
  repo::FileAttributes a;
  a.path = file_path(number);
  a.size = 200 + mix(number) % 1500;
  a.page_size = kPage;
  a.mode = 0600;
  return a;
}
uint64_t file_content(uint64_t number, unsigned round) {
  return round > 0 && number % 1000 == 7 ? mix(number) | 1 : number + 1;
}

repo::RepositoryPtr open_repository(const Case& c, bool create) {
  auto store = need(store::open_store({}, c.folder + "/repository", {.create = create}));
  repo::KeySource key;
  const os::Path key_file = c.folder + "/key";
  if (create) {
    key.key_file = to_buffer(as_bytes(repo::generate_key_file()));
    need(os::replace_file(key_file, key.key_file));
    return need(repo::Repository::create({}, store, key, {}));
  }
  key.key_file = need(os::read_file(key_file, 1024));
  return need(repo::Repository::open({}, store, key));
}

const char* id_of(unsigned round) {
  return round == 0 ? "0-full" : "1-incremental";
}

void commit(repo::BackupWriter& writer, const std::string& source, unsigned round, uint64_t size) {
  repo::Manifest m;
  m.id = id_of(round);
  m.source = source;
  m.engine = "sqlite";
  m.type = round == 0 ? "full" : "incremental";
  m.parent = round == 0 ? "" : id_of(0);
  m.base = id_of(0);
  m.size = size;
  m.started = m.moment = now();
  m = need(writer.commit(std::move(m)));
  std::printf("  %llu pages new, %llu packs, %.1f MiB stored", static_cast<unsigned long long>(m.pages_new),
              static_cast<unsigned long long>(m.packs.size()), static_cast<double>(m.stored) / kMiB);
}

repo::FileAttributes large_file(const Case& c) {
  repo::FileAttributes a;
  a.path = "large.db";
  a.size = c.gib << 30;
  a.page_size = kPage;
  return a;
}

void back_up_file(const Case& c, unsigned round) {
  auto repo = open_repository(c, round == 0);
  auto writer = need(repo::BackupWriter::begin(repo, {}, "file", round == 0 ? "" : id_of(0), {}, nullptr));
  const repo::FileAttributes a = large_file(c);
  auto file = need(writer->file(a));
  Buffer page(kPage);
  const Buffer zeros = [] {
    Buffer b(kPage);
    std::memset(b.data(), 0, kPage);
    return b;
  }();
  for (uint64_t p = 0; p < a.pages(); ++p) {
    const uint64_t seed = content(p, round);
    if (seed != 0) fill(seed, page);
    need(file->page(seed != 0 ? page : zeros));
  }
  need(file->finish());
  commit(*writer, "file", round, a.size);
}

[[noreturn]] void differs(const std::string& what) {
  give_up(Error{Code::kDamaged, what + " came back different"});
}

void read_file(const Case& c) {
  auto repo = open_repository(c, false);
  const repo::Manifest m = need(repo::load_manifest(*repo, {}, "file", id_of(1)));
  repo::SlotReader slots(repo, {}, {}, nullptr);
  slots.know(m.packs);
  repo::FileTableReader table(slots, m);
  const auto file = need(table.find("large.db"));
  if (!file) differs("the file");
  uint64_t compared = 0;
  std::vector<repo::SlotReader::Request> requests;
  for (uint64_t s = 0; s < file->segments.size(); ++s) {
    const repo::SegmentMap map = need(table.map(*file, s));
    requests.clear();
    for (uint32_t i = 0; i < map.pages.size(); ++i) {
      if (map.is_zero(i) != (content(map.first_page + i, 1) == 0)) differs("a map");
      if (!map.is_zero(i) && s % 16 == 5) requests.push_back({map.place(i), map.first_page + i});
    }
    need(slots.read_pages(requests, [](uint64_t page, ByteView bytes) -> Result<> {
      Buffer expected(kPage);
      fill(content(page, 1), expected);
      if (!std::equal(bytes.begin(), bytes.end(), expected.begin(), expected.end())) differs("a page");
      return {};
    }));
    compared += requests.size();
  }
  std::printf("  every map, %llu pages compared", static_cast<unsigned long long>(compared));
}

void back_up_files(const Case& c, unsigned round) {
  auto repo = open_repository(c, round == 0);
  auto writer = need(repo::BackupWriter::begin(repo, {}, "files", round == 0 ? "" : id_of(0), {}, nullptr));
  // An engine gives the whole list at once: that belongs to the measurement.
  std::vector<repo::FileAttributes> list;
  for (uint64_t f = 0; f < c.files; ++f) list.push_back(attributes_of(f));
  uint64_t size = 0;
  Buffer bytes;
  for (uint64_t f = 0; f < c.files; ++f) {
    bytes.resize(list[f].size);
    fill(file_content(f, round), bytes);
    auto file = need(writer->file(list[f]));
    need(file->page(bytes));
    need(file->finish());
    size += bytes.size();
  }
  commit(*writer, "files", round, size);
}

void read_files(const Case& c) {
  auto repo = open_repository(c, false);
  const repo::Manifest m = need(repo::load_manifest(*repo, {}, "files", id_of(1)));
  repo::SlotReader slots(repo, {}, {}, nullptr);
  slots.know(m.packs);
  repo::FileTableReader table(slots, m);
  uint64_t number = 0;
  Buffer page, expected;
  need(table.for_each([&](const repo::FileRecord& f) -> Result<> {
    if (f.attributes.path != file_path(number)) differs("the list of files");
    const repo::SegmentMap map = need(table.map(f, 0));
    page.resize(f.attributes.size);
    expected.resize(f.attributes.size);
    need(slots.read_page(map.place(0), page));
    fill(file_content(number, 1), expected);
    if (page != expected) differs(f.attributes.path);
    ++number;
    return {};
  }));
  if (number != c.files) differs("the number of files");
  std::printf("  every file compared");
}

struct Step {
  const char* name;
  uint64_t promise;
  void (*run)(const Case&);
};
const Step kSteps[] = {
    {"file-full", 256 * kMiB, [](const Case& c) { back_up_file(c, 0); }},
    {"file-incremental", 256 * kMiB, [](const Case& c) { back_up_file(c, 1); }},
    {"file-restore", 256 * kMiB, read_file},
    {"files-full", 512 * kMiB, [](const Case& c) { back_up_files(c, 0); }},
    {"files-incremental", 512 * kMiB, [](const Case& c) { back_up_files(c, 1); }},
    {"files-restore", 512 * kMiB, read_files},
};

int run_step(const Case& c, const std::string& name) {
  for (const Step& step : kSteps) {
    if (name != step.name) continue;
    std::printf("%-18s", step.name);
    StopWatch watch;
    step.run(c);
    const Usage use = watch.elapsed();
    const uint64_t peak = peak_resident();
    const bool kept = peak <= step.promise;
    std::printf("\n%-18s  %6.1f s wall, %6.1f s cpu, %4.0f of %.0f MiB resident: %s\n", "", use.wall, use.cpu,
                static_cast<double>(peak) / kMiB, static_cast<double>(step.promise) / kMiB,
                kept ? "kept" : "BROKEN");
    return kept ? 0 : 1;
  }
  give_up(Error{Code::kUsage, "there is no step " + name});
}

int run(int argc, char** argv) {
  Case c{option(argc, argv, "folder", ""), number_option(argc, argv, "gib", 1024),
         number_option(argc, argv, "files", 1'000'000)};
  need(crypto::init());
  const std::string one = option(argc, argv, "step", "");
  if (!one.empty()) return run_step(c, one);

  auto scratch = need(os::TempDir::create("varve-bench-scale", c.folder));
  std::printf("a file of %llu GiB in pages of %u bytes; %llu small files\n",
              static_cast<unsigned long long>(c.gib), kPage, static_cast<unsigned long long>(c.files));
  std::fflush(stdout);
  bool all_kept = true;
  for (const Step& step : kSteps) {
    const std::string name = step.name;
    const std::string folder = (scratch.path() / name.substr(0, name.find('-'))).string();
    need(os::make_directories(folder));
    all_kept &= run_program({"/proc/self/exe", "--step=" + name, "--folder=" + folder,
                             "--gib=" + std::to_string(c.gib), "--files=" + std::to_string(c.files)},
                            true)
                    .success;
  }
  return all_kept ? 0 : 1;
}

}  // namespace
}  // namespace varve::bench

int main(int argc, char** argv) {
  return varve::bench::run(argc, argv);
}
