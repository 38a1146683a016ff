// Part of store_contract.h: listing.
#pragma once

namespace varve::store {

// Names whose order as keys differs from that of a walk through folders.
inline std::vector<Key> contract_awkward_keys() {
  return {"a+b",        "a-b",         "a.b",         "a/b",       "a/b-c",      "a/b.d/e",
          "a/c/d",      "a/c-d",       "a/c.d",       "a0",        "aa",         "a=b",
          "a@b",        "a_b",         "B",           "b-/x",      "b./x",       "b/x",
          "b0/x",       "c/d/e/f/g/h", "c/d/e-f",     "c/d/e.f",   "packs/aa/1", "packs/aa/2",
          "packs/ab/1", "packs/b",     "packs-old/x", "packs.old", "z"};
}

TEST_P(StoreContract, ListsInTheOrderOfKeys) {
  std::vector<Key> expected = contract_awkward_keys();
  for (const Key& key : expected) must_put(key, key);
  std::sort(expected.begin(), expected.end());
  for (size_t most : {1, 2, 3, 5, 1000}) EXPECT_EQ(keys("", most), expected) << "pages of " << most;
  auto page = store().list(bounded(), "", "");
  ASSERT_TRUE(page);
  for (const ObjectInfo& o : page->objects) EXPECT_EQ(o.size, o.key.size());
}

TEST_P(StoreContract, ListsByAnyPrefix) {
  const std::vector<Key> all = contract_awkward_keys();
  for (const Key& key : all) must_put(key, key);
  std::set<std::string> prefixes = {"a/",      "a/c",       "a/c/",       "pack",        "packs",   "packs/",
                                    "packs/a", "packs/aa/", "packs/aa/1", "packs/aa/10", "nothing", "c/d/e",
                                    "c/d/e/",  "b",         "~",          "zz",          "a//",     "../",
                                    ".",       "/",         "a/../",      "a/c/d/"};
  for (const Key& key : all) prefixes.insert({key, key.substr(0, key.size() / 2)});
  for (const std::string& prefix : prefixes) {
    std::vector<Key> expected;
    std::copy_if(all.begin(), all.end(), std::back_inserter(expected),
                 [&](const Key& k) { return k.starts_with(prefix); });
    std::sort(expected.begin(), expected.end());
    for (size_t most : {1, 2, 1000})
      EXPECT_EQ(keys(prefix, most), expected) << prefix << ", pages of " << most;
  }
}

TEST_P(StoreContract, ManyObjectsInOneFolder) {
  std::set<Key> expected;
  for (int i = 0; i < 300; ++i) {
    must_put(fmt::format("log/{:04x}{}", i * 7919 % 65536, i % 3 == 0 ? "/piece" : ""), "x");
    expected.insert(fmt::format("log/{:04x}{}", i * 7919 % 65536, i % 3 == 0 ? "/piece" : ""));
  }
  for (size_t most : {7, 100, 1000})
    EXPECT_EQ(keys("log/", most), std::vector<Key>(expected.begin(), expected.end()));
  size_t seen = 0;
  ASSERT_TRUE(for_each(store(), bounded(), "log/", [&](const ObjectInfo&) -> Result<> {
    ++seen;
    return {};
  }));
  EXPECT_EQ(seen, expected.size());
  EXPECT_CODE(for_each(store(), bounded(), "",
                       [](const ObjectInfo&) -> Result<> { return fail(Code::kDamaged, "enough"); }),
              Code::kDamaged);
}

TEST_P(StoreContract, ChangesWhileListing) {
  for (int i = 0; i < 20; ++i) must_put(fmt::format("k/{:02}", i * 2), "x");
  auto page = store().list(bounded(), "k/", "", 5);
  ASSERT_TRUE(page);
  ASSERT_FALSE(page->next.empty());
  std::set<Key> seen;
  for (const ObjectInfo& o : page->objects) seen.insert(o.key);
  const std::vector<Key> gone = {"k/00", page->objects.back().key, "k/30"};
  ASSERT_TRUE(store().remove(bounded(), gone));
  must_put("k/01", "x");  // before the place
  must_put("k/31", "x");  // and after it
  for (std::string token = page->next; !token.empty();) {
    page = store().list(bounded(), "k/", token, 5);
    ASSERT_TRUE(page) << page.error().describe();
    for (const ObjectInfo& o : page->objects)
      EXPECT_TRUE(seen.insert(o.key).second) << o.key << " came twice";
    token = page->next;
  }
  for (int i = 0; i < 20; ++i) {
    const Key key = fmt::format("k/{:02}", i * 2);
    if (key == "k/30") {
      EXPECT_FALSE(seen.contains(key)) << "was removed before its page was asked for";
    } else {
      EXPECT_TRUE(seen.contains(key)) << key;
    }
  }
  EXPECT_TRUE(seen.contains("k/31"));
  EXPECT_FALSE(seen.contains("k/01"));
}

TEST_P(StoreContract, AnEmptyStoreListsNothing) {
  EXPECT_TRUE(keys("").empty());
  EXPECT_TRUE(keys("a/").empty());
  must_put("a/b/c", "x");
  ASSERT_TRUE(remove_one(store(), bounded(), "a/b/c"));
  EXPECT_TRUE(keys("").empty());
  EXPECT_TRUE(keys("a/").empty());
}

}  // namespace varve::store
