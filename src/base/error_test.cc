#include "base/error.h"

#include <gtest/gtest.h>
#include <set>

namespace varve {
namespace {

Result<int> half(int n) {
  if (n % 2 != 0) return fail(Code::kUsage, "odd");
  return n / 2;
}
Result<int> quarter(int n) {
  TRY_ASSIGN(int h, half(n));
  TRY_ASSIGN(h, half(h));
  return h;
}
Result<> check_even(int n) {
  TRY_OK(half(n));
  return {};
}

TEST(Error, TravelsThroughTheMacros) {
  EXPECT_EQ(*quarter(12), 3);
  EXPECT_EQ(quarter(6).error().message, "odd");
  EXPECT_TRUE(check_even(4));
  EXPECT_EQ(check_even(5).error().code, Code::kUsage);
}

TEST(Error, DescribesContextAndCauseButNotTheHint) {
  Error inner = Error{Code::kIo, "cannot read a"}.with_hint("try b");
  Error outer = Error{Code::kDamaged, "pack 7 is damaged"}
                    .with_context("while restoring f")
                    .with_retry(Retry::kTransient)
                    .caused_by(inner);
  EXPECT_EQ(outer.describe(), "pack 7 is damaged (while restoring f): cannot read a");
  EXPECT_EQ(outer.retry, Retry::kTransient);
  EXPECT_EQ(outer.cause->hint, "try b");
}

TEST(Error, EveryCodeHasANameAndAnExitStatus) {
  std::set<std::string_view> names;
  for (int i = 0; i <= static_cast<int>(Code::kInternal); ++i) {
    const auto code = static_cast<Code>(i);
    EXPECT_NE(exit_code(code), 0);
    names.insert(code_name(code));
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(Code::kInternal) + 1);
  EXPECT_EQ(exit_code(Code::kUsage), 2);
  EXPECT_EQ(exit_code(Code::kNotFound), 3);
  EXPECT_EQ(exit_code(Code::kDamaged), 4);
  EXPECT_EQ(exit_code(Code::kUnreachable), 5);
  EXPECT_EQ(exit_code(Code::kDatabase), 6);
  EXPECT_EQ(exit_code(Code::kConflict), 7);
  EXPECT_EQ(exit_code(Code::kIncomplete), 8);
  EXPECT_EQ(exit_code(Code::kInterrupted), 130);
}

}  // namespace
}  // namespace varve
