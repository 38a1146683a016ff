// What every fuzz target needs: the entry point's input as bytes, and a check that ends the program.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "base/bytes.h"

#define FUZZ_CHECK(condition)                                                      \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                \
    }                                                                              \
  } while (false)

// FUZZ_TARGET(input) { … } defines the target; input is a varve::ByteView.
#define FUZZ_TARGET(input)                                                  \
  static void fuzz_one(varve::ByteView input);                              \
  extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { \
    fuzz_one(std::as_bytes(std::span(data, size)));                         \
    return 0;                                                               \
  }                                                                         \
  static void fuzz_one(varve::ByteView input)
