#include <fmt/format.h>
#include <sqlite3.h>

#include "engine/sqlite/btree.h"
#include "engine/sqlite/connection.h"
#include "engine/sqlite/source.h"

namespace varve::engine::sqlite {

Result<> ensure_unused(const Context& ctx, const os::Path& database) {
  TRY_OK(ctx.check());
  {
    auto file = os::File::open(database, os::File::Mode::kRead);
    if (!file && file.error().code == Code::kNotFound) return {};
    if (!file) return fail(file.error());
    Buffer head(kHeaderSize);
    TRY_ASSIGN(size_t n, file->read_at(0, head));
    if (n < kHeaderSize || !parse_header(head)) return {};
  }
  TRY_ASSIGN(Connection c,
             Connection::open(database.string(), SQLITE_OPEN_READWRITE, database.filename().string()));
  c.set_patience(std::chrono::milliseconds(1000));
  // In this mode even an idle connection elsewhere is noticed: SQLite wants the file to itself.
  auto taken = c.exec("PRAGMA locking_mode = EXCLUSIVE");
  if (taken) taken = c.exec("BEGIN EXCLUSIVE");
  if (taken) taken = c.exec("ROLLBACK");
  if (!taken && sqlite3_errcode(c.handle()) == SQLITE_BUSY)
    return fail(Code::kConflict, fmt::format("{} is open in another process", database.string()),
                "stop what uses it, or restore to another --target");
  // A damaged file may be replaced: that is what restores are for.
  return {};
}

}  // namespace varve::engine::sqlite
