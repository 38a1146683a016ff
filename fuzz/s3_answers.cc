// What a service that calls itself S3 may answer: every parser of its XML, of its headers, and of what gives
// credentials.
#include "fuzz.h"
#include "store/s3/credentials/providers.h"
#include "store/s3/integrity.h"
#include "store/s3/read.h"
#include "store/s3/times.h"
#include "store/s3/xml.h"

using namespace varve;
using namespace varve::store::s3;

FUZZ_TARGET(input) {
  const std::string_view text = as_text(input);
  (void)parse_error(input);
  (void)parse_sts_error(input);
  if (const auto page = parse_list(input)) {
    for (const ListedObject& o : page->objects) FUZZ_CHECK(!o.key.empty() && o.key.size() <= 8192);
  }
  if (const auto page = parse_versions(input)) {
    for (const ListedVersion& v : page->versions) FUZZ_CHECK(!v.key.empty() && !v.version.empty());
    FUZZ_CHECK(!page->more || !page->next_key.empty());
  }
  if (const auto answer = parse_delete(input)) {
    for (const DeleteAnswer::One& one : answer->each) FUZZ_CHECK(!one.key.empty());
  }
  if (const auto page = parse_uploads(input)) FUZZ_CHECK(!page->more || !page->next_key.empty());
  if (const auto id = parse_upload_id(input)) FUZZ_CHECK(!id->empty());
  if (const auto etag = parse_complete(input)) FUZZ_CHECK(!etag->empty());
  (void)parse_versioning(input);
  (void)parse_lock_configuration(input);
  (void)parse_retention(input);
  if (const auto sts = parse_sts(input)) FUZZ_CHECK(!sts->credentials.access_key.empty());
  if (const auto keys = parse_credentials_json(text, "Token", "a test"))
    FUZZ_CHECK(!keys->value.access_key.empty() && keys->value.access_key.find('\n') == std::string::npos);
  if (const auto r = parse_content_range(text)) FUZZ_CHECK(r->first <= r->last && r->last < r->whole);
  if (const auto at = parse_http_date(text)) FUZZ_CHECK(text.size() == 29);
  (void)parse_crc32c(text);

  // Names in requests are read back as they were.
  const std::string xml =
      "<DeleteResult><Deleted><Key>" + xml_escaped(text) + "</Key></Deleted></DeleteResult>";
  if (text.find_first_of("\r\n\t ") == text.npos && !text.empty() && text.find('\0') == text.npos &&
      text.size() < 1024) {
    if (const auto answer = parse_delete(as_bytes(xml))) FUZZ_CHECK(answer->each.at(0).key == text);
  }
}
