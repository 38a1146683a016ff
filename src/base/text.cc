#include "base/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <optional>

namespace varve {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// Insertions, deletions, replacements and swaps of neighbours; words are cut to 64 characters.
size_t edit_distance(std::string_view a, std::string_view b) {
  constexpr size_t kMost = 64;
  a = a.substr(0, kMost);
  b = b.substr(0, kMost);
  std::array<std::array<size_t, kMost + 1>, 3> rows{};
  for (size_t j = 0; j <= b.size(); ++j) rows[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    auto& row = rows[i % 3];
    const auto& above = rows[(i + 2) % 3];
    const auto& above2 = rows[(i + 1) % 3];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], above2[j - 2] + 1);
    }
  }
  return rows[a.size() % 3][b.size()];
}

struct SetMatch {
  bool matches;
  size_t length;  // of the set in the pattern
};

// `pattern` starts at '['. Nothing when it never closes: then '[' is itself.
std::optional<SetMatch> match_set(std::string_view pattern, char c) {
  size_t i = 1;
  const bool negated = i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^');
  if (negated) ++i;
  bool found = false;
  for (bool first = true; i < pattern.size(); first = false) {
    if (pattern[i] == ']' && !first) return SetMatch{found != negated && c != '/', i + 1};
    auto low = static_cast<unsigned char>(pattern[i]), high = low;
    if (i + 2 < pattern.size() && pattern[i + 1] == '-' && pattern[i + 2] != ']') {
      high = static_cast<unsigned char>(pattern[i + 2]);
      i += 2;
    }
    const auto u = static_cast<unsigned char>(c);
    if (low <= u && u <= high) found = true;
    ++i;
  }
  return std::nullopt;
}

// Where matching goes on when the rest of the pattern did not fit: the star takes one character (or folder)
// more.
struct Star {
  size_t pattern = std::string_view::npos;  // after the star
  size_t text = 0;
  bool set() const { return pattern != std::string_view::npos; }
};

// The length of the UTF-8 sequence at the front and its code point; nothing when it is none.
std::optional<std::pair<size_t, uint32_t>> utf8_front(std::string_view s) {
  const auto b0 = static_cast<unsigned char>(s[0]);
  if (b0 < 0x80) return std::pair{size_t{1}, uint32_t{b0}};
  size_t n = b0 >= 0xf0 ? 4 : b0 >= 0xe0 ? 3 : 2;
  if (b0 < 0xc2 || b0 > 0xf4 || s.size() < n) return std::nullopt;
  uint32_t point = b0 & (0x7fu >> n);
  for (size_t i = 1; i < n; ++i) {
    const auto b = static_cast<unsigned char>(s[i]);
    if ((b & 0xc0) != 0x80) return std::nullopt;
    point = (point << 6) | (b & 0x3fu);
  }
  const bool overlong = (n == 3 && point < 0x800) || (n == 4 && point < 0x10000);
  if (overlong || (point >= 0xd800 && point <= 0xdfff) || point > 0x10ffff) return std::nullopt;
  return std::pair{n, point};
}

bool may_be_shown(uint32_t point) {
  if (point < 0x20 || (point >= 0x7f && point < 0xa0)) return false;
  // Line separators and marks that reorder what is shown around them.
  const bool reorders = point == 0x200e || point == 0x200f || (point >= 0x2028 && point <= 0x202e) ||
                        (point >= 0x2066 && point <= 0x2069);
  return !reorders;
}

}  // namespace

std::string human_size(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  size_t unit = 0;
  double value = static_cast<double>(bytes);
  // 1023.5 and more would be shown with four digits.
  while (value >= 1023.5 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", value, value < 99.95 ? 1 : 0, kUnits[unit]);
}

std::string human_count(uint64_t n) {
  std::string out = fmt::format("{}", n);
  for (size_t at = out.size(); at > 3;) {
    at -= 3;
    out.insert(at, 1, ',');
  }
  return out;
}

Result<uint64_t> parse_size(std::string_view text) {
  auto junk = [&](const char* why) {
    return fail(Code::kUsage,
                fmt::format("cannot read \"{}\" as a size: {}", printable(text.substr(0, 80)), why),
                "for example: 4096, 64KiB, 16MiB, 1.5g (k, m, g, t, p are powers of 1024)");
  };
  const std::string owned = to_lower(trim(text));
  std::string_view rest = owned;
  uint64_t whole = 0;
  auto [end, err] = std::from_chars(rest.data(), rest.data() + rest.size(), whole);
  if (err == std::errc::result_out_of_range) return junk("it is too large");
  if (err != std::errc{}) return junk("it does not start with a number");
  rest.remove_prefix(static_cast<size_t>(end - rest.data()));
  double fraction = 0;
  const bool has_fraction = rest.starts_with('.');
  if (has_fraction) {
    double place = 1;
    rest.remove_prefix(1);
    if (rest.empty() || rest[0] < '0' || rest[0] > '9') return junk("digits are missing after the point");
    while (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') {
      place /= 10;
      fraction += place * (rest[0] - '0');
      rest.remove_prefix(1);
    }
  }
  rest = trim(rest);
  unsigned shift = 0;
  if (!rest.empty() && rest != "b") {
    static constexpr std::string_view kLetters = "kmgtp";
    const size_t at = kLetters.find(rest[0]);
    const std::string_view tail = rest.substr(1);
    if (at == kLetters.npos || (!tail.empty() && tail != "b" && tail != "ib"))
      return junk("the unit is not known");
    shift = 10 * (static_cast<unsigned>(at) + 1);
  }
  if (shift == 0 && has_fraction) return junk("there are no parts of a byte");
  const uint64_t unit = uint64_t{1} << shift;
  uint64_t out = 0;
  if (__builtin_mul_overflow(whole, unit, &out) ||
      __builtin_add_overflow(out, static_cast<uint64_t>(fraction * static_cast<double>(unit)), &out))
    return junk("it is too large");
  return out;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> out;
  for (;;) {
    const size_t at = text.find(separator);
    out.push_back(text.substr(0, at));
    if (at == text.npos) return out;
    text.remove_prefix(at + 1);
  }
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r\n\f\v";
  const size_t first = text.find_first_not_of(kSpaces);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kSpaces) - first + 1);
}

std::string to_lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

std::vector<std::string> nearest(std::string_view word, std::span<const std::string> candidates,
                                 size_t most) {
  const std::string wanted = to_lower(word);
  const size_t allowed = wanted.size() < 3 ? 1 : 1 + wanted.size() / 4;
  std::vector<std::pair<size_t, const std::string*>> found;
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(wanted, to_lower(candidate));
    // A distance as long as the word would call anything near.
    if (distance <= allowed && distance < std::max(wanted.size(), candidate.size()))
      found.emplace_back(distance, &candidate);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  if (found.size() > most) found.resize(most);
  std::vector<std::string> out;
  out.reserve(found.size());
  for (const auto& [distance, candidate] : found) out.push_back(*candidate);
  return out;
}

bool glob_match(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0;
  Star star;               // the latest '*'; forgotten when a "**" before it moves
  Star deep;               // the latest "**"
  bool by_folder = false;  // `deep` is "**/" at the start of a segment: it takes whole folders, or none
  for (;;) {
    if (p < pattern.size() && pattern[p] == '*') {
      if (pattern.substr(p, 2) == "**") {
        const bool at_segment = p == 0 || pattern[p - 1] == '/';
        while (p < pattern.size() && pattern[p] == '*') ++p;
        by_folder = at_segment && p < pattern.size() && pattern[p] == '/';
        if (by_folder) ++p;
        deep = {p, t};
        star = {};
      } else {
        star = {++p, t};
      }
      continue;
    }
    if (p == pattern.size() && t == text.size()) return true;
    if (p < pattern.size() && t < text.size()) {
      size_t length = 1;
      bool matches = pattern[p] == text[t];
      if (pattern[p] == '?') {
        matches = text[t] != '/';
      } else if (pattern[p] == '[') {
        if (auto set = match_set(pattern.substr(p), text[t])) {
          matches = set->matches;
          length = set->length;
        }
      }
      if (matches) {
        p += length;
        ++t;
        continue;
      }
    }
    if (star.set() && star.text < text.size() && text[star.text] != '/') {
      p = star.pattern;
      t = ++star.text;
    } else if (deep.set() && deep.text < text.size()) {
      star = {};
      if (by_folder) {
        const size_t slash = text.find('/', deep.text);
        if (slash == text.npos) return false;
        deep.text = slash;
      }
      p = deep.pattern;
      t = ++deep.text;
    } else {
      return false;
    }
  }
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const auto front = utf8_front(text);
    const size_t n = front ? front->first : 1;
    if (front && may_be_shown(front->second)) {
      out += text.substr(0, n);
    } else {
      out += '?';
    }
    text.remove_prefix(n);
  }
  return out;
}

}  // namespace varve
