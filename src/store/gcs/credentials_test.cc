// Credentials files of each kind, and what is signed. That Google's side takes them is shown by
// service_test.cc.
#include "store/gcs/credentials.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "base/text.h"
#include "crypto/signing.h"
#include "os/file.h"
#include "store/gcs/token_request.h"

namespace varve::store::gcs {
namespace {

std::string fresh_key() {
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

const std::string& key() {
  static const std::string pem = fresh_key();
  return pem;
}

// RFC 4648, written anew: the witness must not share the coder.
std::string from_base64url(std::string_view text) {
  constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    bits = bits << 6 | static_cast<uint32_t>(kLetters.find(c));
    if ((count += 6) >= 8) out += static_cast<char>(bits >> (count -= 8) & 0xff);
  }
  return out;
}

Result<std::unique_ptr<TokenSource>> from(const nlohmann::json& json) {
  return credentials_from(json.dump(), "/k.json", std::make_shared<net::HttpClient>());
}

nlohmann::json service_account() {
  return {{"type", "service_account"},
          {"client_email", "a@b.iam.gserviceaccount.com"},
          {"private_key_id", "1234"},
          {"private_key", key()},
          {"token_uri", "https://oauth2.googleapis.com/token"}};
}

nlohmann::json external_account() {
  return {{"type", "external_account"},
          {"audience", "//iam.googleapis.com/projects/1/x"},
          {"subject_token_type", "urn:ietf:params:oauth:token-type:jwt"},
          {"token_url", "https://sts.googleapis.com/v1/token"},
          {"credential_source", {{"file", "/var/run/token"}}}};
}

TEST(GcsCredentials, AnAssertionClaimsWhatItMust) {
  const ServiceAccount account{"a@b", "key-1", "https://tokens.example/token", crypto::SecretText(key())};
  const Timestamp at = *parse_rfc3339("2026-01-02T03:04:05.9Z");
  const auto assertion = signed_assertion(account, kStorageScope, at);
  ASSERT_TRUE(assertion) << assertion.error().describe();
  const auto parts = split(*assertion, '.');
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(nlohmann::json::parse(from_base64url(parts[0])),
            (nlohmann::json{{"alg", "RS256"}, {"typ", "JWT"}, {"kid", "key-1"}}));
  EXPECT_EQ(nlohmann::json::parse(from_base64url(parts[1])),
            (nlohmann::json{{"iss", "a@b"},
                            {"scope", kStorageScope},
                            {"aud", "https://tokens.example/token"},
                            {"iat", 1767323045},
                            {"exp", 1767326645}}));
  const std::string signed_part = assertion->substr(0, assertion->rfind('.'));
  const auto signature = crypto::sign_rs256(key(), as_bytes(signed_part));
  EXPECT_EQ(from_base64url(parts[2]), as_text(*signature));
}

TEST(GcsCredentials, EveryKindOfFile) {
  EXPECT_TRUE(from(service_account()));
  EXPECT_TRUE(from(external_account()));
  const nlohmann::json person = {
      {"type", "authorized_user"}, {"client_id", "i"}, {"client_secret", "s"}, {"refresh_token", "r"}};
  EXPECT_TRUE(from(person));
  const std::string act = "https://iamcredentials.googleapis.com/v1/x:generateAccessToken";
  for (const nlohmann::json& source : {person, service_account()}) {
    const auto acting = from({{"type", "impersonated_service_account"},
                              {"service_account_impersonation_url", act},
                              {"source_credentials", source},
                              {"delegates", nlohmann::json::array()}});
    EXPECT_TRUE(acting) << acting.error().describe();
  }
  nlohmann::json federated = external_account();
  federated["service_account_impersonation_url"] = act;
  federated["credential_source"] = {
      {"url", "http://169.254.169.254/token"},
      {"headers", {{"Metadata", "True"}}},
      {"format", {{"type", "json"}, {"subject_token_field_name", "access_token"}}}};
  EXPECT_TRUE(from(federated)) << from(federated).error().describe();
}

TEST(GcsCredentials, FilesThatAreNone) {
  const auto without = [](nlohmann::json json, const char* member) {
    json.erase(member);
    return json;
  };
  const auto with = [](nlohmann::json json, const char* member, const nlohmann::json& value) {
    json[member] = value;
    return json;
  };
  const nlohmann::json key_file = service_account(), federated = external_account();
  const std::vector<std::pair<nlohmann::json, std::string>> cases = {
      {without(key_file, "type"), "type"},
      {without(key_file, "private_key"), "private_key"},
      {without(key_file, "client_email"), "client_email"},
      {with(key_file, "private_key", "-----BEGIN PRIVATE KEY-----\nsecret\n"), "RSA"},
      {with(key_file, "client_email", 5), "client_email"},
      {with(key_file, "token_uri", "http://tokens.example/token"), "https"},
      {with(key_file, "token_uri", "http://127.0.0.1.example/token"), "https"},
      {with(key_file, "type", "gdch_service_account"), "gdch_service_account"},
      {without(federated, "audience"), "audience"},
      {without(federated, "credential_source"), "credential_source"},
      {with(federated, "token_url", "ftp://x"), "https"},
      {with(federated, "credential_source", {{"environment_id", "aws1"}}), "AWS"},
      {with(federated, "credential_source", {{"executable", {{"command", "x"}}}}), "program"},
      {with(federated, "credential_source", nlohmann::json::object()), "credential_source"},
      {with(federated, "credential_source", {{"file", "/a"}, {"url", "http://b"}}), "credential_source"},
      {with(federated, "credential_source", {{"file", "/a"}, {"format", {{"type", "json"}}}}),
       "subject_token_field_name"},
      {with(federated, "service_account_impersonation_url", "http://x"), "https"},
      {{{"type", "impersonated_service_account"}, {"service_account_impersonation_url", "https://x"}},
       "source_credentials"},
      {{{"type", "impersonated_service_account"}, {"source_credentials", {{"type", 5}}}},
       "source_credentials"},
  };
  for (const auto& [json, word] : cases) {
    const auto source = from(json);
    ASSERT_FALSE(source) << json.dump();
    EXPECT_TRUE(source.error().code == Code::kUsage || source.error().code == Code::kUnsupported);
    const std::string said = source.error().describe();
    EXPECT_NE(said.find(word), std::string::npos) << said;
    EXPECT_NE(said.find("/k.json"), std::string::npos) << said;
    EXPECT_EQ(said.find("secret\n"), std::string::npos) << said;
    EXPECT_FALSE(source.error().hint.empty());
  }
  EXPECT_FALSE(credentials_from("not json", "/k.json", nullptr));
}

// Sets a variable for a while.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    ::setenv(name, value.c_str(), 1);
  }
  ~Variable() {
    if (old_)
      ::setenv(name_, old_->c_str(), 1);
    else
      ::unsetenv(name_);
  }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

TEST(GcsCredentials, TheOrder) {
  auto dir = os::TempDir::create("varve-gcs");
  ASSERT_TRUE(dir);
  const auto write = [&](const std::string& name, const std::string& email) {
    nlohmann::json json = service_account();
    json["client_email"] = email;
    EXPECT_TRUE(os::replace_file(dir->path() / name, as_bytes(json.dump())));
    return (dir->path() / name).native();
  };
  const auto found = [](const std::string& file) {
    const auto source = find_credentials({file, ""});
    return source ? (*source)->describe() : "<" + source.error().describe() + ">";
  };
  const Variable gcloud("CLOUDSDK_CONFIG", dir->path().native());
  const Variable host("GCE_METADATA_HOST", "127.0.0.1:9");
  const Variable none("GOOGLE_APPLICATION_CREDENTIALS", "");
  EXPECT_NE(found("").find("the metadata server (127.0.0.1:9)"), std::string::npos) << found("");
  write("application_default_credentials.json", "by-gcloud");
  EXPECT_NE(found("").find("by-gcloud"), std::string::npos) << found("");
  const Variable variable("GOOGLE_APPLICATION_CREDENTIALS", write("env.json", "by-variable"));
  EXPECT_NE(found("").find("by-variable"), std::string::npos) << found("");
  EXPECT_NE(found(write("set.json", "by-setting")).find("by-setting"), std::string::npos);
  // A file that is named and not there is a mistake, not a reason to look further.
  const auto absent = find_credentials({(dir->path() / "absent").native(), ""});
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, Code::kUsage);
}

TEST(GcsCredentials, NoMetadataServerMeansNoCredentials) {
  const auto token = metadata_credentials("127.0.0.1:9")->fetch(Context{}, kStorageScope);
  ASSERT_FALSE(token);
  EXPECT_EQ(token.error().code, Code::kDenied);
  EXPECT_EQ(token.error().retry, Retry::kNever) << "where it never answered, waiting does not help";
  EXPECT_NE(token.error().hint.find("GOOGLE_APPLICATION_CREDENTIALS"), std::string::npos);
}

TEST(GcsCredentials, LoopbackIsThisMachineOnly) {
  for (const char* url :
       {"http://127.0.0.1:80/x", "http://localhost", "http://localhost:1/", "http://[::1]:7/x"})
    EXPECT_TRUE(is_loopback_http(url)) << url;
  for (const char* url :
       {"https://127.0.0.1", "http://127.0.0.1.example", "http://localhost.example", "http://[::2]",
        "http://localhost@example", "http://127.0.0.1:1@example/", "http://", "ftp://localhost"})
    EXPECT_FALSE(is_loopback_http(url)) << url;
}

}  // namespace
}  // namespace varve::store::gcs
