#include "base/text.h"

#include <chrono>
#include <gtest/gtest.h>

#include "base/progress.h"

namespace varve {
namespace {

TEST(Text, HumanSize) {
  EXPECT_EQ(human_size(0), "0 B");
  EXPECT_EQ(human_size(812), "812 B");
  EXPECT_EQ(human_size(1023), "1023 B");
  EXPECT_EQ(human_size(1024), "1.0 KiB");
  EXPECT_EQ(human_size(1434), "1.4 KiB");
  EXPECT_EQ(human_size(102'400), "100 KiB");
  EXPECT_EQ(human_size((1 << 20) - 1), "1.0 MiB");
  EXPECT_EQ(human_size(3'328'599'654), "3.1 GiB");
  EXPECT_EQ(human_size(UINT64_MAX), "16.0 EiB");
}

TEST(Text, HumanCount) {
  EXPECT_EQ(human_count(0), "0");
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(1000), "1,000");
  EXPECT_EQ(human_count(48210), "48,210");
  EXPECT_EQ(human_count(UINT64_MAX), "18,446,744,073,709,551,615");
}

TEST(Text, ParseSize) {
  const std::pair<const char*, uint64_t> good[] = {{"0", 0},
                                                   {"4096", 4096},
                                                   {"4096b", 4096},
                                                   {"64MiB", 64ull << 20},
                                                   {"1 GiB", 1ull << 30},
                                                   {"1.5g", 3ull << 29},
                                                   {" 2KB ", 2048},
                                                   {"0.5t", 1ull << 39},
                                                   {"16383p", 16383ull << 50},
                                                   {"18446744073709551615", UINT64_MAX}};
  for (auto [text, bytes] : good) {
    auto size = parse_size(text);
    ASSERT_TRUE(size) << text;
    EXPECT_EQ(*size, bytes) << text;
  }
  for (const char* text : {"", "k", "-1", "+1", "1x", "1kk", "1.k", "1.5", "1.5b", ".5k", "16384p", "1 2",
                           "0x10", "18446744073709551616", "1e3", "1ki"}) {
    auto size = parse_size(text);
    ASSERT_FALSE(size) << text;
    EXPECT_EQ(size.error().code, Code::kUsage);
    EXPECT_FALSE(size.error().hint.empty());
  }
}

TEST(Text, SplitAndTrim) {
  using V = std::vector<std::string_view>;
  EXPECT_EQ(split("a,b", ','), (V{"a", "b"}));
  EXPECT_EQ(split("", ','), (V{""}));
  EXPECT_EQ(split(",a,", ','), (V{"", "a", ""}));
  EXPECT_EQ(trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(trim(" \n"), "");
  EXPECT_EQ(to_lower("ÄbC"), "Äbc") << "ASCII only";
}

TEST(Text, Nearest) {
  const std::vector<std::string> commands = {"backup", "check", "list", "log", "restore", "verify", "expire"};
  using V = std::vector<std::string>;
  EXPECT_EQ(nearest("bakcup", commands), V{"backup"}) << "neighbours swapped";
  EXPECT_EQ(nearest("Restor", commands), V{"restore"});
  EXPECT_EQ(nearest("lst", commands), V{"list"});
  EXPECT_EQ(nearest("xyzzy", commands), V{});
  EXPECT_EQ(nearest("", commands), V{});
  EXPECT_EQ(nearest("aa", std::vector<std::string>{"ab", "ba", "aa", "ac"}, 2), (V{"aa", "ab"}))
      << "nearest first";
  EXPECT_EQ(nearest(std::string(10'000, 'x'), std::vector<std::string>{std::string(9'000, 'x')}).size(), 1u);
}

TEST(Glob, Matches) {
  const std::pair<const char*, const char*> yes[] = {
      {"", ""},
      {"a", "a"},
      {"*", ""},
      {"*", "abc"},
      {"*.db", "app.db"},
      {"a*b*c", "axbxc"},
      {"a*b*c", "abbbbc"},
      {"?", "x"},
      {"a?c", "abc"},
      {"[abc]", "b"},
      {"[a-c]x", "bx"},
      {"[!a]", "b"},
      {"[^a]", "b"},
      {"[]]", "]"},
      {"[!]]", "x"},
      {"[a-]", "-"},
      {"[", "["},
      {"[ab", "[ab"},
      {"**", "a/b/c"},
      {"**", ""},
      {"/srv/*.db", "/srv/a.db"},
      {"/srv/**/app.db", "/srv/x/y/app.db"},
      {"/srv/**/app.db", "/srv/app.db"},
      {"**/a", "a"},
      {"**/a", "x/a"},
      {"a**b", "a/x/b"},
      {"*/x*y", "q/xzy"},
      {"**/*.db", "a/b.c/d.db"},
      {"**/a*/b", "x/a/q/ab/b"},
      {"a/**", "a/b/c"},
      {"*a*/b*", "xaya/bq"},
  };
  for (auto [pattern, text] : yes) EXPECT_TRUE(glob_match(pattern, text)) << pattern << " ~ " << text;
  const std::pair<const char*, const char*> no[] = {
      {"", "a"},
      {"a", ""},
      {"a", "b"},
      {"*", "a/b"},
      {"?", "/"},
      {"?", ""},
      {"[!a]", "/"},
      {"[/]", "/"},
      {"*.db", "a.dbx"},
      {"a?c", "ac"},
      {"[a-c]", "d"},
      {"[!a]", "a"},
      {"/srv/*.db", "/srv/x/a.db"},
      {"/srv/**/app.db", "/srv/xapp.db"},
      {"**/a", "ba"},
      {"a*b", "a/b"},
      {"*a", "b/a"},
      {"[z-a]", "m"},
      {"[a", "a"},
  };
  for (auto [pattern, text] : no) EXPECT_FALSE(glob_match(pattern, text)) << pattern << " !~ " << text;
}

TEST(Glob, HostilePatternsEndSoon) {
  std::string pattern, deep;
  for (int i = 0; i < 200; ++i) pattern += "*a";
  for (int i = 0; i < 200; ++i) deep += "**/a*";
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(glob_match(pattern + "b", std::string(5000, 'a')));
  EXPECT_FALSE(glob_match(deep + "b", std::string(5000, 'a')));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST(Text, Printable) {
  EXPECT_EQ(printable("naïve 日本 😀.db"), "naïve 日本 😀.db");
  EXPECT_EQ(printable("a\x1b[31mb\r\n\x7f"), "a?[31mb???");
  EXPECT_EQ(printable("\xc2\x9b"
                      "1m"),
            "?1m")
      << "the one-character form of escape-[";
  EXPECT_EQ(printable("a\xe2\x80\xae"
                      "b"),
            "a?b")
      << "right-to-left override";
  EXPECT_EQ(printable("\xff\xc0\x80\xed\xa0\x80"), "??????") << "not UTF-8";
  EXPECT_EQ(printable(std::string_view("\xe2\x82", 2)), "??") << "cut short";
}

TEST(Progress, Line) {
  Progress p;
  p.begin("reading", 2 << 20);
  p.done_bytes = 1 << 20;
  EXPECT_EQ(progress_line(p, 2.0), "reading  1.0 MiB of 2.0 MiB (50 %), 512 KiB/s, 3 s left");
  p.begin("scanning", 0);
  EXPECT_EQ(progress_line(p, 2.5), "scanning  2 s");
}

}  // namespace
}  // namespace varve
