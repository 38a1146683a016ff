// Readers of a live cluster's files: what changes under them is either repaired by the log, or noticed.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "engine/engine.h"
#include "engine/postgres/capture_data.h"
#include "engine/postgres/data_directory.h"

namespace varve::engine::postgres {

// Gathers what page checksums say, from many readers at once. Thread-safe.
class PageFindings {
 public:
  // A page that stayed wrong however often it was read.
  void bad(BadPage page);
  // A page that is wrong, but that the log holds whole if its LSN is true: to be decided when the end is
  // known.
  void pending(BadPage page, uint64_t lsn);

  struct Settled {
    std::vector<BadPage> pages;  // ascending by path and block, at most kMostBadPages
    uint64_t count = 0;
  };
  // With the backup's stop position: a page cannot be newer than that.
  Settled settle(uint64_t stop_lsn) const;

 private:
  struct Pending {
    BadPage page;
    uint64_t lsn;
  };
  mutable std::mutex mutex_;
  std::vector<BadPage> bad_;
  uint64_t bad_count_ = 0;
  std::vector<Pending> pending_;
  uint64_t latest_unlisted_ = 0, unlisted_ = 0;  // pending ones beyond what is kept
};

struct PageRules {
  uint32_t page_size = 8192;
  uint32_t segment_pages = 131072;
  bool verify = false;     // checksums
  uint64_t start_lsn = 0;  // of the backup
};

// A relation's file: zero-filled where it became shorter than listed; every page's checksum looked at.
// `findings` outlives the reader. kNotFound when the file is gone.
Result<std::unique_ptr<FileReader>> open_relation(const os::Path& path, const std::string& name,
                                                  const RelationFile& file, const PageRules& rules,
                                                  PageFindings& findings);
// Another file: zero-filled like the former where `may_shrink`, else kConflict when it has become shorter.
Result<std::unique_ptr<FileReader>> open_plain(const os::Path& path, bool may_shrink);
// Bytes that are in memory already, and stay there.
std::unique_ptr<FileReader> open_bytes(ByteView bytes);

}  // namespace varve::engine::postgres
