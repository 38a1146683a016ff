// For the integration tests: shows what Varve reads in PostgreSQL's write-ahead log.
//
//   wal_tool records SIZE PART FILE…        each record, one JSON object a line
//   wal_tool join SIZE PART FROM FILE…      indexes of pieces of PART bytes, stored, read again and joined
//   from the LSN
//                                           FROM on: commits, events, changes; the log may begin and end
//                                           anywhere
//   wal_tool speed SIZE 0 FILE…             how fast indexes are made
//
// SIZE: of segments, in bytes. FILE…: segments under their own names, consecutive. PART: how many bytes are
// fed at a time; 0: whole files.
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iterator>

#include "engine/postgres/wal_join.h"

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

// What text may hold goes through hex: names are any bytes.
std::string hex(std::string_view text) {
  return to_hex(as_bytes(text));
}

void print_commit(const Commit& c) {
  fmt::print(R"({{"commit":"{}","time":"{}","xid":{},"complete":{},"rows":[)", format_lsn(c.lsn),
             to_rfc3339(c.time), c.xid, c.work_complete);
  const char* separator = "";
  for (const RowCounts& r : c.work.rows) {
    fmt::print("{}[{},{},{},{}]", std::exchange(separator, ","), r.table.relation, r.inserted, r.updated,
               r.deleted);
  }
  fmt::print(R"(],"truncated":[)");
  separator = "";
  for (const TruncatedTable& t : c.work.truncated)
    fmt::print("{}{}", std::exchange(separator, ","), t.relation);
  fmt::print(R"(],"dropped":[)");
  separator = "";
  for (const RelFile& f : c.dropped) fmt::print("{}{}", std::exchange(separator, ","), f.relation);
  fmt::print("]}}\n");
}

void print_event(const WalEvent& e) {
  constexpr const char* kKinds[] = {"restore_point", "database_created",    "database_dropped",
                                    "file_created",  "no_full_page_writes", "recovery_end",
                                    "backup_end"};
  fmt::print(R"({{"event":"{}","lsn":"{}","text":"{}","file":[{},{},{}],"number":{}}})"
             "\n",
             kKinds[static_cast<int>(e.kind)], format_lsn(e.lsn), hex(e.text), e.file.tablespace,
             e.file.database, e.file.relation, e.number);
}

void print_changes(const BlockChanges& changes) {
  changes.for_each([](const BlockChanges::File& file, const ForkChanges& fork) {
    fmt::print(R"({{"file":[{},{},{},{}],"limit":{},"runs":[)", file.file.tablespace, file.file.database,
               file.file.relation, static_cast<int>(file.fork),
               fork.limit == ForkChanges::kNoLimit ? -1 : int64_t{fork.limit});
    const char* separator = "";
    fork.blocks.for_each_run([&](uint32_t first, uint64_t length) {
      fmt::print("{}[{},{}]", std::exchange(separator, ","), first, length);
    });
    fmt::print("]}}\n");
  });
  for (const auto& [tablespace, database] : changes.whole_databases())
    fmt::print("{{\"whole\":[{},{}]}}\n", tablespace, database);
  if (changes.broken()) fmt::print("{{\"broken\":\"{}\"}}\n", hex(*changes.broken()));
}

// Where a piece that begins at `start` ends: after `part` bytes, but not amid a page header.
Lsn cut(Lsn start, size_t part, Lsn end, uint32_t segment_size) {
  if (part == 0) return end;
  const Lsn at = std::min<Lsn>(start + part, end), page = at - at % kWalPage;
  const Lsn header_end = after_header(page, segment_size);
  return at >= header_end || at == end ? at : page > start ? page : header_end;
}

Result<> join(uint32_t segment_size, size_t part, Lsn from, const std::vector<Segment>& segments) {
  WalJoiner joiner({.from = from, .commit = print_commit, .event = print_event});
  uint64_t log = 0, stored = 0;
  PieceIdentity identity{.timeline = segments.back().name.timeline, .segment_size = segment_size};
  identity.version = version_of_magic(load_le<uint16_t>(as_bytes(segments[0].bytes).data())).value_or(0);
  bool stopped = false;
  for (const Segment& segment : segments) {
    const ByteView bytes = as_bytes(segment.bytes);
    const Lsn end = segment.name.start + bytes.size();
    // Small pieces begin where it is asked for.
    Lsn at = part > 0 && log == 0 ? std::max(from, segment.name.start) : segment.name.start;
    while (at < end && !stopped) {
      const Lsn to = cut(at, part, end, segment_size);
      identity.start = at;
      const Buffer encoded = encode(build_index(identity, bytes.subspan(at - segment.name.start, to - at)));
      TRY_ASSIGN(const WalIndex index, decode_index(encoded));
      if (encode(index) != encoded)
        return fail(Code::kInternal, "an index does not come back from its encoding");
      TRY_OK(joiner.add(index));
      log += to - at;
      stored += encoded.size();
      at = to;
      stopped = index.stop.has_value();
    }
  }
  print_changes(joiner.changes());
  fmt::print(R"({{"until":"{}","log":{},"stored":{},"stopped":{}}})"
             "\n",
             format_lsn(joiner.complete_until()), log, stored, stopped);
  return {};
}

Result<> speed(uint32_t segment_size, const std::vector<Segment>& segments) {
  uint64_t bytes = 0, records = 0, stored = 0;
  double read = 0, index = 0;
  // Of the processor, so that others on the machine do not count.
  const auto seconds = [](std::clock_t since) {
    return static_cast<double>(std::clock() - since) / CLOCKS_PER_SEC;
  };
  for (const Segment& segment : segments) {
    std::clock_t since = std::clock();
    WalReader reader({.lsn = segment.name.start, .segment_size = segment_size});
    TRY_OK(reader.feed(as_bytes(segment.bytes), [&](const WalRecord&) -> Result<> {
      ++records;
      return {};
    }));
    read += seconds(since);
    since = std::clock();
    stored += encode(build_index({.timeline = 1, .start = segment.name.start, .segment_size = segment_size},
                                 as_bytes(segment.bytes)))
                  .size();
    index += seconds(since);
    bytes += segment.bytes.size();
  }
  fmt::print("{} bytes, {} records: read {:.0f} MB/s, indexed {:.0f} MB/s, {} bytes of index\n", bytes,
             records, static_cast<double>(bytes) / read / 1e6, static_cast<double>(bytes) / index / 1e6,
             stored);
  return {};
}

Result<> run(int argc, char** argv) {
  if (argc < 5) return fail(Code::kUsage, "usage: wal_tool records|join|speed SIZE PART [FROM] FILE…");
  const std::string command = argv[1];
  const auto segment_size = static_cast<uint32_t>(std::stoul(argv[2]));
  const size_t part = std::stoul(argv[3]);
  TRY_ASSIGN(const auto segments, read_segments(segment_size, argc, argv, command == "join" ? 5 : 4));
  if (command == "records") return records(segment_size, part, segments);
  if (command == "speed") return speed(segment_size, segments);
  if (command != "join") return fail(Code::kUsage, fmt::format("unknown command {}", command));
  TRY_ASSIGN(const Lsn from, parse_lsn(argv[4]));
  return join(segment_size, part, from, segments);
}

}  // namespace
}  // namespace varve::engine::postgres

int main(int argc, char** argv) {
  if (auto done = varve::engine::postgres::run(argc, argv); !done) {
    fmt::print(stderr, "error: {}\n", done.error().describe());
    return 1;
  }
}
