#include "engine/postgres/table_name.h"

#include <gtest/gtest.h>

namespace varve::engine::postgres {
namespace {

TEST(TableName, OneToThreeParts) {
  EXPECT_EQ(*parse_table_name("orders"), (TableName{"", "", "orders"}));
  EXPECT_EQ(*parse_table_name("public.orders"), (TableName{"", "public", "orders"}));
  EXPECT_EQ(*parse_table_name("app.public.orders"), (TableName{"app", "public", "orders"}));
  EXPECT_EQ(*parse_table_name("App.Public.Orders"), (TableName{"App", "Public", "Orders"}));
}

TEST(TableName, Quotes) {
  EXPECT_EQ(*parse_table_name("public.\"my.table\""), (TableName{"", "public", "my.table"}));
  EXPECT_EQ(*parse_table_name("\"a\"\"b\".c"), (TableName{"", "a\"b", "c"}));
  EXPECT_EQ((TableName{"", "a\"b", "c.d"}).text(), "\"a\"\"b\".\"c.d\"");
  EXPECT_EQ(*parse_table_name("\"a\"\"b\".\"c.d\""),
            *parse_table_name((TableName{"", "a\"b", "c.d"}).text()));
}

TEST(TableName, RefusesOthers) {
  for (const char* text : {"", ".", "a.", ".a", "a..b", "a.b.c.d", "\"a", "a\"b", "\"\"", "\"a\"b"})
    EXPECT_FALSE(parse_table_name(text)) << text;
  EXPECT_FALSE(parse_table_name(std::string(64, 'x')));
  EXPECT_TRUE(parse_table_name(std::string(63, 'x')));
}

TEST(TableName, QuotesForSql) {
  EXPECT_EQ(quote_table("a\"b", "c"), "\"a\"\"b\".\"c\"");
  EXPECT_EQ(quote_literal("it's \\"), "'it''s \\'");
}

TEST(TableName, FittingNamesCutWholeCharacters) {
  EXPECT_EQ(fitting_name("orders", "_1"), "orders_1");
  EXPECT_EQ(fitting_name(std::string(70, 'x'), "_12"), std::string(60, 'x') + "_12");
  const std::string umlauts = std::string(60, 'x') + "\xc3\xa4\xc3\xa4";
  EXPECT_EQ(fitting_name(umlauts, "_1"), std::string(60, 'x') + "_1");
}

}  // namespace
}  // namespace varve::engine::postgres
