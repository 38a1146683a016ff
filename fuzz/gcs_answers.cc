// What Google's servers say, and what credentials files hold.
#include "fuzz.h"
#include "store/gcs/answers.h"
#include "store/gcs/credentials.h"

FUZZ_TARGET(input) {
  using namespace varve;
  using namespace varve::store::gcs;
  const std::string_view text = as_text(input);
  if (const auto object = parse_object(text); object && object->retention)
    FUZZ_CHECK(object->retained_by && *object->retained_by >= object->retention->until);
  if (const auto list = parse_list(text); list && check_listing(*list, "p/", false)) {
    for (size_t i = 0; i < list->objects.size(); ++i) {
      FUZZ_CHECK(list->objects[i].name.starts_with("p/"));
      FUZZ_CHECK(i == 0 || list->objects[i - 1].name < list->objects[i].name);
    }
  }
  (void)parse_bucket(text);
  (void)parse_error(text);
  (void)parse_refusal(text);
  if (const auto token = parse_token(text)) FUZZ_CHECK(is_token(token->token));
  if (const auto token = parse_impersonated(text)) FUZZ_CHECK(is_token(token->token));
  if (const auto range = parse_content_range(text))
    FUZZ_CHECK(range->first <= range->last && range->last < range->size);
  if (const auto size = parse_unsatisfied_range(text)) FUZZ_CHECK(text.starts_with("bytes */"));
  if (const auto bytes = parse_received(text)) FUZZ_CHECK(*bytes > 0);
  if (const auto crc = parse_crc32c(text)) FUZZ_CHECK(crc32c_text(*crc) == text);
  net::HttpResponse answer;
  answer.headers = {{"x-goog-hash", std::string(text)}};
  (void)stored_crc32c(answer);
  (void)credentials_from(text, "file", nullptr);
}
