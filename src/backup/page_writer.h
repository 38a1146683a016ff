// Pages of a backup, fetched together and written where they belong.
#pragma once

#include <vector>

#include "base/progress.h"
#include "os/file.h"
#include "repo/file_table.h"

namespace varve::backup {

// One thread calls; pages are fetched and written by the reader's threads. Memory: what is gathered until
// 65,536 pages are asked for, whatever the size and number of the files.
class PageWriter {
 public:
  PageWriter(repo::SlotReader& slots, Progress& progress) : slots_(slots), progress_(progress) {}

  // Gathers the file's pages. Pages of zeros are not written: `out` has its size already, and zeros in it. It
  // stays open until the next flush().
  Result<> add(repo::FileTableReader& table, const repo::FileRecord& file, os::File& out);
  // Files that were added since the last flush, or are not wholly written yet.
  size_t open_files() const { return outs_.size(); }
  // Writes everything gathered; then the files may be closed.
  Result<> flush();

 private:
  Result<> write();
  struct Write {
    uint32_t out;
    uint64_t offset;
    uint32_t size;
  };
  repo::SlotReader& slots_;
  Progress& progress_;
  std::vector<os::File*> outs_;
  std::vector<Write> writes_;
  std::vector<repo::SlotReader::Request> requests_;
};

}  // namespace varve::backup
