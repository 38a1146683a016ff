// Part of store_contract.h: many threads and clients at once.
#pragma once

namespace varve::store {

TEST_P(StoreContract, OfRacingPutsOneWins) {
  constexpr int kThreads = 16;
  for (int round = 0; round < deviations().race_rounds; ++round) {
    const Key key = fmt::format("race/{}/here", round);
    std::atomic<int> winners = 0, winner = -1;
    std::barrier start(kThreads);
    std::vector<std::string> wrong(kThreads);
    {
      std::vector<std::jthread> threads;
      for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
          const std::string body = pattern(1000 + static_cast<size_t>(t), static_cast<uint64_t>(t));
          start.arrive_and_wait();
          auto done = put(key, body);
          if (done) {
            ++winners;
            winner = t;
          } else if (done.error().code != Code::kExists) {
            wrong[static_cast<size_t>(t)] = done.error().describe();
          }
        });
      }
    }
    EXPECT_THAT(wrong, ::testing::Each(""));
    if (deviations().racing_puts_may_all_win) {
      ASSERT_GE(winners, 1) << "round " << round;
      continue;
    }
    ASSERT_EQ(winners, 1) << "round " << round;
    EXPECT_TRUE(read(key) ==
                pattern(1000 + static_cast<size_t>(winner), static_cast<uint64_t>(winner.load())));
  }
}

TEST_P(StoreContract, RacingClientsToo) {
  for (int round = 0; round < deviations().race_rounds; ++round) {
    const Key key = fmt::format("race{}", round);
    StorePtr other = place_.another_client();
    ASSERT_NE(other, nullptr);
    std::barrier start(2);
    Result<> ours, theirs;
    {
      std::jthread a([&] {
        start.arrive_and_wait();
        ours = put(key, "ours");
      });
      std::jthread b([&] {
        start.arrive_and_wait();
        theirs = put_bytes(*other, bounded(), key, as_bytes("theirs"));
      });
    }
    if (deviations().racing_puts_may_all_win) {
      ASSERT_TRUE(ours || theirs);
      continue;
    }
    ASSERT_NE(ours.has_value(), theirs.has_value());
    EXPECT_CODE(ours ? theirs : ours, Code::kExists);
    EXPECT_EQ(read(key), ours ? "ours" : "theirs");
    EXPECT_EQ(read(*other, key), ours ? "ours" : "theirs");
  }
}

TEST_P(StoreContract, AnotherClientAgrees) {
  StorePtr other = place_.another_client();
  ASSERT_NE(other, nullptr);
  EXPECT_CODE(other->head(bounded(), "k"), Code::kNotFound);
  must_put("k", "x");
  EXPECT_EQ(read(*other, "k"), "x");
  EXPECT_EQ(other->list(bounded(), "", "")->objects.size(), 1u);
  EXPECT_CODE(put_bytes(*other, bounded(), "k", as_bytes("y")), Code::kExists);
  ASSERT_TRUE(remove_one(*other, bounded(), "k"));
  EXPECT_CODE(store().head(bounded(), "k"), Code::kNotFound);
  EXPECT_TRUE(keys("").empty());
}

// While a large put runs, a reader sees nothing of it; from the moment it sees anything, all of it.
TEST_P(StoreContract, APutIsSeenWholeOrNotAtAll) {
  const std::string body = pattern(deviations().large_object / 4, 9);
  for (int round = 0; round < 2; ++round) {
    const Key key = fmt::format("atomic/{}", round);
    std::atomic<bool> done = false;
    std::jthread writer([&] {
      auto result = put(key, body);
      EXPECT_TRUE(result) << result.error().describe();
      done = true;
    });
    for (bool last = false; !last;) {
      last = done;
      auto page = store().list(bounded(), "atomic/", "");
      ASSERT_TRUE(page) << page.error().describe();
      for (const ObjectInfo& o : page->objects) EXPECT_EQ(o.size, body.size());
      auto info = store().head(bounded(), key);
      if (!info) {
        EXPECT_EQ(info.error().code, Code::kNotFound) << info.error().describe();
        EXPECT_FALSE(last) << "returned, and not to be seen";
        continue;
      }
      EXPECT_EQ(info->size, body.size());
      EXPECT_EQ(read(key, {body.size() - 100, 100}), body.substr(body.size() - 100));
    }
    EXPECT_TRUE(read(key) == body);
  }
}

TEST_P(StoreContract, ManyThreadsAtOnce) {
  constexpr int kThreads = 8, kObjects = 12;
  std::vector<std::string> wrong(kThreads);
  auto work = [&](int t) -> Result<> {
    for (int i = 0; i < kObjects; ++i) {
      const Key key = fmt::format("mixed/{}/{}", i % 3, t * 100 + i);
      const std::string body = pattern(static_cast<size_t>(i * i * 500), static_cast<uint64_t>(t * 100 + i));
      TRY_OK(put(key, body));
      if (read(key) != body) return fail(Code::kDamaged, key + " reads otherwise");
      TRY_ASSIGN(const auto info, store().head(bounded(), key));
      if (info.size != body.size()) return fail(Code::kDamaged, key + " has another size");
      bool listed = false;
      TRY_OK(
          for_each(store(), bounded(), fmt::format("mixed/{}/", i % 3), [&](const ObjectInfo& o) -> Result<> {
            listed = listed || o.key == key;
            return {};
          }));
      if (!listed) return fail(Code::kDamaged, key + " is not listed");
      if (i % 2 == 0) {
        TRY_OK(remove_one(store(), bounded(), key));
        TRY_ASSIGN(const bool there, exists(store(), bounded(), key));
        if (there) return fail(Code::kDamaged, key + " is there after its removal");
      }
    }
    return {};
  };
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        if (auto done = work(t); !done) wrong[static_cast<size_t>(t)] = done.error().describe();
      });
    }
  }
  EXPECT_THAT(wrong, ::testing::Each(""));
  EXPECT_EQ(keys("").size(), size_t{kThreads * kObjects / 2});
}

}  // namespace varve::store
