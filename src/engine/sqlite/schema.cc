#include "engine/sqlite/schema.h"

#include <algorithm>
#include <array>
#include <sqlite3.h>
#include <unordered_set>

#include "base/text.h"
#include "engine/sqlite/btree_page.h"
#include "engine/sqlite/connection.h"

namespace varve::engine::sqlite {

namespace {

constexpr uint64_t kMaxEntryBytes = 4u << 20, kMaxSchemaBytes = 64u << 20;

Result<SchemaEntry> parse_entry(int64_t row, ByteView record, uint32_t encoding) {
  RecordReader reader(record);
  std::array<Field, 5> fields;
  for (auto& field : fields) {
    const auto next = reader.next();
    if (!next) return fail(Code::kDamaged, "a row of sqlite_schema is damaged");
    field = *next;
  }
  const auto text = [&](const Field& f) {
    return f.is_text() ? decode_text(f.bytes, encoding) : std::string();
  };
  SchemaEntry entry;
  entry.row = row;
  entry.type = text(fields[0]);
  entry.name = text(fields[1]);
  entry.table = text(fields[2]);
  entry.root = static_cast<uint32_t>(fields[3].integer().value_or(0));
  entry.sql = text(fields[4]);
  return entry;
}

// Lets a statement create one table and nothing else: no other file, no function, no query.
int only_create_table(void*, int action, const char*, const char*, const char*, const char*) {
  switch (action) {
    case SQLITE_CREATE_TABLE:
    case SQLITE_CREATE_INDEX:  // its own key
    case SQLITE_INSERT:        // into sqlite_schema
    case SQLITE_UPDATE:
    case SQLITE_READ:
    case SQLITE_TRANSACTION:
      return SQLITE_OK;
    default:
      return SQLITE_DENY;
  }
}

}  // namespace

bool SchemaEntry::is_virtual() const {
  return type == "table" && root == 0 && to_lower(std::string_view(sql).substr(0, 14)) == "create virtual";
}

Result<std::vector<SchemaEntry>> read_schema(const PageSource& state, const DatabaseHeader& header,
                                             uint64_t pages) {
  const uint32_t usable = header.page_size - header.reserved;
  std::vector<SchemaEntry> out;
  std::unordered_set<uint32_t> seen;
  std::vector<uint32_t> todo{1};
  uint64_t bytes = 0;
  const uint64_t max_bytes = std::min(kMaxSchemaBytes, pages * header.page_size);
  while (!todo.empty()) {
    const uint32_t number = todo.back();
    todo.pop_back();
    if (number == 0 || number > pages || !seen.insert(number).second) {
      return fail(Code::kDamaged, "the tree of sqlite_schema is damaged");
    }
    TRY_ASSIGN(const ByteView view, state(number));
    const Buffer copy = to_buffer(view);  // overflow pages are read while its cells are
    const auto page = BtreePage::parse(copy, number, usable);
    if (!page || !page->is_table()) return fail(Code::kDamaged, "the tree of sqlite_schema is damaged");
    std::vector<uint32_t> children;
    if (!page->children([&](uint32_t child) { children.push_back(child); })) {
      return fail(Code::kDamaged, "the tree of sqlite_schema is damaged");
    }
    todo.insert(todo.end(), children.rbegin(), children.rend());
    for (uint32_t i = 0; page->is_leaf() && i < page->cells(); ++i) {
      const auto cell = page->cell(i);
      if (!cell) return fail(Code::kDamaged, "a row of sqlite_schema is damaged");
      bytes += cell->payload_size;
      if (bytes > max_bytes) return fail(Code::kDamaged, "sqlite_schema is larger than it may be");
      TRY_ASSIGN(const Buffer record, read_payload(state, *cell, usable, kMaxEntryBytes));
      TRY_ASSIGN(auto entry, parse_entry(cell->rowid, record, header.text_encoding));
      out.push_back(std::move(entry));
    }
  }
  return out;
}

uint32_t count_key_columns(const std::string& create_table) {
  auto db = Connection::open(":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "scratch database");
  if (!db) return 0;
  sqlite3_set_authorizer(db->handle(), only_create_table, nullptr);
  auto create = db->prepare(create_table);  // the first statement only
  if (!create || !create->step()) return 0;
  sqlite3_set_authorizer(db->handle(), nullptr, nullptr);
  const auto count = db->column(
      "SELECT count(*) FROM sqlite_schema m, pragma_table_xinfo(m.name) c WHERE m.type='table' AND c.pk > 0");
  return count && !count->empty() ? static_cast<uint32_t>(std::strtoul(count->front().c_str(), nullptr, 10))
                                  : 0;
}

}  // namespace varve::engine::sqlite
