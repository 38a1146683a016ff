// Managed identities: Azure itself vouches for the machine, and no secret is kept anywhere.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "os/file.h"
#include "store/azure/tokens.h"
#include "store/cloud/answer.h"

namespace varve::store::azure {
namespace {

constexpr std::string_view kResource = "https%3A%2F%2Fstorage.azure.com%2F";
constexpr size_t kMostArcSecret = 4096;

// The services stand beside the machine, so a proxy is never asked, and they answer at once or not at all.
std::shared_ptr<net::HttpClient> neighbour() {
  return std::make_shared<net::HttpClient>(net::HttpClientOptions{.connect_within = std::chrono::seconds(3),
                                                                  .stalled_after = std::chrono::seconds(20),
                                                                  .most_kept = size_t{1} << 20,
                                                                  .direct = true});
}

struct Service {
  std::string endpoint;
  std::string version;
  std::vector<net::Header> headers;
};

net::HttpRequest request_to(const Service& service, const std::string& client_id) {
  net::HttpRequest out{.url = fmt::format("{}{}api-version={}&resource={}", service.endpoint,
                                          service.endpoint.find('?') == std::string::npos ? '?' : '&',
                                          service.version, kResource),
                       .headers = service.headers};
  if (!client_id.empty()) out.url += "&client_id=" + net::percent_encode(client_id);
  return out;
}

Result<Token> token_of(const net::HttpResponse& answer, const std::string& doing) {
  if (answer.status != 200) {
    const auto json = nlohmann::json::parse(as_text(answer.body), nullptr, false);
    std::string words;
    if (json.is_object() && json.contains("error_description") && json["error_description"].is_string())
      words = json["error_description"].get<std::string>();
    Error out = cloud::error_of(answer, doing, {}, words.substr(0, words.find_first_of("\r\n")));
    if (answer.status == 400) {
      out.code = Code::kDenied;
      out.hint = "give this machine an identity, or say which of several by the setting client_id";
    }
    // "Gone" and "not found" are what the metadata service says while it is being renewed.
    if (answer.status == 404 || answer.status == 410) {
      out.code = Code::kUnreachable;
      out.retry = Retry::kTransient;
    }
    return fail(std::move(out));
  }
  auto token = parse_token(as_text(answer.body));
  if (!token) return fail(cloud::nonsense(answer, doing, token.error().message));
  return token;
}

// Azure Arc proves that it talks to an administrator's process by a file that only such a one can read.
Result<std::string> arc_secret(const net::HttpResponse& challenge) {
  const std::string header = challenge.header("www-authenticate").value_or("");
  constexpr std::string_view kBegin = "Basic realm=", kFolder = "/var/opt/azcmagent/tokens/";
  const std::string path = header.starts_with(kBegin) ? header.substr(kBegin.size()) : "";
  if (!path.starts_with(kFolder) || !path.ends_with(".key") || path.find("..") != path.npos)
    return fail(Code::kDenied, "Azure Arc's agent names a file that is not one of its own");
  TRY_ASSIGN(const Buffer bytes, os::read_file(path, kMostArcSecret));
  return std::string(trim(as_text(bytes)));
}

Result<Token> ask_arc(const Context& ctx, net::HttpClient& http, net::HttpRequest request,
                      const std::string& doing) {
  TRY_ASSIGN(const auto challenge, http.send(ctx, request));
  if (challenge.status != 401) return token_of(challenge, doing);
  TRY_ASSIGN(const std::string secret, arc_secret(challenge));
  request.headers.push_back({"Authorization", "Basic " + secret});
  TRY_ASSIGN(const auto answer, http.send(ctx, request));
  return token_of(answer, doing);
}

tl::unexpected<Error> no_machine_of_azure(Error why) {
  return fail(Error{Code::kDenied, "there are no credentials for Azure, and this is no machine of Azure's",
                    "set AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or a service principal "
                    "(docs/stores/azure.md lists what is looked for)"}
                  .caused_by(std::move(why)));
}

}  // namespace

FetchToken tokens_by_identity(std::string client_id, const Environment& environment, bool surely) {
  auto http = neighbour();
  const auto endpoint = environment("IDENTITY_ENDPOINT");
  const auto header = environment("IDENTITY_HEADER");
  if (endpoint && header) {
    const Service service{*endpoint, "2019-08-01", {{"X-IDENTITY-HEADER", *header}}};
    return [http, service, client_id](const Context& ctx) -> Result<Token> {
      TRY_ASSIGN(const auto answer, http->send(ctx, request_to(service, client_id)));
      return token_of(answer, "asking this service's identity for a token");
    };
  }
  if (endpoint && environment("IMDS_ENDPOINT")) {
    const Service service{*endpoint, "2019-11-01", {{"Metadata", "true"}}};
    return [http, service](const Context& ctx) {
      return ask_arc(ctx, *http, request_to(service, {}), "asking Azure Arc's agent for a token");
    };
  }
  const std::string host =
      environment("AZURE_POD_IDENTITY_AUTHORITY_HOST").value_or("http://169.254.169.254");
  const Service service{host + "/metadata/identity/oauth2/token", "2018-02-01", {{"Metadata", "true"}}};
  return [http, service, client_id, surely](const Context& ctx) -> Result<Token> {
    auto answer = http->send(ctx, request_to(service, client_id));
    if (!answer) {
      TRY_OK(ctx.check());
      if (surely) return fail(std::move(answer).error().with_context("asking for this machine's identity"));
      return no_machine_of_azure(std::move(answer).error());
    }
    return token_of(*answer, "asking for this machine's identity");
  };
}

}  // namespace varve::store::azure
