#include "net/transfer.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

#include "base/text.h"
#include "net/failure.h"
#include "net/resolve.h"

namespace varve::net {
namespace {

constexpr size_t kMostHeaderBytes = size_t{256} << 10;  // all of a response's, those of 1xx included
constexpr size_t kMostPart = size_t{256} << 10;         // of a body at a time, to the sink
constexpr long kBuffer = 128 << 10;                     // libcurl's own, each way

uint64_t total_size(std::span<const ByteView> pieces) {
  uint64_t out = 0;
  for (const ByteView& piece : pieces) out += piece.size();
  return out;
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
  });
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](unsigned char c) { return (c < 0x20 && c != '\t') || c == 0x7f; });
}

bool is_visible(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
}

// Reading only: to do it twice is to do it once.
bool is_safe(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "OPTIONS";
}

// "https://user:word@host:1/path?query" -> "https://host:1"
std::string origin_of(std::string_view url) {
  const size_t colon = url.find("://");
  if (colon == std::string_view::npos) return "a URL without a scheme";
  const size_t host = colon + 3;
  std::string_view authority = url.substr(host, url.find_first_of("/?#\\", host) - host);
  if (const size_t at = authority.rfind('@'); at != std::string_view::npos) authority.remove_prefix(at + 1);
  return printable(fmt::format("{}://{}", url.substr(0, colon), authority));
}

// Only for names: not for an IPv6 address.
std::string host_of(std::string_view origin) {
  const std::string_view authority = origin.substr(origin.find("://") + 3);
  return std::string(authority.substr(0, authority.find(':')));
}

}  // namespace

Transfer::Transfer(const Context& ctx, const HttpRequest& request, const HttpSink& sink,
                   const HttpClientOptions& options, Trust& trust)
    : ctx_(ctx),
      request_(request),
      sink_(sink),
      options_(options),
      trust_(trust),
      origin_(origin_of(request.url)),
      size_(total_size(request.body)),
      whole_given_(size_ == 0) {}

Result<> Transfer::check_request() const {
  const std::string_view url = request_.url;
  if (!is_visible(url) || !(url.starts_with("https://") || url.starts_with("http://")) ||
      url.find_first_of("#\\") != std::string_view::npos)
    return fail(Code::kUnreachable, fmt::format("the URL for {} is malformed", origin_),
                "look at the endpoint's address: https://host or https://host:port");
  if (!is_token(request_.method)) return fail(Code::kInternal, "an HTTP method that is none");
  for (const Header& header : request_.headers) {
    if (!is_token(header.name) || has_control(header.value))
      return fail(Code::kUsage,
                  fmt::format("a header of a request to {} holds a character that it must not", origin_),
                  "look for a line break in the credentials or settings of this store");
  }
  return {};
}

Result<> Transfer::add_header(const std::string& line) {
  curl_slist* longer = curl_slist_append(headers_.get(), line.c_str());
  if (longer == nullptr) return fail(Code::kInternal, "no memory for the headers of a request");
  (void)headers_.release();
  headers_.reset(longer);
  return {};
}

Result<> Transfer::set_headers() {
  bool has_type = false, has_agent = false;
  for (const Header& header : request_.headers) {
    const std::string name = to_lower(header.name);
    if (name == "content-length" || name == "expect") continue;
    has_type |= name == "content-type";
    has_agent |= name == "user-agent";
    // libcurl takes "Name:" as a wish to leave it out, and "Name;" as one without a value.
    TRY_OK(add_header(header.value.empty() ? header.name + ";" : header.name + ": " + header.value));
  }
  TRY_OK(add_header("Expect:"));
  if (!has_type) TRY_OK(add_header("Content-Type:"));
  if (!has_agent) TRY_OK(add_header("User-Agent: varve/" VARVE_VERSION));
  set(CURLOPT_HTTPHEADER, headers_.get());
  return {};
}

template <typename T>
void Transfer::set(CURLoption option, T value) {
  const CURLcode code = curl_easy_setopt(easy_, option, value);
  if (set_ == CURLE_OK) set_ = code;
}

Result<> Transfer::set_up(CURL* easy) {
  TRY_OK(check_request());
  easy_ = easy;
  curl_easy_reset(easy);
  set_connection();
  set_method();
  set_callbacks();
  TRY_OK(set_headers());
  if (request_.url.starts_with("https:")) TRY_OK(trust_.set_up(easy));
  if (set_ == CURLE_OK) return {};
  return fail(Code::kInternal, fmt::format("libcurl refused an option: {}", curl_easy_strerror(set_)));
}

void Transfer::set_connection() {
  set(CURLOPT_ERRORBUFFER, detail_.data());
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_URL, request_.url.c_str());
  set(CURLOPT_PATH_AS_IS, 1L);
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});  // docs/adr/0007-http-1-1.md
  set(CURLOPT_SSLVERSION, long{CURL_SSLVERSION_TLSv1_2});
  set(CURLOPT_SSL_VERIFYPEER, 1L);
  set(CURLOPT_SSL_VERIFYHOST, 2L);
  if (options_.direct) set(CURLOPT_PROXY, "");
  set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.connect_within.count()));
  // Or giving up waits for the resolver's thread, and that for a name server that is away.
  set(CURLOPT_QUICK_EXIT, 1L);
  // Refused by a handle that failed before it was connected, which has its buffer still: then that serves.
  curl_easy_setopt(easy_, CURLOPT_BUFFERSIZE, kBuffer);
  curl_easy_setopt(easy_, CURLOPT_UPLOAD_BUFFERSIZE, kBuffer);
}

void Transfer::set_method() {
  const std::string& method = request_.method;
  const bool tells_length = method == "PUT" || method == "POST" || method == "PATCH";
  if (size_ > 0 || tells_length) {
    set(CURLOPT_UPLOAD, 1L);
    set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(size_));
    set(CURLOPT_CUSTOMREQUEST, method.c_str());
  } else if (method == "HEAD") {
    set(CURLOPT_NOBODY, 1L);
  } else {
    set(CURLOPT_HTTPGET, 1L);
    set(CURLOPT_CUSTOMREQUEST, method.c_str());
  }
}

void Transfer::set_callbacks() {
  using Self = Transfer*;
  set(
      CURLOPT_PREREQFUNCTION, +[](void* self, char*, char*, int, int) -> int {
        return static_cast<Self>(self)->begin_sending() ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
      });
  set(CURLOPT_PREREQDATA, this);
  set(
      CURLOPT_READFUNCTION, +[](char* to, size_t size, size_t count, void* self) -> size_t {
        return static_cast<Self>(self)->give(to, size * count);
      });
  set(CURLOPT_READDATA, this);
  set(
      CURLOPT_SEEKFUNCTION, +[](void* self, curl_off_t offset, int origin) -> int {
        return static_cast<Self>(self)->rewind(offset, origin) ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
      });
  set(CURLOPT_SEEKDATA, this);
  set(
      CURLOPT_HEADERFUNCTION, +[](char* from, size_t size, size_t count, void* self) -> size_t {
        return static_cast<Self>(self)->take_header({from, size * count}) ? size * count : 0;
      });
  set(CURLOPT_HEADERDATA, this);
  set(
      CURLOPT_WRITEFUNCTION, +[](char* from, size_t size, size_t count, void* self) -> size_t {
        const ByteView bytes = as_bytes({from, size * count});
        return static_cast<Self>(self)->take_body(bytes) ? bytes.size() : CURL_WRITEFUNC_ERROR;
      });
  set(CURLOPT_WRITEDATA, this);
}

// libcurl sends a request once more by itself when a kept connection turns out to be closed. Where the server
// may have had all of it, that would carry it out twice: whoever asked must know, and decide.
bool Transfer::begin_sending() {
  if (++sendings_ == 1 || is_safe(request_.method) || !whole_given_) return true;
  return give_up(
      Error{Code::kUnreachable, fmt::format("{} closed the connection before it answered", origin_)}
          .with_retry(Retry::kTransient));
}

size_t Transfer::give(char* to, size_t room) {
  if (ctx_.stop.stop_requested()) return CURL_READFUNC_ABORT;
  size_t n = 0;
  while (n < room && piece_ < request_.body.size()) {
    const ByteView rest = request_.body[piece_].subspan(at_);
    const size_t part = std::min(rest.size(), room - n);
    if (part > 0) std::memcpy(to + n, rest.data(), part);
    n += part;
    at_ += part;
    if (part == rest.size()) ++piece_, at_ = 0;
  }
  given_ += n;
  whole_given_ |= given_ == size_;
  return n;
}

bool Transfer::rewind(curl_off_t offset, int origin) {
  if (offset != 0 || origin != SEEK_SET) return false;
  piece_ = at_ = 0;
  given_ = 0;
  return true;
}

bool Transfer::give_up(Error error) {
  gave_up_ = std::move(error);
  return false;
}

bool Transfer::take_header(std::string_view line) {
  header_bytes_ += line.size();
  if (header_bytes_ > kMostHeaderBytes)
    return give_up(Error{Code::kUnreachable, fmt::format("{} answered with more than {} of headers", origin_,
                                                         human_size(kMostHeaderBytes))});
  if (part_ == Part::kBody) return true;  // trailers
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
  if (part_ == Part::kBeforeHeaders) {
    if (!line.starts_with("HTTP/")) return true;
    response_.headers.clear();
    part_ = Part::kHeaders;
  } else if (!line.empty()) {
    keep_header(line);
  } else {
    long status = 0;
    curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
    response_.status = static_cast<int>(status);
    const bool interim = status >= 100 && status < 200;
    part_ = interim ? Part::kBeforeHeaders : Part::kBody;
    if (interim || !request_.on_head) return true;
    if (auto seen = request_.on_head(response_); !seen) return give_up(std::move(seen).error());
  }
  return true;
}

void Transfer::keep_header(std::string_view line) {
  auto& headers = response_.headers;
  if (line.front() == ' ' || line.front() == '\t') {  // folded, as old servers do
    if (!headers.empty()) headers.back().value += " " + std::string(trim(line));
    return;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return;
  headers.push_back({to_lower(trim(line.substr(0, colon))), std::string(trim(line.substr(colon + 1)))});
}

bool Transfer::take_body(ByteView bytes) {
  if (ctx_.stop.stop_requested()) return false;
  if (sink_ && response_.status / 100 == 2) {
    for (; !bytes.empty(); bytes = bytes.subspan(std::min(bytes.size(), kMostPart))) {
      if (auto taken = sink_(bytes.first(std::min(bytes.size(), kMostPart))); !taken)
        return give_up(std::move(taken).error());
    }
    return true;
  }
  if (bytes.size() > options_.most_kept - response_.body.size())
    return give_up(Error{Code::kUnreachable, fmt::format("{} answered with more than the {} expected at most",
                                                         origin_, human_size(options_.most_kept))});
  append(response_.body, bytes);
  return true;
}

Result<HttpResponse> Transfer::finish(CURL* easy, CURLcode code) {
  // For libcurl a connection's end in the middle of the headers is their end.
  if (code == CURLE_OK && part_ != Part::kBody) code = CURLE_PARTIAL_FILE;
  if (code == CURLE_OK) return std::move(response_);
  if (gave_up_) return fail(std::move(*gave_up_));
  TRY_OK(ctx_.check());
  Error error = failure_of(easy, code, detail_.data(), origin_);
  if (code == CURLE_COULDNT_RESOLVE_HOST && is_unknown_host(ctx_, host_of(origin_)))
    error.retry = Retry::kNever;
  TRY_OK(ctx_.check());
  return fail(std::move(error));
}

}  // namespace varve::net
