// For the tests of reading databases: a real database in a file of its own, and its pages as they are between
// transactions.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "engine/sqlite/btree.h"

namespace varve::engine::sqlite::testing {

// The pages of a database at a moment.
class Snapshot {
 public:
  Snapshot() = default;
  Snapshot(std::string bytes, uint32_t page_size) : bytes_(std::move(bytes)), page_size_(page_size) {}
  uint64_t pages() const { return bytes_.size() / page_size_; }
  uint32_t page_size() const { return page_size_; }
  ByteView page(uint32_t number) const {
    return as_bytes(bytes_).subspan(uint64_t{number - 1} * page_size_, page_size_);
  }
  std::string& bytes() { return bytes_; }
  // Must not outlive the snapshot.
  PageSource source() const {
    return [this](uint32_t number) -> Result<ByteView> {
      ++reads;
      if (number == 0 || number > pages()) return fail(Code::kDamaged, "no such page");
      return page(number);
    };
  }
  mutable uint64_t reads = 0;

 private:
  std::string bytes_;
  uint32_t page_size_ = 1;
};

// The pages that differ, as a follower would hear of them.
inline std::vector<uint32_t> written_between(const Snapshot& before, const Snapshot& after) {
  std::vector<uint32_t> out;
  for (uint32_t p = 1; p <= after.pages(); ++p) {
    const bool same = p <= before.pages() &&
                      std::memcmp(before.page(p).data(), after.page(p).data(), after.page_size()) == 0;
    if (!same) out.push_back(p);
  }
  return out;
}

struct DatabaseOptions {
  uint32_t page_size = 4096;
  bool auto_vacuum = false;
  bool secure_delete = false;
  std::string encoding = "UTF-8";
  friend void PrintTo(const DatabaseOptions& o, std::ostream* out) { *out << "pages of " << o.page_size; }
};

// Rollback-journal mode, so that between transactions the file holds everything.
class Database {
 public:
  explicit Database(const DatabaseOptions& options = {}) : page_size_(options.page_size) {
    std::string folder = (std::filesystem::temp_directory_path() / "sqlite-test-XXXXXX").string();
    if (::mkdtemp(folder.data()) == nullptr) ADD_FAILURE() << "cannot create " << folder;
    folder_ = folder;
    if (sqlite3_open(path().c_str(), &db_) != SQLITE_OK) ADD_FAILURE() << sqlite3_errmsg(db_);
    exec("PRAGMA page_size=" + std::to_string(options.page_size) + "; PRAGMA encoding='" + options.encoding +
         "'");
    exec(std::string("PRAGMA auto_vacuum=") + (options.auto_vacuum ? "full" : "none") +
         "; PRAGMA synchronous=off; PRAGMA journal_mode=memory");
    exec(std::string("PRAGMA secure_delete=") + (options.secure_delete ? "on" : "off"));
  }
  ~Database() {
    sqlite3_close_v2(db_);
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  std::string path() const { return (folder_ / "test.db").string(); }
  const std::filesystem::path& folder() const { return folder_; }
  sqlite3* handle() const { return db_; }

  void exec(const std::string& sql) {
    char* message = nullptr;
    if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, &message) != SQLITE_OK)
      ADD_FAILURE() << message << " in: " << sql;
    sqlite3_free(message);
  }
  // The rows of a query, columns separated by '|'.
  std::vector<std::string> rows(const std::string& sql) {
    std::vector<std::string> out;
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(db_, sql.c_str(), -1, &statement, nullptr) != SQLITE_OK) {
      ADD_FAILURE() << sqlite3_errmsg(db_) << " in: " << sql;
    }
    while (statement != nullptr && sqlite3_step(statement) == SQLITE_ROW) {
      std::string row;
      for (int i = 0; i < sqlite3_column_count(statement); ++i) {
        const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, i));
        row += (i > 0 ? "|" : "") + std::string(text == nullptr ? "NULL" : text);
      }
      out.push_back(std::move(row));
    }
    sqlite3_finalize(statement);
    return out;
  }
  uint64_t number(const std::string& sql) {
    const auto all = rows(sql);
    return all.empty() ? 0 : std::stoull(all[0]);
  }
  Snapshot snapshot() const {
    std::string bytes(std::filesystem::file_size(path()), '\0');
    std::ifstream(path(), std::ios::binary).read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return {std::move(bytes), page_size_};
  }

 private:
  std::filesystem::path folder_;
  uint32_t page_size_;
  sqlite3* db_ = nullptr;
};

}  // namespace varve::engine::sqlite::testing
