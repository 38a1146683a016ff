#include "engine/sqlite/stand_ins.h"

#include <algorithm>
#include <cstring>
#include <sqlite3.h>

#include "base/text.h"

namespace varve::engine::sqlite {

namespace {

void refuse_to_compute(sqlite3_context* context, int, sqlite3_value**) {
  sqlite3_result_error(context, "this needs a function that only its application knows", -1);
}

int compare_bytes(void* counter, int a_size, const void* a, int b_size, const void* b) {
  ++*static_cast<uint64_t*>(counter);
  const int order = std::memcmp(a, b, static_cast<size_t>(std::min(a_size, b_size)));
  return order != 0 ? order : a_size - b_size;
}

// "no such function: NAME"
std::string unknown_function(sqlite3* db) {
  constexpr std::string_view kText = "no such function: ";
  const std::string message = sqlite3_errmsg(db);
  const size_t at = message.find(kText);
  return at == std::string::npos ? std::string() : message.substr(at + kText.size());
}

}  // namespace

StandIns::StandIns(Connection& db) : db_(db) {
  sqlite3_collation_needed(db.handle(), this, [](void* self, sqlite3* handle, int, const char* name) {
    // SQLite asks for its own, too, in a database of UTF-16, and then adapts them itself.
    const std::string lower = to_lower(name);
    if (lower == "binary" || lower == "nocase" || lower == "rtrim") return;
    auto& stand_ins = *static_cast<StandIns*>(self);
    stand_ins.collations_.insert(lower);
    sqlite3_create_collation(handle, name, SQLITE_UTF8, &stand_ins.comparisons_, compare_bytes);
  });
}

Result<> StandIns::exec(const std::string& sql) {
  constexpr int kMostFunctions = 64;
  for (int i = 0;; ++i) {
    auto done = db_.exec(sql);
    if (done) return done;
    const std::string name = unknown_function(db_.handle());
    if (name.empty() || i == kMostFunctions) return done;
    sqlite3_create_function(db_.handle(), name.c_str(), -1,
                            SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS, nullptr, refuse_to_compute,
                            nullptr, nullptr);
  }
}

}  // namespace varve::engine::sqlite
