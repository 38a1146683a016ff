#include "store/azure/answers.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <pugixml.hpp>

#include "base/text.h"
#include "store/azure/dates.h"
#include "store/cloud/answer.h"

namespace varve::store::azure {
namespace {

constexpr size_t kMostName = 1024;       // of a blob, in characters
constexpr size_t kMostMarks = 1 << 20;   // '<' in a document: bounds what its tree takes
constexpr size_t kMostMarker = 8 << 10;  // goes back in a URL

constexpr char kCredentialHint[] =
    "look at the key, signature or identity that is used (varve check names it), and at this machine's clock";
constexpr char kGrantHint[] =
    "varve check prints what must be granted; an account may also refuse keys, or this network";

enum class Meaning { kThrottled, kTransient, kConflict, kNoContainer, kArchived, kCredential, kGrant };

struct Known {
  std::string_view code;
  Meaning meaning;
};
// Where the status alone would mislead, or more can be said than it says.
constexpr Known kKnown[] = {
    {"ServerBusy", Meaning::kThrottled},
    {"TooManyRequests", Meaning::kThrottled},
    {"InternalError", Meaning::kTransient},
    {"OperationTimedOut", Meaning::kTransient},
    {"AccountBeingCreated", Meaning::kTransient},
    {"ContainerBeingDeleted", Meaning::kTransient},
    {"Md5Mismatch", Meaning::kTransient},
    {"Crc64Mismatch", Meaning::kTransient},
    {"IncompleteBody", Meaning::kTransient},
    {"LeaseIdMissing", Meaning::kConflict},
    {"LeaseAlreadyPresent", Meaning::kConflict},
    {"PendingCopyOperation", Meaning::kConflict},
    {"SnapshotsPresent", Meaning::kConflict},
    {"ContainerNotFound", Meaning::kNoContainer},
    {"ContainerDisabled", Meaning::kNoContainer},
    {"BlobArchived", Meaning::kArchived},
    {"BlobBeingRehydrated", Meaning::kArchived},
    {"AuthenticationFailed", Meaning::kCredential},
    {"InvalidAuthenticationInfo", Meaning::kCredential},
    {"NoAuthenticationInformation", Meaning::kCredential},
    {"AuthorizationFailure", Meaning::kGrant},
    {"AuthorizationPermissionMismatch", Meaning::kGrant},
    {"AuthorizationProtocolMismatch", Meaning::kGrant},
    {"AuthorizationResourceTypeMismatch", Meaning::kGrant},
    {"AuthorizationServiceMismatch", Meaning::kGrant},
    {"AuthorizationSourceIPMismatch", Meaning::kGrant},
    {"InsufficientAccountPermissions", Meaning::kGrant},
    {"KeyBasedAuthenticationNotPermitted", Meaning::kGrant},
    {"PublicAccessNotPermitted", Meaning::kGrant},
};

void apply(Meaning meaning, Error& error) {
  switch (meaning) {
    case Meaning::kThrottled:
    case Meaning::kTransient:
      error.code = Code::kUnreachable;
      error.retry = meaning == Meaning::kThrottled ? Retry::kThrottled : Retry::kTransient;
      break;
    case Meaning::kConflict:
      error.code = Code::kConflict;
      break;
    case Meaning::kNoContainer:
      // Not kNotFound: that would make an object absent, and a mistyped container an empty repository.
      error.code = Code::kUnreachable;
      error.hint = "make the container, or correct the address: azure://container/prefix?account=NAME";
      break;
    case Meaning::kArchived:
      error.code = Code::kUnreachable;
      error.hint = "it lies in the archive tier: set its tier to Hot or Cool, wait (hours), and run again";
      break;
    case Meaning::kCredential:
      error.code = Code::kDenied;
      error.hint = kCredentialHint;
      break;
    case Meaning::kGrant:
      error.code = Code::kDenied;
      error.hint = kGrantHint;
      break;
  }
}

Result<pugi::xml_document> parse_xml(Buffer& xml) {
  if (static_cast<size_t>(std::count(xml.begin(), xml.end(), std::byte{'<'})) > kMostMarks)
    return fail(Code::kUnreachable, "it is too large");
  pugi::xml_document document;
  // Whitespace of names counts, entities that a DTD defines are not taken, and nothing is fetched.
  const auto parsed =
      document.load_buffer_inplace(xml.data(), xml.size(), pugi::parse_default, pugi::encoding_utf8);
  if (!parsed) return fail(Code::kUnreachable, fmt::format("it is no XML ({})", parsed.description()));
  return document;
}

Result<Blob> blob_of(const pugi::xml_node& node) {
  const pugi::xml_node properties = node.child("Properties");
  Blob out{.name = node.child("Name").text().get(), .version = node.child("VersionId").text().get()};
  const auto size = parse_number(properties.child("Content-Length").text().get());
  const auto modified = parse_http_date(properties.child("Last-Modified").text().get());
  if (out.name.empty() || out.name.size() > 4 * kMostName || out.version.size() > 100 || !size || !modified)
    return fail(Code::kUnreachable, "an entry of the listing has no name, size or date");
  out.size = *size;
  out.modified = *modified;
  return out;
}

bool is_folder(const pugi::xml_node& node) {
  return std::string_view(node.child("Properties").child("ResourceType").text().get()) == "directory";
}

}  // namespace

Result<Listing> parse_listing(Buffer xml) {
  // The service begins with a byte order mark, which the parser knows.
  TRY_ASSIGN(const pugi::xml_document document, parse_xml(xml));
  const pugi::xml_node root = document.child("EnumerationResults");
  const pugi::xml_node blobs = root.child("Blobs");
  if (!root || !blobs) return fail(Code::kUnreachable, "it is no listing");
  Listing out{.blobs = {}, .next = root.child("NextMarker").text().get()};
  if (out.next.size() > kMostMarker)
    return fail(Code::kUnreachable, "the marker of its next page is too long");
  for (const pugi::xml_node& node : blobs.children("Blob")) {
    if (is_folder(node)) continue;
    TRY_ASSIGN(Blob blob, blob_of(node));
    out.blobs.push_back(std::move(blob));
  }
  return out;
}

Words words_of(const net::HttpResponse& answer) {
  Words out{answer.header("x-ms-error-code").value_or(""), ""};
  Buffer xml = answer.body;
  if (auto document = xml.empty() ? fail(Code::kUnreachable, "") : parse_xml(xml)) {
    const pugi::xml_node root = document->child("Error");
    if (out.code.empty()) out.code = root.child("Code").text().get();
    // Identities of the request and the time follow on lines of their own.
    const std::string_view message = trim(root.child("Message").text().get());
    out.message = message.substr(0, message.find_first_of("\r\n"));
  }
  return out;
}

std::optional<uint64_t> parse_number(std::string_view text) {
  uint64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return out;
}

std::optional<ContentRange> parse_content_range(std::string_view text) {
  constexpr std::string_view kUnit = "bytes ";
  const size_t slash = text.find('/');
  if (!text.starts_with(kUnit) || slash == text.npos) return std::nullopt;
  const std::string_view range = text.substr(kUnit.size(), slash - kUnit.size());
  const auto size = parse_number(text.substr(slash + 1));
  if (!size) return std::nullopt;
  if (range == "*") return ContentRange{.first = {}, .last = {}, .size = *size};
  const size_t dash = range.find('-');
  if (dash == range.npos) return std::nullopt;
  const auto first = parse_number(range.substr(0, dash)), last = parse_number(range.substr(dash + 1));
  if (!first || !last) return std::nullopt;
  // Not by the standard, but Azurite answers so for what begins at the very end.
  const bool nothing = *first == *size && *first > 0 && *last == *first - 1;
  if (!nothing && (*first > *last || *last >= *size)) return std::nullopt;
  return ContentRange{first, last, *size};
}

std::optional<Timestamp> parse_version(std::string_view text) {
  constexpr size_t kMicroseconds = std::string_view("2024-05-01T12:00:00.123456").size();
  if (!text.ends_with('Z')) return std::nullopt;
  auto at = parse_rfc3339(text.size() > kMicroseconds + 1 ? std::string(text.substr(0, kMicroseconds)) + "Z"
                                                          : std::string(text));
  if (!at) return std::nullopt;
  return *at;
}

bool is_from_service(const net::HttpResponse& answer) {
  return answer.header("x-ms-request-id").has_value();
}

Error failure_of(const net::HttpResponse& answer, const std::string& doing) {
  const int status = answer.status;
  // What stands between may well ask for a password, or say that it is overloaded; it cannot know of blobs.
  const bool anyones = status == 407 || status == 408 || status == 429 || status >= 500;
  if (!is_from_service(answer) && !anyones)
    return cloud::nonsense(answer, doing, "it has no x-ms-request-id");
  const Words words = words_of(answer);
  Error out = cloud::error_of(answer, doing, words.code, words.message);
  const auto known = std::find_if(std::begin(kKnown), std::end(kKnown),
                                  [&](const Known& k) { return k.code == words.code; });
  if (known != std::end(kKnown)) {
    apply(known->meaning, out);
  } else if (words.code.starts_with("BlobImmutable") || status == 409) {
    out.code = Code::kConflict;
  } else if (status == 403 && out.hint.empty()) {
    out.hint = kGrantHint;
  }
  if (out.retry != Retry::kNever) out.retry_after = answer.retry_after();
  if (const auto id = answer.header("x-ms-request-id"))
    out.context.push_back("request " + printable(id->substr(0, 64)));
  return out;
}

}  // namespace varve::store::azure
