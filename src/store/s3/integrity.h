// Checksums of bodies, as headers of requests and answers.
#pragma once

#include <optional>
#include <span>

#include "net/http.h"
#include "store/s3/quirks.h"

namespace varve::store::s3 {

std::string crc32c_text(std::span<const ByteView> body);  // base64, as the headers have it
// nullopt for what is none, such as the checksum of checksums of an object sent in parts.
std::optional<uint32_t> parse_crc32c(std::string_view text);

// What a service checks a body against: CRC-32C, or MD5 where it does not know that.
void add_integrity(const Quirks& quirks, std::span<const ByteView> body, std::vector<net::Header>* headers);
// MD5: every service takes it, and some demand it of DeleteObjects and of retentions.
void add_md5(std::span<const ByteView> body, std::vector<net::Header>* headers);

}  // namespace varve::store::s3
