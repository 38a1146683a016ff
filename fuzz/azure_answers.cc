// What Azure's services, or whoever stands in for them, may answer: listings, failures, dates, ranges,
// tokens; and a connection string that someone pasted.
#include "fuzz.h"
#include "store/azure/answers.h"
#include "store/azure/dates.h"
#include "store/azure/settings.h"
#include "store/azure/tokens.h"
#include "store/azure/versions.h"

using namespace varve;
using namespace varve::store;

FUZZ_TARGET(input) {
  const std::string_view text = as_text(input);

  if (const auto listing = azure::parse_listing(to_buffer(input))) {
    for (const azure::Blob& blob : listing->blobs) {
      FUZZ_CHECK(!blob.name.empty());
      if (const auto at = azure::parse_version(blob.version)) FUZZ_CHECK(!to_rfc3339(*at).empty());
    }
  }
  net::HttpResponse answer;
  answer.status = 400 + static_cast<int>(input.size() % 200);
  answer.headers = {{"x-ms-request-id", "1"}};
  answer.body = to_buffer(input);
  const Error error = azure::failure_of(answer, "doing it");
  for (const char c : error.describe()) FUZZ_CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  FUZZ_CHECK(error.describe().size() < 4000);

  if (const auto range = azure::parse_content_range(text); range && range->first)
    FUZZ_CHECK(*range->first <= range->size && *range->last + 1 <= range->size);
  if (const auto date = azure::parse_http_date(text))
    FUZZ_CHECK(azure::parse_http_date(azure::to_http_date(*date)) == date);
  if (const auto token = azure::parse_token(text)) {
    FUZZ_CHECK(!token->value.empty());
    FUZZ_CHECK(token->expires && *token->expires - now() <= std::chrono::hours(25));
  }
  if (const auto place = azure::parse_token_of_page(text)) {
    const auto again = azure::parse_token_of_page(azure::to_token(*place));
    FUZZ_CHECK(again && again->marker == place->marker && again->best.has_value() == place->best.has_value());
  }
  if (const auto connection = azure::parse_connection_string(text)) FUZZ_CHECK(!connection->endpoint.empty());
}
