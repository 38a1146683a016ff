// How PostgreSQL addresses the files of relations. Source: src/include/storage/relfilelocator.h
// (relfilenode.h before 16) and src/include/common/relpath.h.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

namespace varve::engine::postgres {

// The file of a relation (RelFileLocator). A relation gets another one whenever it is rewritten; `relation`
// is no OID of pg_class.
struct RelFile {
  uint32_t tablespace = 0;
  uint32_t database = 0;  // 0: shared by all
  uint32_t relation = 0;
  auto operator<=>(const RelFile&) const = default;
};

enum class Fork : uint8_t { kMain = 0, kFreeSpace = 1, kVisibility = 2, kInit = 3 };
inline constexpr size_t kForks = 4;

}  // namespace varve::engine::postgres
