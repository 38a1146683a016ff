// Part of store_contract.h: single calls and their errors.
#pragma once

namespace varve::store {

TEST_P(StoreContract, WhatWasPutIsRead) {
  must_put("a/b/c", "hello");
  EXPECT_EQ(read("a/b/c"), "hello");
  auto info = store().head(bounded(), "a/b/c");
  ASSERT_TRUE(info) << info.error().describe();
  EXPECT_EQ(info->key, "a/b/c");
  EXPECT_EQ(info->size, 5u);
  EXPECT_LT(std::chrono::abs(info->modified - now()), std::chrono::hours(24));
  EXPECT_TRUE(*exists(store(), bounded(), "a/b/c"));
  EXPECT_FALSE(*exists(store(), bounded(), "a/b"));
  EXPECT_FALSE(store().describe().empty());
}

TEST_P(StoreContract, ABodyOfManyPieces) {
  const std::string text = pattern(100'000, 1);
  std::vector<ByteView> pieces;
  const ByteView all = as_bytes(text);
  for (size_t at = 0, n = 0; at < all.size(); at += n, n = n * 2 + 1)
    pieces.push_back(all.subspan(at, n = std::min(n, all.size() - at)));
  ASSERT_TRUE(store().put(bounded(), "pieces", pieces, {}));
  EXPECT_EQ(read("pieces"), text);
}

TEST_P(StoreContract, EmptyObjects) {
  must_put("empty", "");
  ASSERT_TRUE(store().put(bounded(), "empty2", {}, {}));
  for (const char* key : {"empty", "empty2"}) {
    EXPECT_EQ(read(key), "");
    EXPECT_EQ(read(key, {0, 10}), "");
    EXPECT_EQ(store().head(bounded(), key)->size, 0u);
  }
  EXPECT_EQ(keys("").size(), 2u);
  EXPECT_CODE(put("empty", "now full"), Code::kExists);
}

TEST_P(StoreContract, LargeObjectComesInPieces) {
  const std::string text = pattern(deviations().large_object, 2);
  const ByteView all = as_bytes(text);
  std::vector<ByteView> pieces;
  for (size_t at = 0; at < all.size(); at += 1 << 22)
    pieces.push_back(all.subspan(at, std::min<size_t>(1 << 22, all.size() - at)));
  ASSERT_TRUE(store().put(bounded(), "large", pieces, {}));
  uint64_t at = 0;
  size_t longest = 0;
  bool same = true;
  auto size = store().get(bounded(), "large", {}, [&](ByteView piece) -> Result<> {
    same = same && at + piece.size() <= text.size() &&
           std::memcmp(piece.data(), text.data() + at, piece.size()) == 0;
    at += piece.size();
    longest = std::max(longest, piece.size());
    return {};
  });
  ASSERT_TRUE(size) << size.error().describe();
  EXPECT_EQ(*size, text.size());
  EXPECT_EQ(at, text.size());
  EXPECT_TRUE(same);
  EXPECT_LE(longest, size_t{1} << 20) << "memory must not follow the object's size";
}

TEST_P(StoreContract, Ranges) {
  const std::string text = pattern(300'000, 3);
  must_put("r", text);
  const uint64_t size = text.size();
  for (Range r : {Range{0, 1}, Range{0, 1000}, Range{1, 1}, Range{150'000, 70'000}, Range{size - 1, 1},
                  Range{size - 10, 100}, Range{size - 10, UINT64_MAX}, Range{7, UINT64_MAX}, Range{0, 0},
                  Range{100, 0}, Range{size, 10}, Range{size + 5, 10}, Range{size, UINT64_MAX},
                  Range{UINT64_MAX, UINT64_MAX}, Range{0, size}, Range{0, size + 1}}) {
    SCOPED_TRACE(fmt::format("offset {} length {}", r.offset, r.length));
    std::string got;
    auto whole = store().get(bounded(), "r", r, [&](ByteView piece) -> Result<> {
      got += as_text(piece);
      return {};
    });
    ASSERT_TRUE(whole) << whole.error().describe();
    EXPECT_EQ(*whole, size);
    EXPECT_TRUE(got == (r.offset >= size ? "" : text.substr(r.offset, r.length)));
  }
}

TEST_P(StoreContract, CreateOnlyDoesNotReplace) {
  must_put("k", "first");
  EXPECT_CODE(put("k", "second"), Code::kExists);
  if (!deviations().own_body_counts_as_won) EXPECT_CODE(put("k", "first"), Code::kExists);
  EXPECT_EQ(read("k"), "first");
  EXPECT_EQ(keys("").size(), 1u);
}

TEST_P(StoreContract, UnconditionalReplaces) {
  if (deviations().no_replace) return;
  ASSERT_TRUE(put("k", "first", PutMode::kUnconditional));
  ASSERT_TRUE(put("k", "second", PutMode::kUnconditional));
  EXPECT_EQ(read("k"), "second");
  EXPECT_EQ(keys("").size(), 1u);
}

TEST_P(StoreContract, AKeyIsNoFolderOfAnother) {
  must_put("a/b", "x");
  must_put("c", "y");
  if (deviations().object_beside_folder) {
    must_put("a", "z");
    must_put("c/d", "z");
    EXPECT_EQ(keys("").size(), 4u);
  } else {
    EXPECT_CODE(put("a", "z"), Code::kConflict);
    EXPECT_CODE(put("c/d", "z"), Code::kConflict);
    EXPECT_EQ(keys("").size(), 2u);
  }
  EXPECT_EQ(read("a/b"), "x");
  EXPECT_EQ(read("c"), "y");
}

TEST_P(StoreContract, AbsentObjects) {
  auto sink = [](ByteView) -> Result<> { return {}; };
  must_put("file", "x");
  for (const char* key : {"absent", "absent/below", "file/below"}) {
    EXPECT_CODE(store().get(bounded(), key, {}, sink), Code::kNotFound);
    EXPECT_CODE(store().get(bounded(), key, {5, 10}, sink), Code::kNotFound);
    EXPECT_CODE(store().head(bounded(), key), Code::kNotFound);
    EXPECT_FALSE(*exists(store(), bounded(), key));
    EXPECT_TRUE(remove_one(store(), bounded(), key));
  }
  EXPECT_EQ(read("file"), "x");
}

TEST_P(StoreContract, NamesThatAreAllowed) {
  const std::string most = std::string(255, 'a') + "/" + std::string(254, 'b') + "/";
  std::vector<Key> names = {"A", "a", "0", "aA._=@+-", "-", "_", "=", "@", "+", "a..b", "a.", most + "c"};
  ASSERT_EQ(names.back().size(), 512u);
  for (const Key& name : names) must_put(name, "body of " + name);
  for (const Key& name : names) EXPECT_EQ(read(name), "body of " + name);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(keys(""), names);
}

TEST_P(StoreContract, NamesThatAreRefused) {
  auto sink = [](ByteView) -> Result<> { return {}; };
  const std::vector<Key> names = {
      "",
      "/",
      "/a",
      "a/",
      "a//b",
      ".",
      "..",
      "../a",
      "a/../b",
      "a/.b",
      ".a",
      "a b",
      "a\\b",
      "a\nb",
      "a:b",
      "a*",
      "\xc3\xa4",
      "a%41",
      "~a",
      std::string("a\0b", 3),
      std::string(256, 'a'),
      std::string(200, 'a') + "/" + std::string(200, 'a') + "/" + std::string(200, 'a')};
  for (const Key& name : names) {
    SCOPED_TRACE(name);
    EXPECT_CODE(check_key(name), Code::kUsage);
    EXPECT_CODE(put(name, "x"), Code::kUsage);
    EXPECT_CODE(store().get(bounded(), name, {}, sink), Code::kUsage);
    EXPECT_CODE(store().head(bounded(), name), Code::kUsage);
    EXPECT_CODE(remove_one(store(), bounded(), name), Code::kUsage);
  }
  EXPECT_TRUE(keys("").empty());
}

TEST_P(StoreContract, RemovalTellsForEachKey) {
  for (const char* key : {"a", "b", "c", "d/e"}) must_put(key, key);
  const std::vector<Key> asked = {"a", "absent", "../escape", "d/e", "a", "d"};
  auto results = store().remove(bounded(), asked);
  ASSERT_TRUE(results) << results.error().describe();
  ASSERT_EQ(results->size(), asked.size());
  for (size_t i = 0; i < asked.size(); ++i) {
    EXPECT_EQ((*results)[i].key, asked[i]);
    if (asked[i] == "../escape") {
      EXPECT_CODE((*results)[i].result, Code::kUsage);
    } else {
      EXPECT_TRUE((*results)[i].result) << asked[i];
    }
  }
  EXPECT_EQ(keys(""), (std::vector<Key>{"b", "c"}));
  EXPECT_CODE(store().head(bounded(), "a"), Code::kNotFound);
  EXPECT_TRUE(store().remove(bounded(), {})->empty());
  must_put("a", "again");  // a name is free after its removal
  EXPECT_EQ(read("a"), "again");
}

TEST_P(StoreContract, RemovingWhatIsUnfinishedKeepsWhatIsDone) {
  must_put("a", "x");
  must_put("packs/0b/b", std::string(100'000, 'y'));
  const auto removed = store().remove_unfinished(bounded(), std::chrono::seconds(-2));
  ASSERT_TRUE(removed) << removed.error().describe();
  EXPECT_EQ(keys(""), (std::vector<Key>{"a", "packs/0b/b"}));
  EXPECT_EQ(read("a"), "x");
  must_put("c", "after it");
}

TEST_P(StoreContract, Retention) {
  const auto unit = deviations().retention_unit;
  const Timestamp until(
      ((now() + std::chrono::hours(24)).time_since_epoch() + unit - Timestamp::duration(1)) / unit * unit);
  if (!store().capabilities().retention) {
    EXPECT_CODE(put_bytes(store(), bounded(), "k", as_bytes("x"), {.retain_until = until}),
                Code::kUnsupported);
    must_put("k2", "x");
    EXPECT_CODE(store().extend_retention(bounded(), "k2", until), Code::kUnsupported);
    EXPECT_EQ(keys(""), std::vector<Key>{"k2"});
    return;
  }
  ASSERT_TRUE(put_bytes(store(), bounded(), "k", as_bytes("x"), {.retain_until = until}));
  must_put("free", "x");
  auto held = [&](const Key& key) { return store().head(bounded(), key)->retain_until; };
  EXPECT_EQ(held("k"), until);
  EXPECT_EQ(held("free"), std::nullopt);
  const std::vector<Key> both = {"k", "free"};
  auto removed = store().remove(bounded(), both);
  ASSERT_TRUE(removed);
  EXPECT_CODE((*removed)[0].result, Code::kConflict);
  EXPECT_TRUE((*removed)[1].result);
  EXPECT_EQ(read("k"), "x");
  EXPECT_TRUE(store().extend_retention(bounded(), "k", until - std::chrono::hours(1)));
  EXPECT_EQ(held("k"), until) << "retention was shortened";
  EXPECT_TRUE(store().extend_retention(bounded(), "k", until + std::chrono::hours(1)));
  EXPECT_EQ(held("k"), until + std::chrono::hours(1));
  EXPECT_CODE(store().extend_retention(bounded(), "absent", until), Code::kNotFound);
  EXPECT_CODE(
      put_bytes(store(), bounded(), "past", as_bytes("x"), {.retain_until = now() - std::chrono::hours(1)}),
      Code::kUsage);
}

TEST_P(StoreContract, TheSinksErrorEndsAGet) {
  must_put("k", pattern(3 << 20, 4));
  int calls = 0;
  auto done = store().get(bounded(), "k", {}, [&](ByteView) -> Result<> {
    return ++calls == 2 ? Result<>(fail(Error{Code::kNoSpace, "enough"}.with_retry(Retry::kTransient)))
                        : Result<>();
  });
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kNoSpace);
  EXPECT_EQ(done.error().message, "enough");
  EXPECT_EQ(calls, 2);
}

TEST_P(StoreContract, StopAndDeadlineAreRespected) {
  auto sink = [](ByteView) -> Result<> { return {}; };
  must_put("k", pattern(3 << 20, 5));
  std::stop_source stopped;
  stopped.request_stop();
  Context stop = bounded();
  stop.stop = stopped.get_token();
  Context late = bounded();
  late.deadline = SteadyClock::now() - std::chrono::seconds(1);
  for (const auto& [ctx, code] : {std::pair{stop, Code::kInterrupted}, std::pair{late, Code::kUnreachable}}) {
    EXPECT_CODE(put_bytes(store(), ctx, "new", as_bytes("x")), code);
    EXPECT_CODE(store().get(ctx, "k", {}, sink), code);
    EXPECT_CODE(store().head(ctx, "k"), code);
    EXPECT_CODE(store().list(ctx, "", ""), code);
    EXPECT_CODE(remove_one(store(), ctx, "k"), code);
  }
  EXPECT_EQ(keys(""), std::vector<Key>{"k"});
  // In the middle of a body.
  std::stop_source source;
  Context ctx = bounded();
  ctx.stop = source.get_token();
  EXPECT_CODE(store().get(ctx, "k", {},
                          [&](ByteView) -> Result<> {
                            source.request_stop();
                            return {};
                          }),
              Code::kInterrupted);
}

}  // namespace varve::store
