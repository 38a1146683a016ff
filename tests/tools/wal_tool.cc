// For the integration tests: shows what Varve reads in PostgreSQL's write-ahead log.
//
//   wal_tool records SIZE PART FILE…        each record, one JSON object a line
//
// SIZE: of segments, in bytes. FILE…: segments under their own names, consecutive. PART: how many bytes are
// fed at a time; 0: whole files.
#include <cstdio>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iterator>

#include "engine/postgres/wal_reader.h"

namespace varve::engine::postgres {
namespace {

struct Segment {
  WalFileName name;
  std::string bytes;
};

Result<std::vector<Segment>> read_segments(uint32_t segment_size, int argc, char** argv, int first) {
  std::vector<Segment> out;
  for (int i = first; i < argc; ++i) {
    const std::filesystem::path path = argv[i];
    const auto name = parse_wal_file_name(path.filename().string(), segment_size);
    if (!name) return fail(Code::kUsage, fmt::format("{} is no segment", path.string()));
    std::ifstream in(path, std::ios::binary);
    out.push_back({*name, {std::istreambuf_iterator<char>(in), {}}});
  }
  if (out.empty()) return fail(Code::kUsage, "no segments");
  return out;
}

void print(const WalRecord& r) {
  fmt::print(
      R"({{"lsn":"{}","end":"{}","prev":"{}","rmid":{},"info":{},"xid":{},"length":{},"main":{},"blocks":[)",
      format_lsn(r.lsn), format_lsn(r.end), format_lsn(r.previous), r.rmid, r.info, r.xid, r.length,
      r.main_data.size());
  const char* separator = "";
  for (const BlockRef& b : r.blocks()) {
    fmt::print("{}[{},{},{},{},{},{}]", separator, b.file.tablespace, b.file.database, b.file.relation,
               static_cast<int>(b.fork), b.block, b.has_image);
    separator = ",";
  }
  fmt::print("]}}\n");
}

Result<> records(uint32_t segment_size, size_t part, const std::vector<Segment>& segments) {
  WalReader reader({.lsn = segments[0].name.start, .segment_size = segment_size});
  for (const Segment& segment : segments) {
    ByteView bytes = as_bytes(segment.bytes);
    while (!bytes.empty()) {
      const ByteView now = bytes.first(part == 0 ? bytes.size() : std::min(part, bytes.size()));
      bytes = bytes.subspan(now.size());
      TRY_OK(reader.feed(now, [](const WalRecord& record) -> Result<> {
        print(record);
        return {};
      }));
    }
  }
  constexpr const char* kKinds[] = {"zeros", "stale", "damaged", "unsupported"};
  if (const auto& stop = reader.stop())
    fmt::print(R"({{"stop":"{}","lsn":"{}","reason":"{}"}})"
               "\n",
               kKinds[static_cast<int>(stop->kind)], format_lsn(stop->lsn), stop->reason);
  fmt::print(R"({{"version":{},"head":{},"pending":{}}})"
             "\n",
             reader.version(), reader.head_size(), reader.pending_size());
  return {};
}

Result<> run(int argc, char** argv) {
  if (argc < 5) return fail(Code::kUsage, "usage: wal_tool records SIZE PART FILE…");
  const std::string command = argv[1];
  const auto segment_size = static_cast<uint32_t>(std::stoul(argv[2]));
  TRY_ASSIGN(const auto segments, read_segments(segment_size, argc, argv, 4));
  if (command == "records") return records(segment_size, std::stoul(argv[3]), segments);
  return fail(Code::kUsage, fmt::format("unknown command {}", command));
}

}  // namespace
}  // namespace varve::engine::postgres

int main(int argc, char** argv) {
  if (auto done = varve::engine::postgres::run(argc, argv); !done) {
    fmt::print(stderr, "error: {}\n", done.error().describe());
    return 1;
  }
}
