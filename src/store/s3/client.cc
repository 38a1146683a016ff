#include "store/s3/client.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"
#include "store/cloud/answer.h"
#include "store/s3/times.h"
#include "store/s3/xml.h"

namespace varve::store::s3 {
namespace {

constexpr int kMostLessons = 2;                // region and time, say; then the answer stands
constexpr std::chrono::minutes kTolerated{5};  // of clocks; the services refuse at fifteen
constexpr size_t kMostHashed = 64 << 10;       // bodies that are hashed though the connection protects them

net::HttpClientOptions http_options(const Options& options) {
  net::HttpClientOptions out;
  out.ca_file = options.ca_file;
  return out;
}

// What a code means where the status alone does not tell, or tells otherwise.
struct Meaning {
  std::string_view code;
  Code kind;
  Retry retry;
  std::string_view hint;
};
constexpr std::array kMeanings = {
    Meaning{"SlowDown", Code::kUnreachable, Retry::kThrottled, ""},
    Meaning{"Throttling", Code::kUnreachable, Retry::kThrottled, ""},
    Meaning{"ThrottlingException", Code::kUnreachable, Retry::kThrottled, ""},
    Meaning{"RequestLimitExceeded", Code::kUnreachable, Retry::kThrottled, ""},
    Meaning{"TooManyRequests", Code::kUnreachable, Retry::kThrottled, ""},
    Meaning{"ServiceUnavailable", Code::kUnreachable, Retry::kThrottled, ""},
    Meaning{"InternalError", Code::kUnreachable, Retry::kTransient, ""},
    Meaning{"RequestTimeout", Code::kUnreachable, Retry::kTransient, ""},
    Meaning{"IncompleteBody", Code::kUnreachable, Retry::kTransient, ""},
    Meaning{"OperationAborted", Code::kUnreachable, Retry::kTransient, ""},
    Meaning{"ConditionalRequestConflict", Code::kUnreachable, Retry::kTransient, ""},
    Meaning{"NoSuchUpload", Code::kUnreachable, Retry::kTransient, ""},
    // What arrived is not what was sent.
    Meaning{"BadDigest", Code::kUnreachable, Retry::kTransient, ""},
    Meaning{"XAmzContentSHA256Mismatch", Code::kUnreachable, Retry::kTransient, ""},
    Meaning{"XAmzContentChecksumMismatch", Code::kUnreachable, Retry::kTransient, ""},
    Meaning{"NoSuchKey", Code::kNotFound, Retry::kNever, ""},
    Meaning{"NoSuchVersion", Code::kNotFound, Retry::kNever, ""},
    Meaning{"NoSuchBucket", Code::kUnreachable, Retry::kNever,
            "Varve does not make buckets: make it, or look at its name, region and endpoint"},
    Meaning{"PreconditionFailed", Code::kExists, Retry::kNever, ""},
    Meaning{"AccessDenied", Code::kDenied, Retry::kNever,
            "grant what is missing: 'varve check' prints the policy that is needed"},
    Meaning{"InvalidAccessKeyId", Code::kDenied, Retry::kNever, "the access key is not known there"},
    Meaning{"SignatureDoesNotMatch", Code::kDenied, Retry::kNever,
            "the secret key does not belong to the access key"},
    Meaning{"ExpiredToken", Code::kDenied, Retry::kNever, "the session has ended: log in again"},
    Meaning{"InvalidToken", Code::kDenied, Retry::kNever, ""},
    Meaning{"RequestTimeTooSkewed", Code::kDenied, Retry::kNever, "set this machine's clock"},
    Meaning{"InvalidObjectState", Code::kDenied, Retry::kNever,
            "the object is in an archive class: restore it there first, and use a class that reads at once"},
    Meaning{"QuotaExceeded", Code::kNoSpace, Retry::kNever, ""},
    Meaning{"InsufficientCapacity", Code::kNoSpace, Retry::kNever, ""},
    Meaning{"XMinioStorageFull", Code::kNoSpace, Retry::kNever, ""},
    Meaning{"EntityTooLarge", Code::kUnsupported, Retry::kNever, ""},
    Meaning{"NotImplemented", Code::kUnsupported, Retry::kNever,
            "the service lacks something: set provider = to what it is, or \"other\""},
    Meaning{"MethodNotAllowed", Code::kUnsupported, Retry::kNever, ""},
};

const Meaning* meaning_of(std::string_view code) {
  const auto at =
      std::find_if(kMeanings.begin(), kMeanings.end(), [&](const Meaning& m) { return m.code == code; });
  return at == kMeanings.end() ? nullptr : &*at;
}

void apply(const Meaning& meaning, Error* error) {
  error->code = meaning.kind;
  error->retry = meaning.retry;
  if (meaning.retry == Retry::kNever) error->retry_after = {};
  if (!meaning.hint.empty()) error->hint = meaning.hint;
}

std::string code_in(const net::HttpResponse& answer) {
  const auto error = parse_error(answer.body);
  return error ? error->code : std::string();
}

}  // namespace

Client::Client(Options options, CredentialSource::Fetch fetch)
    : options_(std::move(options)),
      http_(http_options(options_)),
      credentials_(std::move(fetch)),
      region_(options_.region) {}

std::string Client::describe() const {
  std::string_view prefix = options_.prefix;
  if (!prefix.empty()) prefix.remove_suffix(1);
  return fmt::format("s3://{}{}{}", options_.bucket, prefix.empty() ? "" : "/", prefix);
}

std::string Client::doing(std::string_view verb, std::string_view key, std::string_view preposition) const {
  return fmt::format("{} {} {} {}", verb, printable(key.substr(0, 600)), preposition, describe());
}

std::string Client::host(const std::string& region) const {
  std::string out = options_.endpoint.host;
  if (out.empty()) out = fmt::format("s3.{}.amazonaws.com{}", region, region.starts_with("cn-") ? ".cn" : "");
  return options_.path_style ? out : options_.bucket + "." + out;
}

Result<Client::Sent> Client::send_once(const Context& ctx, const Call& call, const Credentials& credentials,
                                       const net::HttpSink& sink, const Accept& accept) {
  Sent sent{.at = time()};
  {
    std::lock_guard lock(mutex_);
    sent.region = region_;
  }
  SigningInput input{.method = call.method,
                     .host = host(sent.region),
                     .path = options_.path_style ? "/" + options_.bucket : "",
                     .query = call.query,
                     .headers = call.headers,
                     .region = sent.region,
                     .service = "s3",
                     .at = sent.at};
  if (input.path.empty() || !call.key.empty()) input.path += "/" + net::percent_encode(call.key, true);
  // SHA-256 costs more than a core has to give for a fast line; over TLS the checksum header is enough.
  const bool hashed = !options_.endpoint.tls || body_size(call.body) <= kMostHashed;
  input.payload = hashed ? payload_hash(call.body) : std::string(kUnsignedPayload);
  input.headers.push_back({"x-amz-date", amz_date(sent.at)});
  input.headers.push_back({"x-amz-content-sha256", input.payload});
  if (!credentials.session_token.empty())
    input.headers.push_back({"x-amz-security-token", std::string(credentials.session_token.text())});
  if (options_.requester_pays) input.headers.push_back({"x-amz-request-payer", "requester"});

  net::HttpRequest request{
      .method = call.method,
      .url = fmt::format("{}://{}{}", options_.endpoint.tls ? "https" : "http", input.host, input.path),
      .headers = input.headers,
      .body = call.body};
  if (!call.query.empty()) request.url += "?" + canonical_query(call.query);
  request.headers.push_back({"Authorization", authorization(input, credentials)});
  if (accept) {
    request.on_head = [&accept](const net::HttpResponse& head) {
      return head.status / 100 == 2 ? accept(head) : Result<>();
    };
  }
  auto answer = http_.send(ctx, request, sink);
  if (!answer) return fail(std::move(answer).error().with_context(call.doing));
  sent.answer = std::move(*answer);
  return sent;
}

Result<net::HttpResponse> Client::send(const Context& ctx, const Call& call, const net::HttpSink& sink,
                                       const Accept& accept) {
  std::optional<Credentials> refused;
  net::HttpResponse refusal;
  for (int lessons = 0;; ++lessons) {
    auto credentials = credentials_.get(ctx);
    if (!credentials) return fail(std::move(credentials).error().with_context(call.doing));
    if (refused && *refused == *credentials) return refusal;  // there are no others
    TRY_ASSIGN(Sent sent, send_once(ctx, call, *credentials, sink, accept));
    if (sent.answer.status / 100 == 2 || lessons == kMostLessons) return std::move(sent.answer);
    if (is_token_refused(sent.answer, *credentials)) {
      credentials_.drop(*credentials);
      refused = std::move(*credentials);
      refusal = std::move(sent.answer);
    } else if (!learn_region(sent) && !learn_time(sent)) {
      return std::move(sent.answer);
    }
  }
}

Result<net::HttpResponse> Client::demand(const Context& ctx, const Call& call) {
  TRY_ASSIGN(auto answer, send(ctx, call));
  if (answer.status / 100 != 2) return fail(refusal(answer, call.doing));
  return answer;
}

bool Client::is_token_refused(const net::HttpResponse& answer, const Credentials& credentials) {
  if (answer.status != 400 && answer.status != 401 && answer.status != 403) return false;
  const std::string code = code_in(answer);
  // A HEAD has no words.
  if (code.empty()) return answer.status == 400 && answer.body.empty() && !credentials.session_token.empty();
  return code == "ExpiredToken" || code == "ExpiredTokenException" || code == "InvalidToken" ||
         code == "TokenRefreshRequired" || code == "InvalidAccessKeyId";
}

bool Client::learn_region(const Sent& sent) {
  const int status = sent.answer.status;
  if (status != 301 && status != 307 && status != 400 && status != 403) return false;
  std::string told = sent.answer.header("x-amz-bucket-region").value_or("");
  if (told.empty()) {
    const auto error = parse_error(sent.answer.body);
    if (error) told = error->region;
  }
  // It becomes part of a host's name.
  if (!is_region(told) || told == sent.region) return false;
  std::lock_guard lock(mutex_);
  if (region_ != told)
    log::info("{} is in the region {}: set region = \"{}\" to spare a request", describe(), told, told);
  region_ = told;
  return true;
}

bool Client::learn_time(const Sent& sent) {
  if (sent.answer.status != 403 && sent.answer.status != 400) return false;
  const std::string code = code_in(sent.answer);
  const bool said = code == "RequestTimeTooSkewed" || code == "RequestExpired";
  if (!said && !code.empty()) return false;
  const auto there = parse_http_date(sent.answer.header("date").value_or(""));
  if (!there) return false;
  const auto off = std::chrono::round<std::chrono::seconds>(*there - sent.at);
  if (std::chrono::abs(off) < kTolerated) return false;
  const int64_t before = ahead_.fetch_add(off.count());
  if (before == 0)
    log::warn(
        "this machine's clock is {} {} that of {}: requests are signed with the time there; set the clock",
        to_human(std::chrono::abs(off)), off.count() > 0 ? "behind" : "ahead of", describe());
  return true;
}

Error Client::refusal(const net::HttpResponse& answer, const std::string& doing) const {
  const auto said = parse_error(answer.body);
  if (!said && answer.media_type() == "text/html")
    return cloud::nonsense(answer, doing, "it is a page for people");
  if (!said && answer.status == 404 && !answer.body.empty())
    return cloud::nonsense(answer, doing, "it does not say what was not found");
  Error out = cloud::error_of(answer, doing, said ? said->code : "", said ? said->message : "");
  if (said) {
    if (const Meaning* meaning = meaning_of(said->code)) apply(*meaning, &out);
  } else if (answer.status == 403) {
    apply(*meaning_of("AccessDenied"), &out);
  } else if (answer.status == 409) {
    out.retry = Retry::kTransient;
  }
  if (answer.status == 301 || answer.status == 307 || answer.status == 308)
    out.hint = "the bucket is elsewhere: set its region or endpoint";
  if (out.retry != Retry::kNever) out.retry_after = answer.retry_after();
  return out;
}

Error Client::refusal(std::string_view code, std::string_view message, const std::string& doing) const {
  Error out{Code::kUnreachable,
            fmt::format("{}: the store answered {} ({})", doing, printable(code.substr(0, 100)),
                        printable(trim(message.substr(0, 300))))};
  if (const Meaning* meaning = meaning_of(code)) apply(*meaning, &out);
  return out;
}

}  // namespace varve::store::s3
