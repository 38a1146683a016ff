// One b-tree page, its cells, and the records in them. Every offset and length is checked against the page,
// so that any bytes at all can be given. Nothing here owns memory but what read_payload() returns.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/error.h"
#include "engine/sqlite/btree.h"

namespace varve::engine::sqlite {

struct Cell {
  uint32_t child = 0;         // interior pages: the page of smaller keys
  int64_t rowid = 0;          // tables
  uint64_t payload_size = 0;  // whole, with what is on overflow pages
  ByteView local;             // the payload's first bytes, on the page itself
  uint32_t overflow = 0;      // first overflow page; 0: the payload is local
};

class BtreePage {
 public:
  // `usable`: the page size less the reserved bytes at each page's end. nullopt: not a b-tree page, or a
  // damaged one. The page's bytes must outlive the result.
  static std::optional<BtreePage> parse(ByteView page, uint32_t number, uint32_t usable);

  bool is_table() const { return is_table_; }  // rows by rowid; otherwise an index, or a table without rowid
  bool is_leaf() const { return is_leaf_; }
  uint32_t cells() const { return cells_; }
  uint32_t right_child() const { return right_child_; }  // interior pages
  std::optional<Cell> cell(uint32_t index) const;        // nullopt: damaged
  // Calls `visit` with every child of an interior page; false: damaged (what came before was visited).
  bool children(const std::function<void(uint32_t)>& visit) const;

 private:
  bool parse_payload(ByteView at, Cell& cell) const;

  ByteView page_;
  uint32_t usable_ = 0, pointers_ = 0, cells_ = 0, right_child_ = 0;
  bool is_table_ = false, is_leaf_ = false;
};

// A varint at the front of `bytes`: removes it and returns its value; nullopt when cut short.
std::optional<uint64_t> take_varint(ByteView& bytes);

// The fields of a record, one after the other.
struct Field {
  uint64_t type = 0;  // SQLite's serial type
  ByteView bytes;
  bool is_text() const { return type >= 13 && type % 2 == 1; }
  std::optional<int64_t> integer() const;  // nullopt: not an integer
};
class RecordReader {
 public:
  // `payload` may be only the first part of a record: fields beyond its end are "not there".
  explicit RecordReader(ByteView payload);
  std::optional<Field> next();
  // How far the body has been read: where the last field given ends.
  size_t position() const { return body_at_; }

 private:
  ByteView payload_, header_;
  size_t body_at_ = 0;
};

// A text field as UTF-8. encoding: 1 UTF-8, 2 UTF-16le, 3 UTF-16be.
std::string decode_text(ByteView bytes, uint32_t encoding);

// The whole payload of a cell, through its overflow pages. kDamaged when the chain breaks, loops, or is
// larger than max.
Result<Buffer> read_payload(const PageSource& source, const Cell& cell, uint32_t usable, uint64_t max);

}  // namespace varve::engine::sqlite
