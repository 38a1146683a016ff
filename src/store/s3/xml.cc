#include "store/s3/xml.h"

#include <charconv>
#include <fmt/format.h>
#include <pugixml.hpp>

#include "base/text.h"

namespace varve::store::s3 {
namespace {

constexpr size_t kMostBody = size_t{16} << 20;
constexpr size_t kMostText =
    8192;  // of one element: a key of 1024 bytes may be percent-encoded; session tokens
constexpr unsigned kFlags = pugi::parse_minimal | pugi::parse_escapes | pugi::parse_cdata;

tl::unexpected<Error> unclear(std::string_view what) {
  return fail(Code::kUnreachable, std::string(what));
}

// The root of the one document in `body`; it lives as long as `holder`.
Result<pugi::xml_node> root_of(pugi::xml_document& holder, ByteView body, std::string_view name) {
  if (body.size() > kMostBody) return unclear("the answer is too long");
  if (!holder.load_buffer(body.data(), body.size(), kFlags, pugi::encoding_utf8))
    return unclear("the answer is no XML");
  const pugi::xml_node out = holder.document_element();
  if (name != out.name())
    return unclear(fmt::format("the answer is <{}> and not <{}>",
                               printable(std::string_view(out.name()).substr(0, 40)), name));
  return out;
}

std::string_view text_of(const pugi::xml_node& node, const char* child) {
  return std::string_view(node.child_value(child)).substr(0, kMostText);
}

Result<std::string> needed(const pugi::xml_node& node, const char* child) {
  const std::string_view text = node.child_value(child);
  if (text.empty() || text.size() > kMostText)
    return unclear(fmt::format("<{}> has no fit <{}>", node.name(), child));
  return std::string(text);
}

Result<uint64_t> number(const pugi::xml_node& node, const char* child) {
  const std::string_view text = trim(node.child_value(child));
  uint64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (text.empty() || error != std::errc() || end != text.data() + text.size())
    return unclear(fmt::format("<{}> is no number", child));
  return out;
}

Result<Timestamp> moment(const pugi::xml_node& node, const char* child) {
  auto out = parse_rfc3339(trim(text_of(node, child)));
  if (!out) return unclear(fmt::format("<{}> is no time", child));
  return out;
}

// Absent means false; anything but the two words is an error, for a listing must not end by mistake.
Result<bool> truth(const pugi::xml_node& node, const char* child) {
  const std::string_view text = trim(text_of(node, child));
  if (text == "true") return true;
  if (text == "false" || text.empty()) return false;
  return unclear(fmt::format("<{}> is neither true nor false", child));
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Names in listings, which are percent-encoded when the answer says so. An empty text is one.
class Names {
 public:
  explicit Names(const pugi::xml_node& root) : encoded_(text_of(root, "EncodingType") == "url") {}

  Result<std::string> decode(std::string_view text) const {
    if (!encoded_) return std::string(text);
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '+') {
        out += ' ';
      } else if (text[i] != '%') {
        out += text[i];
      } else {
        const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
        const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
        if (high < 0 || low < 0) return unclear("a name is not encoded as it should be");
        out += static_cast<char>(high * 16 + low);
        i += 2;
      }
    }
    return out;
  }
  Result<std::string> needed(const pugi::xml_node& node, const char* child) const {
    TRY_ASSIGN(const std::string text, s3::needed(node, child));
    return decode(text);
  }

 private:
  const bool encoded_;
};

std::optional<ErrorAnswer> error_in(const pugi::xml_node& node) {
  ErrorAnswer out{std::string(text_of(node, "Code")), std::string(text_of(node, "Message")),
                  std::string(text_of(node, "Region"))};
  if (out.code.empty()) return std::nullopt;
  return out;
}

}  // namespace

std::optional<ErrorAnswer> parse_error(ByteView body) {
  pugi::xml_document doc;
  const auto root = root_of(doc, body, "Error");
  return root ? error_in(*root) : std::nullopt;
}

Result<ListAnswer> parse_list(ByteView body) {
  pugi::xml_document doc;
  TRY_ASSIGN(const auto root, root_of(doc, body, "ListBucketResult"));
  const Names names(root);
  ListAnswer out;
  for (const auto& node : root.children("Contents")) {
    ListedObject one;
    TRY_ASSIGN(one.key, names.needed(node, "Key"));
    TRY_ASSIGN(one.size, number(node, "Size"));
    TRY_ASSIGN(one.modified, moment(node, "LastModified"));
    out.objects.push_back(std::move(one));
  }
  TRY_ASSIGN(const bool more, truth(root, "IsTruncated"));
  if (more) {
    TRY_ASSIGN(out.next, needed(root, "NextContinuationToken"));
  }
  return out;
}

Result<VersionsAnswer> parse_versions(ByteView body) {
  pugi::xml_document doc;
  TRY_ASSIGN(const auto root, root_of(doc, body, "ListVersionsResult"));
  const Names names(root);
  VersionsAnswer out;
  for (const auto& node : root.children()) {
    const std::string_view kind = node.name();
    if (kind != "Version" && kind != "DeleteMarker") continue;
    ListedVersion one;
    one.delete_marker = kind == "DeleteMarker";
    TRY_ASSIGN(one.key, names.needed(node, "Key"));
    TRY_ASSIGN(one.version, needed(node, "VersionId"));
    TRY_ASSIGN(one.modified, moment(node, "LastModified"));
    if (!one.delete_marker) {
      TRY_ASSIGN(one.size, number(node, "Size"));
    }
    out.versions.push_back(std::move(one));
  }
  TRY_ASSIGN(out.more, truth(root, "IsTruncated"));
  if (out.more) {
    TRY_ASSIGN(out.next_key, names.needed(root, "NextKeyMarker"));
    out.next_version = text_of(root, "NextVersionIdMarker");
  }
  return out;
}

Result<DeleteAnswer> parse_delete(ByteView body) {
  pugi::xml_document doc;
  TRY_ASSIGN(const auto root, root_of(doc, body, "DeleteResult"));
  DeleteAnswer out;
  for (const auto& node : root.children()) {
    const std::string_view kind = node.name();
    if (kind != "Deleted" && kind != "Error") continue;
    DeleteAnswer::One one;
    TRY_ASSIGN(one.key, needed(node, "Key"));
    one.version = text_of(node, "VersionId");
    if (kind == "Error") {
      TRY_ASSIGN(one.code, needed(node, "Code"));
      one.message = text_of(node, "Message");
    }
    out.each.push_back(std::move(one));
  }
  return out;
}

Result<std::string> parse_upload_id(ByteView body) {
  pugi::xml_document doc;
  TRY_ASSIGN(const auto root, root_of(doc, body, "InitiateMultipartUploadResult"));
  return needed(root, "UploadId");
}

Result<std::string> parse_complete(ByteView body) {
  pugi::xml_document doc;
  TRY_ASSIGN(const auto root, root_of(doc, body, "CompleteMultipartUploadResult"));
  return needed(root, "ETag");
}

Result<UploadsAnswer> parse_uploads(ByteView body) {
  pugi::xml_document doc;
  TRY_ASSIGN(const auto root, root_of(doc, body, "ListMultipartUploadsResult"));
  const Names names(root);
  UploadsAnswer out;
  for (const auto& node : root.children("Upload")) {
    PendingUpload one;
    TRY_ASSIGN(one.key, names.needed(node, "Key"));
    TRY_ASSIGN(one.id, needed(node, "UploadId"));
    TRY_ASSIGN(one.started, moment(node, "Initiated"));
    out.uploads.push_back(std::move(one));
  }
  TRY_ASSIGN(out.more, truth(root, "IsTruncated"));
  if (out.more) {
    TRY_ASSIGN(out.next_key, names.needed(root, "NextKeyMarker"));
    out.next_id = text_of(root, "NextUploadIdMarker");
  }
  return out;
}

Result<bool> parse_versioning(ByteView body) {
  pugi::xml_document doc;
  TRY_ASSIGN(const auto root, root_of(doc, body, "VersioningConfiguration"));
  const std::string_view status = trim(text_of(root, "Status"));
  if (status.empty()) return false;
  if (status == "Enabled" || status == "Suspended") return true;
  return unclear("<Status> of the bucket's versioning is none that there is");
}

Result<bool> parse_lock_configuration(ByteView body) {
  pugi::xml_document doc;
  TRY_ASSIGN(const auto root, root_of(doc, body, "ObjectLockConfiguration"));
  return trim(text_of(root, "ObjectLockEnabled")) == "Enabled";
}

Result<Retention> parse_retention(ByteView body) {
  pugi::xml_document doc;
  // Ceph calls it by another name.
  auto root = root_of(doc, body, "Retention");
  if (!root) root = root_of(doc, body, "ObjectLockRetention");
  if (!root) return fail(std::move(root).error());
  Retention out;
  TRY_ASSIGN(out.mode, needed(*root, "Mode"));
  if (out.mode != "GOVERNANCE" && out.mode != "COMPLIANCE") return unclear("<Mode> is none that there is");
  TRY_ASSIGN(out.until, moment(*root, "RetainUntilDate"));
  return out;
}

Result<StsAnswer> parse_sts(ByteView body) {
  pugi::xml_document doc;
  auto root = root_of(doc, body, "AssumeRoleResponse");
  const char* result = "AssumeRoleResult";
  if (!root) {
    root = root_of(doc, body, "AssumeRoleWithWebIdentityResponse");
    result = "AssumeRoleWithWebIdentityResult";
  }
  if (!root) return fail(std::move(root).error());
  const auto node = root->child(result).child("Credentials");
  StsAnswer out;
  TRY_ASSIGN(out.credentials.access_key, needed(node, "AccessKeyId"));
  TRY_ASSIGN(auto secret, needed(node, "SecretAccessKey"));
  out.credentials.secret_key = crypto::SecretText(std::move(secret));
  TRY_ASSIGN(auto token, needed(node, "SessionToken"));
  out.credentials.session_token = crypto::SecretText(std::move(token));
  TRY_ASSIGN(out.expires, moment(node, "Expiration"));
  return out;
}

std::optional<ErrorAnswer> parse_sts_error(ByteView body) {
  pugi::xml_document doc;
  const auto root = root_of(doc, body, "ErrorResponse");
  return root ? error_in(root->child("Error")) : std::nullopt;
}

std::string xml_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace varve::store::s3
