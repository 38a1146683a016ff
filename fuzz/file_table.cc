// Parts of the file table: no path leaves the target, and every file's maps cover it.
#include "repo/file_table.h"

#include "fuzz.h"

using namespace varve;

FUZZ_TARGET(input) {
  if (input.empty()) return;
  const uint32_t segment_pages = 1u << (std::to_integer<uint32_t>(input[0]) % 16);
  auto files = repo::decode_file_table(input.subspan(1), segment_pages);
  if (!files) {
    FUZZ_CHECK(files.error().code == Code::kDamaged);
    return;
  }
  std::string last;
  for (const repo::FileRecord& f : *files) {
    const std::string& path = f.attributes.path;
    FUZZ_CHECK(!path.empty() && path.front() != '/' && last < path);
    FUZZ_CHECK(("/" + path + "/").find("/../") == std::string::npos);
    FUZZ_CHECK(repo::segment_count(f.attributes, segment_pages) == f.segments.size());
    for (const repo::Segment& s : f.segments) FUZZ_CHECK(s.slot.has_value() != s.map.has_value());
    last = path;
  }
}
