// Object names, addresses of repositories, and commands split in words: what a person or a bucket may hand
// us.
#include "base/text.h"
#include "fuzz.h"
#include "os/process.h"
#include "store/place.h"
#include "store/store.h"

using namespace varve;

FUZZ_TARGET(input) {
  const std::string_view text = as_text(input);

  const bool is_key = store::check_key(text).has_value();
  bool fits = !text.empty() && text.size() <= 512;
  for (std::string_view segment : split(text, '/')) {
    fits = fits && !segment.empty() && segment.size() <= 255 && segment[0] != '.' &&
           segment.find_first_not_of(
               "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._=@+-") == segment.npos;
  }
  FUZZ_CHECK(is_key == fits);

  if (auto place = store::parse_place(text)) {
    FUZZ_CHECK(place->scheme == "file" || !place->authority.empty() || place->scheme == "mem");
    FUZZ_CHECK(place->path.find('\0') == std::string::npos);
    for (const auto& [name, value] : place->settings.all()) FUZZ_CHECK(!name.empty());
  }

  if (auto words = os::split_words(text)) {
    FUZZ_CHECK(!words->empty());
    // Quoted the simple way, the words come back.
    std::string quoted;
    for (const std::string& word : *words) {
      quoted += quoted.empty() ? "'" : " '";
      for (char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
      quoted += '\'';
    }
    FUZZ_CHECK(os::split_words(quoted).value() == *words);
  }
}
