// Text for people and from people: sizes, counts, lists, nearest words.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace varve {

// "0 B", "812 B", "1.4 KiB", "3.1 GiB": binary units, three digits.
std::string human_size(uint64_t bytes);
// "48,210"
std::string human_count(uint64_t n);
// "64MiB", "1 GiB", "1.5g", "4096": bytes.
Result<uint64_t> parse_size(std::string_view text);
std::vector<std::string_view> split(std::string_view text, char separator);
std::string_view trim(std::string_view text);
std::string to_lower(std::string_view text);
// The candidates within a small edit distance of word, nearest first: "did you mean …".
std::vector<std::string> nearest(std::string_view word, std::span<const std::string> candidates,
                                 size_t most = 3);
// Glob match of a whole text: * (not '/'), ** (anything), ?, [set]. No allocation, linear in practice.
bool glob_match(std::string_view pattern, std::string_view text);
// Replaces control characters (escape sequences in a file name must not reach a terminal).
std::string printable(std::string_view text);

}  // namespace varve
