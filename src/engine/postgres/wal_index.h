// What is known of one piece of the log, kept beside it, so that nobody has to read the piece again to learn
// which blocks changed and which transactions committed. Format: wal_index.proto.
#pragma once

#include <array>
#include <memory>

#include "engine/postgres/wal_fold.h"
#include "engine/postgres/wal_reader.h"

namespace varve::engine::postgres {

// Which stretch of which log a piece is.
struct PieceIdentity {
  uint64_t system = 0;
  Timeline timeline = 0;
  Lsn start = 0;  // of its first byte; any, but a piece that begins with a page can be read better
  uint32_t segment_size = 16u << 20;
  uint32_t block_size = 8192;  // of relations
  int version = 0;  // of PostgreSQL, 15; 0: as the page headers say, of which a small piece may have none
  bool operator==(const PieceIdentity&) const = default;
};

// A record can lie in two pieces or more. What a piece has of such records is kept, page headers taken off,
// up to kMaxFragment bytes: the joiner puts it together.
struct Fragment {
  static constexpr size_t kMaxKept = 4u << 20;
  Buffer bytes;       // the first ones
  uint64_t size = 0;  // of all
  bool operator==(const Fragment&) const = default;
};

struct WalIndex {
  PieceIdentity identity;
  Lsn end = 0;                         // after its last byte
  int version = 0;                     // of PostgreSQL; 0: the piece has no page header
  std::array<std::byte, 32> digest{};  // BLAKE2b-256 of the piece

  // Its edges. Bytes before the first record whose begin can be told:
  Fragment head;
  bool head_dropped = false;        // the record before first_record was never completed
  bool began_with_zeros = false;    // it begins after a switch of segments, or its head ends with one
  std::optional<Lsn> first_record;  // nullopt: none can be told, all of the piece is head
  Lsn first_previous = 0;       // the record before the first complete one, as that says; 0: none complete
  Lsn last_record = 0;          // the last complete one
  Lsn next_record = 0;          // what follows begins there; with first_record only
  Fragment tail;                // of a record that begins at next_record
  std::optional<WalStop> stop;  // from stop->lsn on there is nothing that can be read

  WalPart part;
};

// Makes an index from a piece's bytes as they come, in bounded memory. Not thread-safe.
class WalIndexBuilder {
 public:
  explicit WalIndexBuilder(const PieceIdentity& identity);
  ~WalIndexBuilder();
  void feed(ByteView bytes);
  // What cannot be read is no failure: the index says up to where it was read, and why not further.
  WalIndex finish() &&;

 private:
  struct State;
  std::unique_ptr<State> state_;
};
WalIndex build_index(const PieceIdentity& identity, ByteView bytes);

// At most some 3 % of the piece; often less than 1 %.
Buffer encode(const WalIndex& index);
// kDamaged unless every bound and order holds.
Result<WalIndex> decode_index(ByteView bytes);

}  // namespace varve::engine::postgres
