// The calls of a store by name, for whatever counts or chooses among them.
#pragma once

#include <array>
#include <cstddef>

namespace varve::store {

enum class CallKind { kPut, kGet, kHead, kList, kRemove, kExtend };

inline constexpr std::array<const char*, 6> kCallNames = {"put", "get", "head", "list", "remove", "extend"};
inline constexpr size_t kCallKinds = kCallNames.size();
inline const char* call_name(CallKind kind) {
  return kCallNames[static_cast<size_t>(kind)];
}

}  // namespace varve::store
