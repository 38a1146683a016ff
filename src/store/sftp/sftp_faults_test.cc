// What goes wrong between us and a server, done to a real one.
#include <atomic>
#include <barrier>
#include <set>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "store/sftp/test_sshd.h"
#include "store/wrap/retry.h"

namespace varve::store {
namespace {

using namespace std::chrono_literals;

Context bounded(SteadyClock::duration d = 60s) {
  return Context{}.with_deadline(d);
}

std::string pattern(size_t size) {
  std::string out(size, '\0');
  uint64_t x = 88172645463325252ull;
  for (size_t i = 0; i + 8 <= size; i += 8) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    std::memcpy(out.data() + i, &x, 8);
  }
  return out;
}

std::string read(Store& s, const Key& key) {
  auto bytes = get_bytes(s, bounded(), key, 1 << 28);
  return bytes ? std::string(as_text(*bytes)) : "<" + bytes.error().describe() + ">";
}

std::vector<std::string> temporaries(const Sshd& sshd) {
  return os::list_directory(sshd.data() / ".varve-tmp").value_or(std::vector<std::string>{});
}

uint64_t bytes_in_temporaries(const Sshd& sshd) {
  uint64_t total = 0;
  for (const std::string& name : temporaries(sshd)) {
    const auto s = os::status(sshd.data() / ".varve-tmp" / name);
    if (s && *s) total += (*s)->size;
  }
  return total;
}

RetryOptions quick() {
  return {.first_delay = 5ms, .longest_delay = 50ms};
}

// Ends or freezes the connections once a put has sent so much.
std::jthread when_written(const Sshd& sshd, uint64_t bytes, int signal) {
  return std::jthread([&sshd, bytes, signal](const std::stop_token& stop) {
    while (!stop.stop_requested() && bytes_in_temporaries(sshd) < bytes) std::this_thread::sleep_for(3ms);
    sshd.signal_sessions(signal);
  });
}

TEST(SftpFaults, AConnectionKilledInTheMiddleOfAPut) {
  Sshd sshd;
  StorePtr store = sshd.must_open();
  const std::string body = pattern(24 << 20);
  {
    auto killer = when_written(sshd, 1 << 20, SIGKILL);
    auto put = put_bytes(*store, bounded(), "a/killed", as_bytes(body));
    ASSERT_FALSE(put);
    EXPECT_EQ(put.error().code, Code::kUnreachable);
    EXPECT_EQ(put.error().retry, Retry::kTransient) << put.error().describe();
  }
  EXPECT_EQ(store->head(bounded(), "a/killed").error().code, Code::kNotFound);
  EXPECT_EQ(temporaries(sshd).size(), 1u);
  store = with_retry(store, quick());
  auto killer = when_written(sshd, bytes_in_temporaries(sshd) + (1 << 20), SIGKILL);
  auto put = put_bytes(*store, bounded(), "a/killed", as_bytes(body));
  ASSERT_TRUE(put) << put.error().describe();
  killer.request_stop();
  EXPECT_TRUE(read(*store, "a/killed") == body);
  EXPECT_TRUE(temporaries(sshd).empty()) << "what the broken connections left is tidied away";
}

TEST(SftpFaults, AConnectionKilledInTheMiddleOfAGet) {
  Sshd sshd;
  StorePtr bare = sshd.must_open(), store = with_retry(bare, quick());
  const std::string body = pattern(24 << 20);
  ASSERT_TRUE(put_bytes(*store, bounded(), "k", as_bytes(body)));
  for (Store* s : {bare.get(), store.get()}) {
    std::string got;
    int kills = 0;
    auto size = s->get(bounded(), "k", {}, [&](ByteView part) -> Result<> {
      if (got.size() > 1 << 20 && kills++ == 0) {
        sshd.signal_sessions(SIGKILL);
        std::this_thread::sleep_for(20ms);
      }
      got += as_text(part);
      return {};
    });
    if (s == bare.get()) {
      ASSERT_FALSE(size);
      EXPECT_EQ(size.error().retry, Retry::kTransient) << size.error().describe();
      EXPECT_TRUE(body.starts_with(got));
    } else {
      ASSERT_TRUE(size) << size.error().describe();
      EXPECT_TRUE(got == body);
    }
  }
}

TEST(SftpFaults, IdleConnectionsThatEndedAreReplacedInSilence) {
  Sshd sshd;
  StorePtr store = sshd.must_open();
  ASSERT_TRUE(put_bytes(*store, bounded(), "k", as_bytes("x")));
  sshd.signal_sessions(SIGKILL);
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(read(*store, "k"), "x");
  sshd.stop();
  auto gone = store->head(bounded(), "k");
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().retry, Retry::kTransient) << gone.error().describe();
  sshd.start();
  EXPECT_EQ(read(*store, "k"), "x") << "the server was restarted";
}

TEST(SftpFaults, AServerThatIsDownWhileOpeningIsTriedAgainLater) {
  Sshd sshd;
  sshd.stop();
  auto store = sshd.open(sshd.settings());
  ASSERT_TRUE(store) << store.error().describe();
  EXPECT_EQ((*store)->head(bounded(), "k").error().retry, Retry::kTransient);
  sshd.start();
  EXPECT_TRUE(put_bytes(**store, bounded(), "k", as_bytes("x")));
}

TEST(SftpFaults, AFrozenServerIsGivenUp) {
  Sshd sshd;
  auto settings = sshd.settings();
  settings["stall_timeout"] = "1s";
  StorePtr store = sshd.open(settings).value();
  const std::string body = pattern(24 << 20);
  {
    auto freezer = when_written(sshd, 1 << 20, SIGSTOP);
    const auto begin = SteadyClock::now();
    auto put = put_bytes(*store, bounded(), "k", as_bytes(body));
    ASSERT_FALSE(put);
    EXPECT_EQ(put.error().retry, Retry::kTransient);
    EXPECT_NE(put.error().message.find("not answered"), std::string::npos) << put.error().describe();
    EXPECT_LT(SteadyClock::now() - begin, 30s);
  }
  sshd.signal_sessions(SIGKILL);
  ASSERT_TRUE(put_bytes(*store, bounded(), "k", as_bytes(body))) << "another connection";
  int parts = 0;
  auto get = store->get(bounded(), "k", {}, [&](ByteView) -> Result<> {
    if (++parts == 2) sshd.signal_sessions(SIGSTOP);
    return {};
  });
  ASSERT_FALSE(get);
  EXPECT_EQ(get.error().retry, Retry::kTransient) << get.error().describe();
  sshd.signal_sessions(SIGKILL);
}

TEST(SftpFaults, AStopAndADeadlineHoldWhileTheServerIsFrozen) {
  Sshd sshd;
  StorePtr store = sshd.must_open();
  ASSERT_TRUE(put_bytes(*store, bounded(), "k", as_bytes("x")));
  sshd.signal_sessions(SIGSTOP);
  std::stop_source source;
  Context ctx = bounded();
  ctx.stop = source.get_token();
  SteadyClock::time_point asked;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(300ms);
    asked = SteadyClock::now();
    source.request_stop();
  });
  auto head = store->head(ctx, "k");
  EXPECT_LT(SteadyClock::now() - asked, 1s);
  ASSERT_FALSE(head);
  EXPECT_EQ(head.error().code, Code::kInterrupted);
  stopper.join();
  sshd.signal_sessions(SIGKILL);
  ASSERT_TRUE(store->head(bounded(), "k"));
  sshd.signal_sessions(SIGSTOP);
  const auto begin = SteadyClock::now();
  EXPECT_EQ(store->head(bounded(500ms), "k").error().code, Code::kUnreachable);
  EXPECT_LT(SteadyClock::now() - begin, 3s);
  sshd.signal_sessions(SIGKILL);
}

TEST(SftpFaults, KeysAreAgreedOnAnewInTheMiddle) {
  Sshd sshd({"RekeyLimit 1M"});
  StorePtr store = sshd.must_open();
  const std::string body = pattern(16 << 20);
  auto put = put_bytes(*store, bounded(), "k", as_bytes(body));
  ASSERT_TRUE(put) << put.error().describe() << sshd.log();
  EXPECT_TRUE(read(*store, "k") == body);
  EXPECT_EQ(sshd.sessions().size(), 1u) << "it took one connection, and not several";
}

// 12 connections of their own at once: of link and of rename, one wins. What the driver builds on.
TEST(SftpFaults, NamingIsExclusiveAtTheServer) {
  constexpr int kRacers = 12;
  Sshd sshd({"MaxStartups 100"});
  const sftp::Options options = sftp::read_options(sshd.place(sshd.settings())).value();
  std::vector<std::unique_ptr<net::Sftp>> racers;
  for (int i = 0; i < kRacers; ++i) racers.push_back(net::Sftp::connect(bounded(), options.ssh).value());
  for (int round = 0; round < 40; ++round) {
    const std::string target = (sshd.data() / fmt::format("target{}", round)).native();
    std::atomic<int> won = 0, winner = -1;
    std::barrier start(kRacers);
    {
      std::vector<std::jthread> threads;
      for (int i = 0; i < kRacers; ++i) {
        threads.emplace_back([&, i] {
          const std::string mine = (sshd.data() / fmt::format("mine{}-{}", round, i)).native();
          const std::string text = std::to_string(i);
          const ByteView body[] = {as_bytes(text)};
          net::Sftp& sftp = *racers[static_cast<size_t>(i)];
          EXPECT_TRUE(sftp.write_new(bounded(), mine, body, 0600));
          start.arrive_and_wait();
          auto named =
              round % 2 == 0 ? sftp.rename(bounded(), mine, target) : sftp.link(bounded(), mine, target);
          EXPECT_TRUE(sftp.usable());
          if (named) ++won, winner = i;
        });
      }
    }
    ASSERT_EQ(won, 1) << "round " << round;
    EXPECT_EQ(as_text(os::read_file(target, 100).value()), std::to_string(winner));
  }
}

TEST(SftpFaults, TwoClientsRaceTwelveFold) {
  Sshd sshd;
  StorePtr clients[] = {sshd.must_open(), sshd.must_open()};
  for (int round = 0; round < 10; ++round) {
    const Key key = fmt::format("race/{}/here", round);
    std::atomic<int> won = 0, lost = 0, winner = -1;
    std::barrier start(12);
    {
      std::vector<std::jthread> threads;
      for (int i = 0; i < 12; ++i) {
        threads.emplace_back([&, i] {
          start.arrive_and_wait();
          auto put = put_bytes(*clients[i % 2], bounded(), key, as_bytes(std::to_string(i)));
          if (put) ++won, winner = i;
          if (!put && put.error().code == Code::kExists) ++lost;
        });
      }
    }
    ASSERT_EQ(won, 1);
    ASSERT_EQ(lost, 11);
    EXPECT_EQ(read(*clients[0], key), std::to_string(winner));
  }
  EXPECT_TRUE(temporaries(sshd).empty());
}

TEST(SftpFaults, AFullDiskIsSaidToBeFull) {
  Sshd sshd;
  ASSERT_EQ(::mount("tmpfs", sshd.data().c_str(), "tmpfs", 0, "size=4m"), 0)
      << "to run this as root is needed";
  std::shared_ptr<void> unmount(nullptr, [&](void*) { ::umount2(sshd.data().c_str(), MNT_DETACH); });
  StorePtr store = sshd.must_open();
  ASSERT_TRUE(put_bytes(*store, bounded(), "small", as_bytes("x")));
  auto put = put_bytes(*store, bounded(), "large", as_bytes(pattern(8 << 20)));
  ASSERT_FALSE(put);
  EXPECT_EQ(code_name(put.error().code), code_name(Code::kNoSpace)) << put.error().describe();
  EXPECT_TRUE(temporaries(sshd).empty());
  EXPECT_TRUE(put_bytes(*store, bounded(), "small2", as_bytes("x"))) << "the connection goes on";
  // The disk goes away, and what is below it is not the repository.
  unmount.reset();
  auto lost = put_bytes(*store, bounded(), "small3", as_bytes("x"));
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code, Code::kUnreachable) << lost.error().describe();
  EXPECT_NE(lost.error().hint.find("mount"), std::string::npos);
  EXPECT_TRUE(os::list_directory(sshd.data())->empty());
}

TEST(SftpFaults, FoldersThatAreNotThere) {
  Sshd sshd;
  ASSERT_TRUE(os::remove_directory(sshd.data()));
  auto absent = sshd.open(sshd.settings(), false);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, Code::kNotFound) << absent.error().describe();
  ASSERT_TRUE(sshd.open(sshd.settings(), true));
  EXPECT_TRUE((*os::status(sshd.data()))->is_directory);
  EXPECT_EQ((*os::status(sshd.data()))->mode & 0777, 0700u);
  ASSERT_TRUE(os::remove_directory(sshd.data()));
  std::ofstream(sshd.data()) << "x";
  EXPECT_EQ(sshd.open(sshd.settings(), true).error().code, Code::kUsage);
}

TEST(SftpFaults, LinksAreNotFollowed) {
  Sshd sshd;
  StorePtr store = sshd.must_open();
  const os::Path outside = sshd.dir() / "outside", root = sshd.data();
  ASSERT_TRUE(os::make_directories(outside));
  std::ofstream(outside / "secret") << "secret";
  ASSERT_EQ(::symlink(outside.c_str(), (root / "packs").c_str()), 0);
  ASSERT_EQ(::symlink((outside / "secret").c_str(), (root / "file").c_str()), 0);
  auto put = [&](const Key& key, PutMode mode) {
    return put_bytes(*store, bounded(), key, as_bytes("y"), {.mode = mode});
  };
  for (const auto& refused :
       {put("packs/new", PutMode::kCreateOnly), put("file", PutMode::kUnconditional),
        remove_one(*store, bounded(), "packs/secret"), remove_one(*store, bounded(), "file")}) {
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kDenied);
    EXPECT_NE(refused.error().message.find("symbolic link"), std::string::npos);
  }
  EXPECT_EQ(store->head(bounded(), "packs/secret").error().code, Code::kDenied);
  EXPECT_EQ(get_bytes(*store, bounded(), "file", 100).error().code, Code::kDenied);
  for (const char* prefix : {"", "packs/", "packs/s", "fi"})
    EXPECT_EQ(store->list(bounded(), prefix, "").error().code, Code::kDenied) << prefix;
  EXPECT_EQ(*os::list_directory(outside), std::vector<std::string>{"secret"});
}

TEST(SftpFaults, WhatIsNoObjectIsNotListed) {
  Sshd sshd;
  StorePtr store = sshd.must_open();
  ASSERT_TRUE(put_bytes(*store, bounded(), "a/b", as_bytes("x")));
  const os::Path root = sshd.data();
  EXPECT_EQ((*os::status(root / "a/b"))->mode & 0777, 0400u);
  EXPECT_EQ((*os::status(root / "a"))->mode & 0777, 0700u);
  EXPECT_EQ((*os::status(root / ".varve-tmp"))->mode & 0777, 0700u);
  ASSERT_TRUE(os::make_directories(root / "empty"));
  std::ofstream(root / ".hidden") << "x";
  std::ofstream(root / "a/with space") << "x";
  ASSERT_EQ(::mkfifo((root / "a/fifo").c_str(), 0600), 0);
  auto page = store->list(bounded(), "", "");
  ASSERT_TRUE(page);
  ASSERT_EQ(page->objects.size(), 1u);
  EXPECT_EQ(page->objects[0].key, "a/b");
  EXPECT_EQ(store->head(bounded(), "a/fifo").error().code, Code::kNotFound);
}

TEST(SftpFaults, LeftOversOfCrashesGoAfterADay) {
  Sshd sshd;
  StorePtr store = sshd.must_open();
  ASSERT_TRUE(put_bytes(*store, bounded(), "a", as_bytes("x")));
  for (const char* name : {"old", "young"}) std::ofstream(sshd.data() / ".varve-tmp" / name) << "x";
  const timeval long_ago[2] = {{::time(nullptr) - 25 * 3600, 0}, {::time(nullptr) - 25 * 3600, 0}};
  ASSERT_EQ(::utimes((sshd.data() / ".varve-tmp/old").c_str(), long_ago), 0);
  store = sshd.must_open();
  EXPECT_EQ(read(*store, "a"), "x");
  EXPECT_EQ(temporaries(sshd).size(), 2u) << "reading changes nothing";
  ASSERT_TRUE(put_bytes(*store, bounded(), "b", as_bytes("x")));
  EXPECT_EQ(temporaries(sshd), std::vector<std::string>{"young"});
  // Or when somebody asks for it; more than one answer lists.
  for (int i = 0; i < 600; ++i) {
    const auto old = sshd.data() / fmt::format(".varve-tmp/old-{}", i);
    std::ofstream(old) << "x";
    ASSERT_EQ(::utimes(old.c_str(), long_ago), 0);
  }
  EXPECT_EQ(store->remove_unfinished(bounded(), std::chrono::hours(26)).value(), 0u);
  EXPECT_EQ(store->remove_unfinished(bounded(), std::chrono::hours(24)).value(), 600u);
  EXPECT_EQ(temporaries(sshd), std::vector<std::string>{"young"});
  EXPECT_EQ(read(*store, "a") + read(*store, "b"), "xx");
}

// As the server's kernel sees it: the file is synced before it has its name, its folder after.
TEST(SftpFaults, APutIsDurableWhenItReturns) {
  Sshd sshd;
  StorePtr store = sshd.must_open();
  ASSERT_TRUE(put_bytes(*store, bounded(), "a/before", as_bytes("x")));
  const auto sessions = sshd.sessions();
  ASSERT_EQ(sessions.size(), 1u);
  const os::Path trace = sshd.dir() / "trace";
  Child strace({"/usr/bin/strace", "-f", "-y", "-p", std::to_string(sftp_server_of(sessions[0])), "-o",
                trace.native(), "-e", "trace=fsync,link,linkat,unlink,unlinkat"});
  ASSERT_TRUE(is_traced(sftp_server_of(sessions[0])));
  ASSERT_TRUE(put_bytes(*store, bounded(), "a/k", as_bytes("x")));
  ASSERT_TRUE(remove_one(*store, bounded(), "a/k"));
  std::vector<std::string> calls;
  std::ifstream file(trace);
  for (std::string line; std::getline(file, line);) calls.push_back(line);
  const std::string root = sshd.data().native();
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"fsync(", root + "/.varve-tmp/"}, {"link", root + "/a/k"},     {"fsync(", root + "/a>"},
      {"unlink", root + "/.varve-tmp/"}, {"unlink", root + "/a/k\""}, {"fsync(", root + "/a>"}};
  size_t at = 0;
  for (const auto& [call, path] : expected) {
    while (at < calls.size() &&
           (calls[at].find(" " + call) == std::string::npos || calls[at].find(path) == std::string::npos))
      ++at;
    ASSERT_LT(at, calls.size()) << call << " of " << path << " is missing in\n"
                                << ::testing::PrintToString(calls);
    ++at;
  }
}

}  // namespace
}  // namespace varve::store
