#include "store/azure/credentials.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <openssl/pem.h>

#include "crypto/signing.h"
#include "os/file.h"
#include "store/azure/testing_azure.h"

namespace varve::store::azure {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Values = std::map<std::string, std::string>;

constexpr char kKey[] = "c2VjcmV0LWtleQ==";
constexpr char kSas[] = "?sv=2021-12-02&sp=rwdl&sig=secret%2Bsig%3D";

Context bounded() {
  return Context{}.with_deadline(std::chrono::seconds(20));
}

Result<std::unique_ptr<Credentials>> find(
    const Values& settings, Values environment,
    const std::string& endpoint = "https://mine.blob.core.windows.net") {
  return Credentials::find(settings_with(settings), {"mine", endpoint},
                           environment_with(std::move(environment)), std::make_shared<net::HttpClient>());
}

net::HttpRequest some_request() {
  net::HttpRequest out;
  out.url = "https://mine.blob.core.windows.net/box/blob?comp=x";
  out.headers = {{"x-ms-date", "Sun, 06 Nov 1994 08:49:37 GMT"}};
  return out;
}

// What authorize() does to a request: the URL, and the header.
std::pair<std::string, std::string> authorized(Credentials& credentials) {
  net::HttpRequest request = some_request();
  auto used = credentials.authorize(bounded(), request);
  if (!used) return {"", used.error().describe()};
  const bool header = request.headers.back().name == "Authorization";
  return {request.url, header ? request.headers.back().value : ""};
}

std::string token_json(const std::string& token, const std::string& life = "3600") {
  return fmt::format(R"({{"token_type":"Bearer","expires_in":{},"access_token":"{}"}})", life, token);
}

std::string write_file(const os::TempDir& dir, const std::string& name, std::string_view content) {
  const os::Path path = dir.path() / name;
  auto file = os::File::open(path, os::File::Mode::kCreateNew, 0600);
  EXPECT_TRUE(file && file->write_at(0, as_bytes(content)) && file->close());
  return path.native();
}

TEST(AzureCredentials, TheFirstThatIsSet) {
  Values all = {{"AZURE_STORAGE_CONNECTION_STRING", fmt::format("AccountName=mine;AccountKey={}", kKey)},
                {"AZURE_STORAGE_KEY", kKey},
                {"AZURE_STORAGE_SAS_TOKEN", kSas},
                {"AZURE_TENANT_ID", "tenant"},
                {"AZURE_CLIENT_ID", "client"},
                {"AZURE_CLIENT_SECRET", "secret"},
                {"AZURE_CLIENT_CERTIFICATE_PATH", "/c.pem"},
                {"AZURE_FEDERATED_TOKEN_FILE", "/token"}};
  for (const char* name :
       {"AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE"}) {
    auto found = find({}, all);
    ASSERT_TRUE(found) << found.error().describe();
    const std::string value = all[name];
    EXPECT_THAT((*found)->origin(), ::testing::AnyOf(HasSubstr(name), HasSubstr(value))) << name;
    all.erase(name);
  }
  EXPECT_EQ((*find({}, all))->origin(), "the identity of this machine");
}

TEST(AzureCredentials, TheOneThatIsAskedFor) {
  const Values all = {{"AZURE_STORAGE_KEY", kKey},       {"AZURE_STORAGE_SAS_TOKEN", kSas},
                      {"AZURE_TENANT_ID", "tenant"},     {"AZURE_CLIENT_ID", "client"},
                      {"AZURE_CLIENT_SECRET", "secret"}, {"AZURE_FEDERATED_TOKEN_FILE", "/token"}};
  for (const auto& [kind, origin] :
       {std::pair{"key", "AZURE_STORAGE_KEY"}, std::pair{"sas", "AZURE_STORAGE_SAS_TOKEN"},
        std::pair{"client_secret", "AZURE_CLIENT_SECRET"}, std::pair{"workload_identity", "/token"},
        std::pair{"managed_identity", "identity of this machine"}}) {
    auto found = find({{"credential", kind}}, all);
    ASSERT_TRUE(found) << found.error().describe();
    EXPECT_THAT((*found)->origin(), HasSubstr(origin));
  }
  EXPECT_EQ(find({{"credential", "key"}}, {}).error().code, Code::kUsage);
  EXPECT_EQ(find({{"credential", "nonsense"}}, all).error().code, Code::kUsage);
  EXPECT_EQ(find({{"key_file", "/a"}, {"sas_file", "/b"}}, {}).error().code, Code::kUsage);
}

TEST(AzureCredentials, ThoseOfAnotherAccountAreLeftAlone) {
  EXPECT_EQ((*find({}, {{"AZURE_STORAGE_ACCOUNT", "other"}, {"AZURE_STORAGE_KEY", kKey}}))->origin(),
            "the identity of this machine");
  EXPECT_EQ(
      (*find({}, {{"AZURE_STORAGE_CONNECTION_STRING", fmt::format("AccountName=other;AccountKey={}", kKey)}}))
          ->origin(),
      "the identity of this machine");
}

TEST(AzureCredentials, SecretsDoNotShow) {
  for (const Values& wrong : {Values{{"AZURE_STORAGE_KEY", "no base64: verysecret"}},
                              Values{{"AZURE_STORAGE_SAS_TOKEN", "https://x/?verysecret"}},
                              Values{{"AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=verysecret\n&x"}}}) {
    auto found = find({}, wrong);
    ASSERT_FALSE(found);
    EXPECT_THAT(found.error().describe() + found.error().hint, Not(HasSubstr("verysecret")));
  }
}

TEST(AzureCredentials, NothingThatOthersCouldUseGoesInClear) {
  auto sas = find({}, {{"AZURE_STORAGE_SAS_TOKEN", kSas}}, "http://blobs.example.com");
  ASSERT_FALSE(sas);
  EXPECT_EQ(sas.error().code, Code::kUsage);
  EXPECT_TRUE(find({}, {{"AZURE_STORAGE_SAS_TOKEN", kSas}}, "http://127.0.0.1:10000/mine"));
  EXPECT_TRUE(find({}, {{"AZURE_STORAGE_KEY", kKey}}, "http://azurite:10000/mine"));
  EXPECT_FALSE(find({}, {{"AZURE_TENANT_ID", "t"},
                         {"AZURE_CLIENT_ID", "c"},
                         {"AZURE_CLIENT_SECRET", "s"},
                         {"AZURE_AUTHORITY_HOST", "http://login.example.com"}}));
}

TEST(AzureCredentials, KeysSignAndSignaturesJoinTheQuery) {
  auto key = find({}, {{"AZURE_STORAGE_KEY", kKey}});
  ASSERT_TRUE(key);
  EXPECT_THAT(authorized(**key).second, StartsWith("SharedKey mine:"));
  auto sas = find({}, {{"AZURE_STORAGE_SAS_TOKEN", kSas}});
  ASSERT_TRUE(sas);
  EXPECT_EQ(authorized(**sas).first,
            "https://mine.blob.core.windows.net/box/blob?comp=x&sv=2021-12-02&sp=rwdl&sig=secret%2Bsig%3D");
}

TEST(AzureCredentials, FilesAreReadAgainOnceRefused) {
  auto dir = os::TempDir::create("varve-azure");
  ASSERT_TRUE(dir);
  const std::string file = write_file(*dir, "sas", "sig=one\n");
  auto found = find({{"sas_file", file}}, {});
  ASSERT_TRUE(found) << found.error().describe();
  net::HttpRequest request = some_request();
  auto used = (*found)->authorize(bounded(), request);
  ASSERT_TRUE(used);
  EXPECT_EQ(used->text(), "sig=one");
  ASSERT_TRUE(os::remove_file(file));
  write_file(*dir, "sas", "?sig=two");
  EXPECT_THAT(authorized(**found).first, ::testing::EndsWith("sig=one"));
  (*found)->refused(*used);
  EXPECT_THAT(authorized(**found).first, ::testing::EndsWith("sig=two"));
  EXPECT_FALSE(find({{"key_file", dir->path() / "absent"}}, {}));
}

// The token endpoint of a tenant.
struct Authority {
  explicit Authority(Scripted::Reply reply) : server(std::move(reply)) {}
  Values environment() const {
    return {
        {"AZURE_AUTHORITY_HOST", server.url()}, {"AZURE_TENANT_ID", "tenant"}, {"AZURE_CLIENT_ID", "client"}};
  }
  Scripted server;
};

TEST(AzureTokens, ByASecret) {
  std::atomic<int> serial = 0;
  Authority authority([&](const auto&) {
    return Scripted::Answer{200, token_json(fmt::format("t{}", ++serial))};
  });
  Values environment = authority.environment();
  environment["AZURE_CLIENT_SECRET"] = "a&secret";
  auto found = find({}, environment);
  ASSERT_TRUE(found) << found.error().describe();
  EXPECT_EQ(authorized(**found).second, "Bearer t1");
  EXPECT_EQ(authorized(**found).second, "Bearer t1") << "a token is kept";
  const auto received = authority.server.received();
  ASSERT_EQ(received.size(), 1u);
  EXPECT_EQ(received[0].method, "POST");
  EXPECT_EQ(received[0].target, "/tenant/oauth2/v2.0/token");
  EXPECT_EQ(received[0].header("content-type"), "application/x-www-form-urlencoded");
  EXPECT_THAT(received[0].body, AllOf(HasSubstr("client_secret=a%26secret"), HasSubstr("client_id=client"),
                                      HasSubstr("grant_type=client_credentials"),
                                      HasSubstr("scope=https%3A%2F%2Fstorage.azure.com%2F.default")));
  net::HttpRequest request = some_request();
  auto used = (*found)->authorize(bounded(), request);
  (*found)->refused(*used);
  EXPECT_EQ(authorized(**found).second, "Bearer t2");
}

TEST(AzureTokens, RefusalsSayWhyAndNoMore) {
  Authority authority([](const auto&) {
    return Scripted::Answer{401,
                            R"({"error":"invalid_client","error_description":"AADSTS7000215: Invalid client )"
                            R"(secret provided.\r\nTrace ID: 1"})"};
  });
  Values environment = authority.environment();
  environment["AZURE_CLIENT_SECRET"] = "verysecret";
  auto found = find({}, environment);
  ASSERT_TRUE(found);
  net::HttpRequest request = some_request();
  auto refused = (*found)->authorize(bounded(), request);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kDenied);
  EXPECT_EQ(refused.error().retry, Retry::kNever);
  EXPECT_THAT(refused.error().describe(),
              AllOf(HasSubstr("AADSTS7000215"), Not(HasSubstr("Trace")), Not(HasSubstr("verysecret"))));
}

TEST(AzureTokens, WhatIsNoTokenIsRefused) {
  for (const char* wrong : {"", "[]", "{}", "<html>", R"({"access_token":""})", R"({"access_token":7})",
                            R"({"access_token":"a\r\nX-Evil: b"})", R"({"access_token":null})", "{\"a\":"})
    EXPECT_FALSE(parse_token(wrong)) << wrong;
  const auto life = [](const char* json) {
    const Timestamp expires = *parse_token(json)->expires;
    return expires - now();
  };
  EXPECT_GT(life(R"({"access_token":"a","expires_in":"3600"})"), std::chrono::minutes(59));
  EXPECT_LE(life(R"({"access_token":"a","expires_in":99999999999999})"), std::chrono::hours(24));
  EXPECT_LE(life(R"({"access_token":"a","expires_in":-5})"), Seconds(0));
  EXPECT_LE(life(R"({"access_token":"a","expires_in":"soon"})"), std::chrono::minutes(5));
  EXPECT_LE(life(R"({"access_token":"a","expires_on":"99999999999999999"})"), std::chrono::hours(24));
  Authority authority([](const auto&) { return Scripted::Answer{200, "<html>sign in</html>"}; });
  Values environment = authority.environment();
  environment["AZURE_CLIENT_SECRET"] = "s";
  net::HttpRequest request = some_request();
  auto found = find({}, environment);
  auto refused = (*found)->authorize(bounded(), request);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().retry, Retry::kTransient);
}

TEST(AzureTokens, ByAWorkloadsToken) {
  auto dir = os::TempDir::create("varve-azure");
  ASSERT_TRUE(dir);
  Authority authority([](const auto&) { return Scripted::Answer{200, token_json("t", "\"600\"")}; });
  Values environment = authority.environment();
  environment["AZURE_FEDERATED_TOKEN_FILE"] = write_file(*dir, "token", "eyJ.projected.token\n");
  auto found = find({{"client_id", "another"}}, environment);
  ASSERT_TRUE(found) << found.error().describe();
  EXPECT_EQ(authorized(**found).second, "Bearer t");
  EXPECT_THAT(authority.server.received().at(0).body,
              AllOf(HasSubstr("client_assertion=eyJ.projected.token"), HasSubstr("client_id=another"),
                    HasSubstr("jwt-bearer")));
}

std::string rsa_pem() {
  EVP_PKEY* key = EVP_RSA_gen(2048);
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string out(data, static_cast<size_t>(size));
  BIO_free(bio);
  EVP_PKEY_free(key);
  return out;
}

TEST(AzureTokens, ByACertificate) {
  auto dir = os::TempDir::create("varve-azure");
  ASSERT_TRUE(dir);
  Authority authority([](const auto&) { return Scripted::Answer{200, token_json("t")}; });
  Values environment = authority.environment();
  environment["AZURE_CLIENT_CERTIFICATE_PATH"] =
      write_file(*dir, "c.pem", rsa_pem() + "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n");
  auto found = find({}, environment);
  ASSERT_TRUE(found) << found.error().describe();
  EXPECT_EQ(authorized(**found).second, "Bearer t");
  const std::string body = authority.server.received().at(0).body;
  const size_t at = body.find("client_assertion=") + 17;
  EXPECT_EQ(std::count(body.begin() + static_cast<ptrdiff_t>(at), body.end(), '.'), 2 + 3) << body;

  const Login login{"https://login", "tenant", "client"};
  const std::string assertion =
      client_assertion(login, crypto::sha256(as_bytes("abc")), Timestamp(Seconds(1000)), "id");
  EXPECT_EQ(assertion,
            crypto::to_base64url(as_bytes(
                R"({"alg":"PS256","typ":"JWT","x5t#S256":"ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"})")) +
                "." +
                crypto::to_base64url(as_bytes(
                    R"({"aud":"https://login/tenant/oauth2/v2.0/token","exp":1600,"iat":1000,"iss":"client",)"
                    R"("jti":"id","nbf":1000,"sub":"client"})")));
}

TEST(AzureIdentity, ByTheMetadataService) {
  Scripted service([](const auto& request) {
    return request.header("metadata") == "true" ? Scripted::Answer{200, token_json("vm", "\"86399\"")}
                                                : Scripted::Answer{400, "{}"};
  });
  auto found =
      find({{"client_id", "one of several"}}, {{"AZURE_POD_IDENTITY_AUTHORITY_HOST", service.url()}});
  ASSERT_TRUE(found);
  EXPECT_EQ(authorized(**found).second, "Bearer vm");
  EXPECT_EQ(
      service.received().at(0).target,
      "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fstorage.azure.com%2F"
      "&client_id=one%20of%20several");
}

TEST(AzureIdentity, ByAService) {
  Scripted service([](const auto& request) {
    return request.header("x-identity-header") == "proof"
               ? Scripted::Answer{200, R"({"access_token":"app","expires_on":"4102444800"})"}
               : Scripted::Answer{401, "{}"};
  });
  auto found = find({}, {{"IDENTITY_ENDPOINT", service.url("/msi/token")}, {"IDENTITY_HEADER", "proof"}});
  ASSERT_TRUE(found);
  EXPECT_EQ(authorized(**found).second, "Bearer app");
  EXPECT_THAT(service.received().at(0).target, StartsWith("/msi/token?api-version=2019-08-01&"));
}

TEST(AzureIdentity, ArcReadsOnlyItsOwnFiles) {
  for (const char* file : {"/etc/shadow", "/var/opt/azcmagent/tokens/../../x.key", "/tmp/x.key",
                           "/var/opt/azcmagent/tokens/x"}) {
    Scripted agent([&](const auto&) {
      return Scripted::Answer{401, "", fmt::format("Www-Authenticate: Basic realm={}\r\n", file)};
    });
    auto found = find({}, {{"IDENTITY_ENDPOINT", agent.url("/t")}, {"IMDS_ENDPOINT", agent.url()}});
    net::HttpRequest request = some_request();
    auto refused = (*found)->authorize(bounded(), request);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kDenied) << file;
    EXPECT_EQ(agent.received().size(), 1u);
  }
}

TEST(AzureIdentity, NoMachineOfAzures) {
  std::string gone;
  {
    Scripted service([](const auto&) { return Scripted::Answer{}; });
    gone = service.url();
  }
  net::HttpRequest request = some_request();
  auto found = find({}, {{"AZURE_POD_IDENTITY_AUTHORITY_HOST", gone}});
  auto refused = (*found)->authorize(bounded(), request);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kDenied);
  EXPECT_EQ(refused.error().retry, Retry::kNever) << "waiting does not help";
  EXPECT_THAT(refused.error().hint, HasSubstr("AZURE_STORAGE_KEY"));
  // Said to have an identity, it may only be starting.
  found = find({{"credential", "managed_identity"}}, {{"AZURE_POD_IDENTITY_AUTHORITY_HOST", gone}});
  refused = (*found)->authorize(bounded(), request);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().retry, Retry::kTransient);
}

}  // namespace
}  // namespace varve::store::azure
