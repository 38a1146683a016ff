// Writes a log as PostgreSQL would, for tests: records laid over pages, with the headers and checksums of a
// version.
#pragma once

#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "codec/crc32c.h"
#include "engine/postgres/wal_record.h"

namespace varve::engine::postgres::testing {

using Random = std::independent_bits_engine<std::mt19937, 32, uint32_t>;

class Bytes {
 public:
  template <typename T>
  Bytes& le(T value) {
    data_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Bytes& u8(uint8_t v) { return le(v); }
  Bytes& u16(uint16_t v) { return le(v); }
  Bytes& u32(uint32_t v) { return le(v); }
  Bytes& u64(uint64_t v) { return le(v); }
  Bytes& text(std::string_view t) {
    data_.append(t);
    return *this;
  }
  Bytes& file(const RelFile& f) { return u32(f.tablespace).u32(f.database).u32(f.relation); }
  const std::string& str() const { return data_; }

 private:
  std::string data_;
};

struct TestBlock {
  RelFile file;
  uint32_t block = 0;
  Fork fork = Fork::kMain;
  std::string data = {};
  std::optional<std::string> image = {};  // not compressed
};

class LogWriter {
 public:
  explicit LogWriter(int version, Lsn start = 1u << 20, uint32_t segment_size = 1u << 20)
      : version_(version), segment_size_(segment_size), start_(start) {}

  uint64_t system = 42;
  Timeline timeline = 1;

  // Where the record begins.
  Lsn add(uint8_t rmid, uint8_t info, uint32_t xid, const std::string& main,
          const std::vector<TestBlock>& blocks = {}) {
    return put(record(rmid, info, xid, main, blocks));
  }
  Lsn commit(uint32_t xid, int64_t since_2000_us, const std::vector<uint32_t>& subxacts = {},
             const std::vector<RelFile>& dropped = {}) {
    Bytes main;
    main.le(since_2000_us);
    if (subxacts.empty() && dropped.empty()) return add(rmgr::kXact, xact_info::kCommit, xid, main.str());
    main.u32((subxacts.empty() ? 0 : xact_info::kSubxacts) | (dropped.empty() ? 0 : xact_info::kFiles));
    if (!subxacts.empty()) main.u32(static_cast<uint32_t>(subxacts.size()));
    for (const uint32_t id : subxacts) main.u32(id);
    if (!dropped.empty()) main.u32(static_cast<uint32_t>(dropped.size()));
    for (const RelFile& f : dropped) main.file(f);
    return add(rmgr::kXact, xact_info::kCommit | xact_info::kHasXinfo, xid, main.str());
  }
  Lsn insert(uint32_t xid, const RelFile& file, uint32_t block, size_t size = 20) {
    return add(rmgr::kHeap, heap_info::kInsert, xid, Bytes().u16(1).u8(0).str(),
               {{file, block, {}, std::string(size, 'r')}});
  }
  // The rest of the segment is zeros.
  Lsn switch_segment() {
    const Lsn at = add(rmgr::kXlog, xlog_info::kSwitch, 0, {});
    while (end() % segment_size_ != 0) log_.push_back('\0');
    return at;
  }
  // A record of which only the first `size` bytes got to the disk before a crash; the server goes on with the
  // next page.
  Lsn cut_record(size_t size, const std::string& main) {
    const Lsn last = last_;
    const std::string all = record(rmgr::kXlog, 0x20, 0, main, {});
    const Lsn at = put(all.substr(0, size), all.size());
    while (end() % kWalPage != 0) log_.push_back('\0');
    last_ = last;
    overwrite_ = true;
    return at;
  }

  Lsn end() const { return start_ + log_.size(); }
  Lsn start() const { return start_; }
  uint32_t segment_size() const { return segment_size_; }
  std::string& log() { return log_; }
  const std::string& log() const { return log_; }
  ByteView bytes() const { return as_bytes(log_); }
  ByteView bytes(Lsn from, Lsn to) const { return bytes().subspan(from - start_, to - from); }

 private:
  std::string record(uint8_t rmid, uint8_t info, uint32_t xid, const std::string& main,
                     const std::vector<TestBlock>& blocks) const {
    Bytes heads, contents;
    uint8_t id = 0;
    for (const TestBlock& b : blocks) {
      const auto flags =
          static_cast<uint8_t>(static_cast<uint8_t>(b.fork) | (b.data.empty() ? 0 : block_flag::kData) |
                               (b.image ? block_flag::kImage : 0));
      heads.u8(id++).u8(flags).u16(static_cast<uint16_t>(b.data.size()));
      if (b.image)
        heads.u16(static_cast<uint16_t>(b.image->size())).u16(64).u8(b.image->size() < 8192 ? 1 : 0);
      heads.file(b.file).u32(b.block);
      if (b.image) contents.text(*b.image);
      contents.text(b.data);
    }
    if (main.size() > 255) {
      heads.u8(part_id::kLongData).u32(static_cast<uint32_t>(main.size()));
    } else if (!main.empty()) {
      heads.u8(part_id::kShortData).u8(static_cast<uint8_t>(main.size()));
    }
    const std::string rest = heads.str() + contents.str() + main;
    const std::string head = Bytes()
                                 .u32(static_cast<uint32_t>(kRecordHeader + rest.size()))
                                 .u32(xid)
                                 .u64(last_)
                                 .u8(info)
                                 .u8(rmid)
                                 .u16(0)
                                 .str();
    return head + Bytes().u32(record_checksum(as_bytes(head), codec::crc32c(as_bytes(rest)))).str() + rest;
  }

  Lsn put(const std::string& record, size_t announced = 0) {
    while (end() % 8 != 0) log_.push_back('\0');
    if (end() % kWalPage == 0) page_header(0);
    const Lsn at = end();
    const size_t whole = std::max(record.size(), announced);
    for (size_t i = 0; i < record.size();) {
      if (end() % kWalPage == 0) page_header(static_cast<uint32_t>(whole - i));
      const size_t n = std::min<size_t>(record.size() - i, kWalPage - end() % kWalPage);
      log_.append(record, i, n);
      i += n;
    }
    last_ = at;
    return at;
  }

  void page_header(uint32_t remaining) {
    const bool long_one = end() % segment_size_ == 0;
    const auto flags =
        static_cast<uint16_t>((remaining > 0 ? page_flag::kContinues : 0) |
                              (long_one ? page_flag::kLong : 0) | (overwrite_ ? page_flag::kOverwrite : 0));
    overwrite_ = false;
    Bytes out;
    out.u16(magic()).u16(flags).u32(timeline).u64(end()).u32(remaining).u32(0);
    if (long_one) out.u64(system).u32(segment_size_).u32(kWalPage);
    log_ += out.str();
  }
  uint16_t magic() const {
    for (uint16_t m = 0xd100; m < 0xd1ff; ++m)
      if (version_of_magic(m) == version_) return m;
    return 0;
  }

  int version_;
  uint32_t segment_size_;
  Lsn start_;
  std::string log_;
  Lsn last_ = 0;
  bool overwrite_ = false;
};

}  // namespace varve::engine::postgres::testing
