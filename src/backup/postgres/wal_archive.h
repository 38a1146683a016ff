// PostgreSQL's WAL in a repository: pieces of the log, by timeline; and the histories of timelines.
//
// An epoch is a timeline of one cluster: "<system identifier>-<timeline, 8 hexadecimal digits>". A position
// is a byte: piece [first, last] holds the WAL from LSN first up to and with the byte at `last`. Pieces may
// overlap, for several may ship the same WAL at once (archive_command, a follower, a backup); what they hold
// of one byte is the same.
// "<system identifier>-history" holds one piece a timeline, numbered by it: its history file.
// (docs/format/postgres-log.md)
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "backup/log_state.h"
#include "engine/postgres/lsn.h"
#include "engine/postgres/wal_index.h"
#include "repo/log_piece.h"

namespace varve::backup::postgres {

namespace db = engine::postgres;

// Segments are shipped in pieces of at most so many bytes.
inline constexpr uint64_t kWalPiece = 16u << 20;

std::string epoch_of(uint64_t system_id, db::Timeline timeline);
std::string history_epoch_of(uint64_t system_id);
struct EpochName {
  uint64_t system_id = 0;
  db::Timeline timeline = 0;  // 0: the histories
};
std::optional<EpochName> parse_epoch(std::string_view epoch);

// What is asked of the WAL by name: "lsn:0/3000028". `number` is the last byte included, so the text says the
// next.
std::string position_of(uint64_t number);

// Of pieces that overlap, a row in which each begins where the one before ends, as far as they allow: the
// longest of those that begin alike. Where the row breaks off it goes on with the next that there is.
std::vector<PieceName> in_a_row(const std::vector<PieceName>& pieces);

// One source's. Thread-safe.
class WalArchive {
 public:
  WalArchive(repo::RepositoryPtr repo, std::string source)
      : repo_(std::move(repo)), source_(std::move(source)) {}

  const std::string& source() const { return source_; }

  enum class Stored { kNow, kBefore /* with the same content */ };
  struct Kept {
    Stored stored = Stored::kNow;
    uint64_t size = 0;                     // bytes in the store, when stored now
    uint64_t commits = 0;                  // in the piece
    std::optional<Timestamp> last_commit;  // of them
  };
  // Durable when it returns. `bytes` is WAL from `start` on. kConflict: there is other WAL under this name.
  Result<Kept> store(const Context& ctx, const db::PieceIdentity& piece, ByteView bytes);
  Result<Kept> store_history(const Context& ctx, uint64_t system_id, db::Timeline timeline, ByteView content);
  // Of one timeline; kNotFound when there is none.
  Result<Buffer> history(const Context& ctx, uint64_t system_id, db::Timeline timeline);

  // The pieces of a timeline that hold any byte of [from, to), ascending.
  Result<std::vector<PieceName>> pieces(const Context& ctx, uint64_t system_id, db::Timeline timeline,
                                        uint64_t from, uint64_t to);
  // Fills `out` with the WAL from `from` on as far as it is there without a gap; how many bytes that is.
  Result<uint64_t> read(const Context& ctx, uint64_t system_id, db::Timeline timeline, uint64_t from,
                        MutableBytes out);
  // The same of pieces as `log push` makes them, which are found by their names: without a listing.
  Result<uint64_t> read_whole_pieces(const Context& ctx, uint64_t system_id, db::Timeline timeline,
                                     uint64_t from, MutableBytes out);

 private:
  Result<Kept> put(const Context& ctx, const repo::LogPieceHead& head, ByteView bytes);
  Result<bool> holds(const Context& ctx, const PieceName& name, const repo::LogPieceHead& head,
                     ByteView bytes) const;
  Result<uint64_t> read_piece(const Context& ctx, const PieceName& name, uint64_t from, uint64_t have,
                              MutableBytes out) const;
  const repo::RepositoryPtr repo_;
  const std::string source_;
};

// The content of a piece of histories.
Result<Buffer> read_history(const repo::RepositoryPtr& repo, const Context& ctx, const PieceName& piece);
// What describes a piece; kDamaged when it does not fit its name.
Result<db::WalIndex> read_index(const repo::RepositoryPtr& repo, const Context& ctx, const PieceName& piece);

}  // namespace varve::backup::postgres
