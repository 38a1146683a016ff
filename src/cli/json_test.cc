#include "cli/json.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/secrets.h"
#include "cli/session.h"

namespace varve::cli {
namespace {

using nlohmann::json;

TEST(Json, EveryDocumentIsAnObjectWithItsFormat) {
  const std::vector<std::string> documents = {
      json_error(Error{Code::kNotFound, "no"}),
      json_init({}),
      json_check({{"store", {engine::Problem::Severity::kWarning, "w", "m"}}}),
      json_backup({}),
      json_list({{}, {}}),
      json_show({}, {{"a", "file", 1}}, 0),
      json_restore(backup::RestoreReport{}),
      json_restore(backup::TableReport{}),
      json_restore(RestorePlan{}),
      json_follow({}, "app", true),
      json_history_begin() + json_event({}) + "," + json_event({}) + json_history_end(),
      json_history_begin() + json_history_end(Error{Code::kDamaged, "x"}),
      json_verify({}),
      json_expire("app", {}),
      json_gc({}, true),
      json_status({}),
      json_keys({{}}),
      json_key_change("added", "x"),
      json_holds({{"app", {}}}),
      json_hold_change("placed", "app", "x"),
      json_kit("r", "f")};
  for (const auto& text : documents) {
    const json document = json::parse(text);
    ASSERT_TRUE(document.is_object()) << text;
    EXPECT_EQ(document.at("format"), 1) << text;
    EXPECT_GE(document.size(), 2u) << text;
  }
}

TEST(Json, ListsStayListsWhateverTheirLength) {
  backup::RestoreReport r;
  r.kept = {"a", "b"};
  EXPECT_EQ(json::parse(json_restore(r))["restore"]["kept"], json::array({"a", "b"}));
  r.kept = {};
  EXPECT_TRUE(json::parse(json_restore(r))["restore"]["kept"].is_array());
  backup::SourceState one;
  one.source = "app";
  EXPECT_TRUE(json::parse(json_list({one}))["sources"].is_array());
  EXPECT_EQ(json::parse(json_list({one}))["sources"][0]["name"], "app");
}

TEST(Json, WhatIsNotUtf8IsReplaced) {
  const json document = json::parse(json_error(Error{Code::kIo, "caf\xe9", "\xff"}));
  EXPECT_EQ(document["error"]["message"], "caf\xef\xbf\xbd");
  EXPECT_EQ(document["error"]["code"], "io");
}

TEST(Json, AbsentIsNull) {
  repo::Manifest m;
  m.parent = "p";
  const json document = json::parse(json_backup(m))["backup"];
  EXPECT_EQ(document["parent"], "p");
  EXPECT_TRUE(document["epoch"].is_null());
  EXPECT_TRUE(json::parse(json_event({}))["rows"].is_null());
}

TEST(Secrets, APassphraseIsOneLine) {
  EXPECT_EQ(passphrase_from_text("with spaces \r\n", "f")->text(), "with spaces ");
  EXPECT_EQ(passphrase_from_text("no end", "f")->text(), "no end");
  for (const std::string& wrong :
       {std::string(), std::string("\n"), std::string("a\nb\n"), std::string("a\0b", 3)})
    EXPECT_EQ(passphrase_from_text(wrong, "f").error().code, Code::kUsage);
}

TEST(Secrets, OnePlaceOnly) {
  EXPECT_TRUE(secret_place("", "", "", "")->empty());
  EXPECT_TRUE(secret_place("", "", "k", "")->is_key());
  EXPECT_EQ(secret_place("a", "", "b", "").error().code, Code::kUsage);
}

TEST(Secrets, TheEnvironmentIsWiped) {
  char variable[] = "VARVE_PASSPHRASE=secret";  // putenv keeps this very memory in the environment
  ASSERT_EQ(putenv(variable), 0);
  EXPECT_EQ(take_environment_passphrase().text(), "secret");
  EXPECT_EQ(std::getenv("VARVE_PASSPHRASE"), nullptr);
  EXPECT_EQ(std::string(variable + 17, 6), std::string(6, '\0'));
  EXPECT_TRUE(take_environment_passphrase().empty());
}

TEST(ShellWords, QuoteWhatAShellWouldRead) {
  EXPECT_EQ(shell_words({"varve", "my app.db", "it's", "", "--to=a:b"}),
            "varve 'my app.db' 'it'\\''s' '' --to=a:b");
}

}  // namespace
}  // namespace varve::cli
