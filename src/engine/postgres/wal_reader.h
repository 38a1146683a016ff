// Reads the write-ahead log as its bytes arrive: pages are checked and taken off, records put together,
// checked and decoded. Source: src/backend/access/transam/xlogreader.c and xloginsert.c, and
// CopyXLogRecordToWAL() in xlog.c.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "engine/postgres/lsn.h"
#include "engine/postgres/wal_record.h"

namespace varve::engine::postgres {

// Where and how a stretch of the log begins.
struct WalStart {
  Lsn lsn = 0;                        // of the first byte that will be fed; any, but not amid a page header
  uint32_t segment_size = 16u << 20;  // a valid one
  uint64_t system = 0;                // the cluster's identifier; 0: whichever
  Timeline timeline = 0;              // pages may be of this one or of its ancestors; 0: whichever
  bool at_record = false;             // `lsn` is known to be the end of a record, or to be a record's begin
  bool skipping = false;              // `lsn` follows a switch: nothing comes up to the next segment
  int version = 0;                    // known from elsewhere; 0: from the first page header
  Lsn last_record = 0;                // likewise the record before the first; 0: whichever
};

// A record that ends with its page is followed by one after the next page's header: both places mean the
// same. This is the latter.
constexpr Lsn after_header(Lsn lsn, uint32_t segment_size) {
  if (lsn % kWalPage != 0) return lsn;
  return lsn + (lsn % segment_size == 0 ? kLongHeader : kShortHeader);
}

// Why a reader does not go on.
struct WalStop {
  enum class Kind {
    kZeros,        // the log was not written further, or not all of it arrived: the rest is zeros
    kStale,        // likewise, and what follows is left over from an earlier use of the file
    kDamaged,      // what is there is no log
    kUnsupported,  // another version of PostgreSQL, or a build with other sizes
  };
  Kind kind = Kind::kZeros;
  Lsn lsn = 0;  // up to here records are complete
  std::string reason;
};

// Takes consecutive bytes in parts of any size and hands out complete records in their order. Not
// thread-safe.
//
// Beginning amid a record, the bytes up to the first record's begin cannot be read: they are kept as head().
// Beginning amid a page, where nothing tells what the bytes are, the same holds for all up to the next page.
// Memory is bounded by kMaxKept and kMaxHead.
class WalReader {
 public:
  static constexpr size_t kMaxKept = 64u << 20;  // of one record; what is longer is handed out not whole
  static constexpr size_t kMaxHead = 4u << 20;   // of the head: what is longer is cut

  explicit WalReader(const WalStart& start);

  // The record and its views are valid until visit returns. Fails only when visit does: then the reader is
  // not to be used further. Bytes after a stop are ignored.
  using Visit = std::function<Result<>(const WalRecord&)>;
  Result<> feed(ByteView bytes, const Visit& visit);

  // For joining two stretches: bytes whose page headers were taken off already, and bytes of which only the
  // number is known, which must belong to one record. Positions advance over the headers that were there.
  Result<> feed_payload(ByteView payload, const Visit& visit);
  Result<> feed_missing(uint64_t bytes, const Visit& visit);
  // The record under way will never be completed; another page begins anew.
  void drop_partial();
  // After a switch, and not beyond the segment's end: goes on from there. False otherwise.
  bool skip_to(Lsn lsn);

  Lsn position() const { return at_; }  // of the byte that comes next
  const std::optional<WalStop>& stop() const { return stop_; }
  int version() const { return version_; }  // 0: no page header was seen
  void assume_version(int version) {
    if (version_ == 0) version_ = version;
  }
  Timeline page_timeline() const { return page_timeline_; }

  // Up to here all records were handed out: where the next one begins, or the one that is not complete yet.
  // nullopt while no record's begin is known.
  std::optional<Lsn> next_record() const;
  std::optional<Lsn> first_record() const { return first_record_; }  // where the first known record begins
  Lsn last_record() const { return last_record_; }                   // the last one handed out; 0: none
  // The part that is here of the record under way, without page headers; `pending_size` counts what was not
  // kept too.
  ByteView pending() const { return phase_ == Phase::kInside ? ByteView(record_) : ByteView(); }
  uint64_t pending_size() const { return phase_ == Phase::kInside ? have_ : 0; }

  // What stood before first_record(), without page headers.
  ByteView head() const { return head_; }
  uint64_t head_size() const { return head_size_; }
  bool head_dropped() const { return head_dropped_; }  // the record before first_record() was never completed
  // The stretch began with pages of zeros, as a switch of segments leaves them, up to the next segment.
  bool began_with_zeros() const { return began_with_zeros_; }

 private:
  enum class Phase {
    kUnknown,  // what a page is whose header was not seen
    kHead,     // the rest of a record whose begin was not seen
    kBetween,  // between two records
    kInside,
    kSkip,   // after a switch: up to the next segment
    kZeros,  // began with zeros: likewise, if all of it is zeros
    kStopped,
  };
  using PageHeader = std::array<std::byte, kLongHeader>;

  Lsn segment_offset(Lsn lsn) const { return lsn & (start_.segment_size - 1); }
  uint32_t header_size(Lsn page) const { return segment_offset(page) == 0 ? kLongHeader : kShortHeader; }
  void stop_here(WalStop::Kind kind, std::string reason);
  void stop_at_page(Lsn page, WalStop::Kind kind, std::string reason);
  void begin_payload_page();

  size_t gather_header(ByteView bytes);
  void take_header(Lsn page, const PageHeader& header);
  void take_zero_page(Lsn page);
  bool check_header(Lsn page, const PageHeader& header);
  bool check_long_header(Lsn page, const PageHeader& header);
  void continue_page(Lsn page, uint16_t flags, uint32_t remaining);

  Result<> consume(ByteView part, const Visit& visit);
  Result<size_t> between(ByteView part, const Visit& visit);
  Result<size_t> inside(ByteView part, const Visit& visit);
  void keep_head(ByteView part);
  Result<> finish(ByteView record, uint32_t checksum_of_rest, const Visit& visit);

  WalStart start_;
  Phase phase_ = Phase::kUnknown;
  Lsn at_;
  int version_;
  Timeline page_timeline_ = 0;
  std::optional<WalStop> stop_;

  PageHeader header_;
  size_t header_have_ = 0;

  Buffer head_;
  uint64_t head_size_ = 0, head_left_ = 0;
  bool head_dropped_ = false, began_with_zeros_ = false;

  Buffer record_;  // the first kMaxKept bytes
  uint64_t have_ = 0, total_ = 0;
  uint32_t checksum_ = 0;  // of what follows the header
  bool missing_ = false;
  Lsn record_lsn_ = 0;

  std::optional<Lsn> first_record_;
  Lsn last_record_ = 0;
  WalRecord decoded_;
};

}  // namespace varve::engine::postgres
