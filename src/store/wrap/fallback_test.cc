#include "store/wrap/fallback.h"

#include <gtest/gtest.h>

#include "store/mem/mem_store.h"
#include "store/wrap/fault.h"

namespace varve::store {
namespace {

struct Fixture : ::testing::Test {
  std::shared_ptr<MemStore> a = std::make_shared<MemStore>("a"), b = std::make_shared<MemStore>("b");
  std::shared_ptr<FaultStore> fault = std::make_shared<FaultStore>(a);

  std::shared_ptr<FallbackStore> both(FallbackOptions options = {}) {
    return with_fallback(fault, {b}, options);
  }
  static void put(Store& s, const Key& key, std::string_view text) {
    ASSERT_TRUE(put_bytes(s, {}, key, as_bytes(text)));
  }
  static std::string get(Store& s, const Key& key, Range range = {}) {
    auto bytes = get_bytes(s, {}, key, 1 << 20, range);
    return bytes ? std::string(as_text(*bytes)) : "!" + bytes.error().describe();
  }
  static std::vector<Key> keys(Store& s, const std::string& prefix = "") {
    std::vector<Key> out;
    EXPECT_TRUE(for_each(s, {}, prefix, [&](const ObjectInfo& o) -> Result<> {
      out.push_back(o.key);
      return {};
    }));
    return out;
  }
};
using Fallback = Fixture;

TEST_F(Fallback, TheFirstGivesWhatItHas) {
  put(*a, "x", "from a");
  put(*b, "x", "from b");
  put(*b, "y", "only b");
  auto s = both();
  EXPECT_EQ(get(*s, "x"), "from a");
  EXPECT_EQ(get(*s, "y"), "only b");
  EXPECT_EQ(get(*s, "y", {2, 3}), "ly ");
  EXPECT_EQ(s->head({}, "y")->size, 6u);
  EXPECT_EQ(s->head({}, "z").error().code, Code::kNotFound);
  EXPECT_EQ(s->uses().size(), 1u);
  EXPECT_EQ(s->uses()[0].store, "mem://b");
  EXPECT_EQ(s->uses()[0].objects, 1u);
  EXPECT_FALSE(s->first_down());
  ASSERT_EQ(s->alternatives().size(), 1u);
  EXPECT_EQ(get(*s->alternatives()[0], "x"), "from b");
  EXPECT_EQ(s->uses()[0].objects, 2u);
  EXPECT_EQ(s->describe(), "mem://a");
}

TEST_F(Fallback, WritesAreForTheFirst) {
  auto s = both();
  put(*s, "x", "1");
  put(*b, "y", "2");
  EXPECT_EQ(keys(*a), std::vector<Key>{"x"});
  ASSERT_TRUE(remove_one(*s, {}, "y"));
  EXPECT_EQ(keys(*b), std::vector<Key>{"y"});
}

TEST_F(Fallback, UnreachableItIsLeftAlone) {
  put(*a, "x", "from a");
  put(*b, "x", "from b");
  auto s = both({.left_alone = std::chrono::seconds(600)});
  fault->set_policy(
      [](const StoreCall&) { return Fault{.what = Fault::What::kFail, .error = transient_error()}; });
  EXPECT_EQ(get(*s, "x"), "from b");
  EXPECT_TRUE(s->first_down());
  const size_t asked = fault->calls().size();
  EXPECT_EQ(get(*s, "x"), "from b");
  EXPECT_EQ(keys(*s), std::vector<Key>{"x"});
  EXPECT_EQ(put_bytes(*s, {}, "n", as_bytes("n")).error().code, Code::kUnreachable);
  EXPECT_EQ(fault->calls().size(), asked);
  // What none has while the first is away is not known to be absent.
  EXPECT_EQ(s->head({}, "z").error().code, Code::kUnreachable);
}

TEST_F(Fallback, AnswersOfTheFirstDoNotMakeItLeftAlone) {
  put(*b, "x", "from b");
  auto s = both();
  fault->set_policy(fault_at(2, {.what = Fault::What::kFail, .error = {Code::kDenied, "no"}}));
  EXPECT_EQ(get(*s, "x"), "from b");
  EXPECT_EQ(get(*s, "x"), "from b");
  EXPECT_FALSE(s->first_down());
}

TEST_F(Fallback, OneThatDoesNotAnswerAtAllCostsItsTimeOnce) {
  put(*b, "x", "from b");
  auto s = both({.first_answer = std::chrono::seconds(1)});
  fault->set_policy([](const StoreCall&) { return Fault{.delay = std::chrono::milliseconds(60'000)}; });
  const auto begun = SteadyClock::now();
  EXPECT_EQ(get(*s, "x"), "from b");
  EXPECT_EQ(get(*s, "x"), "from b");
  EXPECT_LT(SteadyClock::now() - begun, std::chrono::seconds(10));
}

TEST_F(Fallback, AGetGoesOnWhereItStopped) {
  put(*a, "x", "0123456789");
  put(*b, "x", "0123456789");
  auto s = both();
  fault->set_policy(fault_at(2, {.what = Fault::What::kCutBody, .error = transient_error(), .bytes = 4}));
  EXPECT_EQ(get(*s, "x"), "0123456789");
}

TEST_F(Fallback, AnErrorOfTheSinkEndsIt) {
  put(*a, "x", "0123456789");
  put(*b, "x", "0123456789");
  auto s = both();
  int called = 0;
  auto got = s->get({}, "x", {}, [&](ByteView) -> Result<> {
    ++called;
    return fail(Code::kUnreachable, "the sink's");
  });
  EXPECT_EQ(got.error().message, "the sink's");
  EXPECT_EQ(called, 1);
  EXPECT_FALSE(s->first_down());
}

TEST_F(Fallback, ListingsAreUnited) {
  std::vector<Key> all;
  for (int i = 0; i < 40; ++i) {
    const Key key = "k/" + std::to_string(100 + i);
    all.push_back(key);
    if (i % 3 != 0) put(*a, key, "a");
    if (i % 3 != 1) put(*b, key, "bb");
  }
  auto s = both();
  EXPECT_EQ(keys(*s, "k/"), all);
  for (size_t most : {1u, 2u, 7u, 13u}) {
    std::string token;
    std::vector<Key> got;
    do {
      auto page = s->list({}, "k/", token, most);
      ASSERT_TRUE(page);
      EXPECT_LE(page->objects.size(), most);
      for (const auto& o : page->objects) got.push_back(o.key);
      token = page->next;
    } while (!token.empty());
    EXPECT_EQ(got, all);
  }
  EXPECT_EQ(keys(*both({.unite = false}), "k/"), keys(*a, "k/"));
}

TEST_F(Fallback, AListingOutlivesItsStore) {
  std::vector<Key> all;
  for (int i = 0; i < 40; ++i) {
    all.push_back("k/" + std::to_string(100 + i));
    put(*a, all.back(), "a");
    put(*b, all.back(), "b");
  }
  for (const bool unite : {true, false}) {
    for (uint64_t n = 1; n < 6; ++n) {
      auto s = both({.unite = unite});
      fault->set_policy(fault_at(n, {.what = Fault::What::kFail, .error = transient_error()}));
      EXPECT_EQ(keys(*s, "k/"), all) << unite << n;
    }
  }
  b->restore({});
  auto s = both();
  fault->set_policy(
      [](const StoreCall&) { return Fault{.what = Fault::What::kFail, .error = transient_error()}; });
  EXPECT_TRUE(keys(*s).empty());  // the other says that it has nothing, and it is all there is to ask
}

}  // namespace
}  // namespace varve::store
