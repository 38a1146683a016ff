// Pages of a backup, fetched together and written where they belong.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/progress.h"
#include "os/file.h"
#include "repo/file_table.h"
#include "repo/page_reader.h"

namespace varve::backup {

// One thread calls; pages are fetched and written by the reader's threads, what is asked for next gathered
// meanwhile. Memory is bounded, whatever the size and number of the files.
class PageWriter {
 public:
  static constexpr size_t kMostFiles = 512;  // open at once

  PageWriter(repo::SlotReader& slots, Progress& progress);

  // Writes the file's pages, now or later. Pages of zeros are not written: `out` has its size already, and
  // zeros in it. It stays open until the next flush().
  Result<> add(repo::FileTableReader& table, const repo::FileRecord& file, os::File& out);
  bool is_full() const { return outs_.size() == kMostFiles; }  // the next add() flushes first
  // Waits until everything is written; then the files may be closed.
  Result<> flush();

 private:
  struct Out {
    os::File* file;
    repo::FileAttributes attributes;
  };
  Result<> write(uint64_t tag, ByteView pages, uint32_t count);

  repo::SlotReader& slots_;
  Progress& progress_;
  std::vector<Out> outs_;  // never moved: the reader's threads look into it
  std::atomic<uint64_t> written_ = 0;
  std::vector<repo::SlotReader::Request> requests_;
  std::unique_ptr<repo::PageReader> reader_;  // last: its threads end before what they use
};

}  // namespace varve::backup
