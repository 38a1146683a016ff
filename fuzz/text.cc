// Globs (against a plain recursive matcher), sizes, nearest words, and what may reach a terminal.
#include "base/text.h"

#include "fuzz.h"

using namespace varve;

namespace {

// The definition, word for word, and exponential: only for short inputs without sets.
bool slow_match(std::string_view p, std::string_view t, bool segment_start) {
  if (p.empty()) return t.empty();
  if (p.starts_with("**")) {
    std::string_view rest =
        p.substr(p.find_first_not_of('*') == p.npos ? p.size() : p.find_first_not_of('*'));
    if (segment_start && rest.starts_with('/')) {
      if (slow_match(rest.substr(1), t, true)) return true;
      for (size_t i = 0; i < t.size(); ++i) {
        if (t[i] == '/' && slow_match(rest.substr(1), t.substr(i + 1), true)) return true;
      }
      return false;
    }
    for (size_t i = 0; i <= t.size(); ++i) {
      if (slow_match(rest, t.substr(i), false)) return true;
    }
    return false;
  }
  if (p[0] == '*') {
    for (size_t i = 0; i <= t.size(); ++i) {
      if (slow_match(p.substr(1), t.substr(i), false)) return true;
      if (i < t.size() && t[i] == '/') break;
    }
    return false;
  }
  if (t.empty() || (p[0] == '?' ? t[0] == '/' : p[0] != t[0])) return false;
  return slow_match(p.substr(1), t.substr(1), p[0] == '/');
}

}  // namespace

FUZZ_TARGET(input) {
  const std::string_view all = as_text(input);
  const size_t cut = all.find('\n');
  const std::string_view pattern = all.substr(0, cut), text = cut == all.npos ? "" : all.substr(cut + 1);
  const bool matches = glob_match(pattern, text);
  if (pattern.size() <= 12 && text.size() <= 14 && pattern.find('[') == pattern.npos)
    FUZZ_CHECK(matches == slow_match(pattern, text, true));
  if (pattern.find_first_of("*?[") == pattern.npos) FUZZ_CHECK(matches == (pattern == text));

  const std::string shown = printable(all);
  FUZZ_CHECK(printable(shown) == shown);
  for (char c : shown) FUZZ_CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);

  if (auto size = parse_size(text)) FUZZ_CHECK(!human_size(*size).empty());
  const std::vector<std::string> words = {std::string(text), "backup", "restore"};
  FUZZ_CHECK(nearest(pattern, words).size() <= 3);
  size_t total = 0;
  for (auto piece : split(all, '/')) total += piece.size() + 1;
  FUZZ_CHECK(total == all.size() + 1);
}
