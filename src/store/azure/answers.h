// What the blob service answers, taken apart. Everything here reads bytes that anyone may have sent.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "net/http.h"

namespace varve::store::azure {

// A blob of a listing, as far as Varve asks.
struct Blob {
  std::string name;
  uint64_t size = 0;
  Timestamp modified = {};
  std::string version = {};  // empty: it has none
};

struct Listing {
  std::vector<Blob> blobs;
  std::string next;  // the marker of the next page; empty: the end
};

// The body of List Blobs. Folders of a hierarchical namespace are left out. kUnreachable for what is no
// listing.
Result<Listing> parse_listing(Buffer xml);

struct Words {
  std::string code, message;  // empty where there is none
};
// Code and message of a failure: of the header x-ms-error-code and the body. The message is its first line.
Words words_of(const net::HttpResponse& answer);

// "bytes 0-99/1000"; first and last are missing in "bytes */1000".
struct ContentRange {
  std::optional<uint64_t> first, last;
  uint64_t size = 0;
};
std::optional<ContentRange> parse_content_range(std::string_view text);

// Digits only.
std::optional<uint64_t> parse_number(std::string_view text);

// The moment that a version's name is: "2024-05-01T12:00:00.1234567Z"; what is below a microsecond is
// dropped.
std::optional<Timestamp> parse_version(std::string_view text);

// Came from a blob service, and not from something between.
bool is_from_service(const net::HttpResponse& answer);

// An answer that is no success, as an Error; the codes of the service decide before the status does.
Error failure_of(const net::HttpResponse& answer, const std::string& doing);

}  // namespace varve::store::azure
