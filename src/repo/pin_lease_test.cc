#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "repo/events.h"
#include "repo/hold.h"
#include "repo/lease.h"
#include "repo/manifest.h"
#include "repo/pin.h"
#include "repo/repository_for_test.h"
#include "store/wrap/fault.h"

namespace varve::repo {
namespace {

using std::chrono::hours;
using testing::HasSubstr;

// Runs `work` in a process of its own, to its end.
void in_another_process(const std::function<bool()>& work) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) ::_exit(work() ? 0 : 1);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
}

class OnDisk : public testing::Test {
 protected:
  os::TempDir dir = *os::TempDir::create();
  RepositoryPtr repo =
      *Repository::create({}, *store::LocalStore::open(dir.path() / "r", true), {}, {Encryption::kNone});
};

TEST(PinTest, StandsUntilItIsReleased) {
  TestRepository t;
  EXPECT_TRUE(list_pins(*t.repo, {})->empty());
  auto pin = Pin::take(t.repo, {}, "app", "backup");
  ASSERT_TRUE(pin);
  auto pins = list_pins(*t.repo, {});
  ASSERT_TRUE(pins);
  ASSERT_EQ(pins->size(), 1u);
  EXPECT_EQ(pins->front().source, "app");
  EXPECT_EQ(pins->front().what, "backup");
  EXPECT_EQ(pins->front().writer, pin->writer());
  EXPECT_EQ(os::liveness(pins->front().process), os::Liveness::kAlive);
  EXPECT_TRUE(pin->check_standing({}));
  EXPECT_TRUE(pin->release({}));
  EXPECT_TRUE(pin->release({}));
  EXPECT_TRUE(list_pins(*t.repo, {})->empty());
  EXPECT_EQ(pin->check_standing({}).error().code, Code::kConflict);
}

TEST(PinTest, ACrashLeavesItStanding) {
  TestRepository t;
  { ASSERT_TRUE(Pin::take(t.repo, {}, "app", "backup")); }
  EXPECT_EQ(list_pins(*t.repo, {})->size(), 1u);
}

TEST(PinTest, AnUnreadableOneIsAnError) {
  TestRepository t;
  auto a = Pin::take(t.repo, {}, "app", "backup"), b = Pin::take(t.repo, {}, "app", "backup");
  t.overwrite(pin_key(b->writer()), t.bytes(pin_key(a->writer())));
  EXPECT_EQ(list_pins(*t.repo, {}).error().code, Code::kDamaged);
}

TEST(LeaseTest, OneAtATime) {
  TestRepository t;
  EXPECT_FALSE(*current_lease(*t.repo, {}, "app"));
  auto first = Lease::take(t.repo, {}, "app", "follow", hours(1));
  ASSERT_TRUE(first) << first.error().describe();
  auto second = Lease::take(t.repo, {}, "app", "follow", hours(1));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kConflict);
  EXPECT_THAT(second.error().message, HasSubstr(os::self_identity().host));
  EXPECT_THAT(second.error().message, HasSubstr(std::to_string(::getpid())));
  EXPECT_TRUE(Lease::take(t.repo, {}, "other", "follow", hours(1)));
  ASSERT_TRUE(first->renew({}));
  ASSERT_TRUE(first->renew({}));
  auto current = current_lease(*t.repo, {}, "app");
  ASSERT_TRUE(current && *current);
  EXPECT_EQ((*current)->number, 3u);
  EXPECT_TRUE(is_live(**current, now()));
  EXPECT_EQ(t.names("leases/app/").size(), 1u) << "renewals leave nothing behind";
  ASSERT_TRUE(first->release({}));
  EXPECT_FALSE(is_live(**current_lease(*t.repo, {}, "app"), now()));
  EXPECT_TRUE(Lease::take(t.repo, {}, "app", "follow", hours(1)));
  EXPECT_TRUE(first->release({})) << "not ours any more: nothing happens";
  EXPECT_TRUE(is_live(**current_lease(*t.repo, {}, "app"), now()));
}

TEST(LeaseTest, AnExpiredOneIsTakenAndItsHolderIsTold) {
  TestRepository t;
  auto sleeper = Lease::take(t.repo, {}, "app", "follow", Seconds(-1));
  ASSERT_TRUE(sleeper);
  ASSERT_TRUE(sleeper->renew({})) << "nobody took it: it goes on";
  auto next = Lease::take(t.repo, {}, "app", "follow", hours(1));
  ASSERT_TRUE(next);
  auto lost = sleeper->renew({});
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code, Code::kConflict);
  EXPECT_TRUE(next->renew({}));
}

TEST_F(OnDisk, ADeadHoldersLeaseIsTakenAtOnceAndItsPinIsKnown) {
  in_another_process([&] {
    return Lease::take(repo, {}, "app", "follow", hours(1)).has_value() &&
           Pin::take(repo, {}, "app", "backup").has_value();
  });
  auto lease = current_lease(*repo, {}, "app");
  ASSERT_TRUE(lease && *lease);
  EXPECT_FALSE(is_live(**lease, now()));
  EXPECT_TRUE(Lease::take(repo, {}, "app", "follow", hours(1)));
  EXPECT_EQ(os::liveness(list_pins(*repo, {})->front().process), os::Liveness::kDead);
}

TEST(LeaseTest, TellsWhetherTheOneBeforeIsSureToHaveEnded) {
  TestRepository t;
  auto first = Lease::take(t.repo, {}, "app", "follow", hours(1));
  ASSERT_TRUE(first);
  EXPECT_FALSE(first->others_have_ended());  // nothing is known
  ASSERT_TRUE(first->release({}));
  auto second = Lease::take(t.repo, {}, "app", "follow", Seconds(1));
  ASSERT_TRUE(second);
  EXPECT_TRUE(second->others_have_ended());
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  auto third = Lease::take(t.repo, {}, "app", "follow", hours(1));  // second's process is this one, and lives
  ASSERT_TRUE(third);
  EXPECT_FALSE(third->others_have_ended());
}

TEST(LeaseTest, OfManyTakersOneWins) {
  for (int round = 0; round < 10; ++round) {
    TestRepository t(Encryption::kNone);
    if (round % 2 == 1) {
      ASSERT_TRUE(Lease::take(t.repo, {}, "app", "follow", Seconds(-1)));
    }
    std::atomic<int> won{0};
    {
      std::vector<std::jthread> takers;
      for (int i = 0; i < 8; ++i)
        takers.emplace_back([&] {
          auto lease = Lease::take(t.repo, {}, "app", "follow", hours(1));
          won += lease.has_value();
          EXPECT_TRUE(lease || lease.error().code == Code::kConflict) << lease.error().describe();
        });
    }
    EXPECT_EQ(won, 1);
  }
}

// The taker has seen an expired lease and sleeps, while others take, renew and remove the very number it will
// put.
TEST(LeaseTest, ATakerThatSleptWinsNothing) {
  TestRepository t;
  ASSERT_TRUE(Lease::take(t.repo, {}, "app", "follow", Seconds(-1)));
  auto slow = std::make_shared<store::FaultStore>(t.mem);
  auto sleepy = t.open(slow);
  ASSERT_TRUE(sleepy);
  std::optional<Lease> other;
  slow->set_policy([&](const store::StoreCall& call) {
    if (!other && call.kind == store::CallKind::kPut) {
      auto lease = Lease::take(t.repo, {}, "app", "follow", hours(1));
      EXPECT_TRUE(lease);
      if (lease) other.emplace(std::move(*lease));
      for (int i = 0; i < 3; ++i) EXPECT_TRUE(other->renew({}));
    }
    return store::Fault{};
  });
  EXPECT_EQ(Lease::take(*sleepy, {}, "app", "follow", hours(1)).error().code, Code::kConflict);
  EXPECT_TRUE(other->renew({}));
  EXPECT_EQ(t.names("leases/app/").size(), 1u);
}

TEST(LeaseTest, OneThatCannotBeReadHoldsNobodyUp) {
  TestRepository t;
  ASSERT_TRUE(Lease::take(t.repo, {}, "app", "follow", hours(1)));
  t.overwrite(t.names("leases/app/").front(), as_bytes("rot"));
  EXPECT_EQ(current_lease(*t.repo, {}, "app").error().code, Code::kDamaged);
  EXPECT_TRUE(Lease::take(t.repo, {}, "app", "follow", hours(1)));
}

TEST(EventsTest, AreKeptInOrderWithWhoAndWhen) {
  TestRepository t;
  const Timestamp before = now();
  AuditEvent e;
  e.what = "backup";
  e.source = "app";
  e.outcome = "done";
  record_event(*t.repo, {}, e);
  e.what = "restore";
  e.detail = "caf\xe9";
  std::stop_source stop;
  stop.request_stop();
  Context stopped;
  stopped.stop = stop.get_token();
  record_event(*t.repo, stopped, e);
  for (Timestamp since : {before, before - hours(24 * 400)}) {
    auto events = list_events(*t.repo, {}, since);
    ASSERT_TRUE(events) << events.error().describe();
    ASSERT_EQ(events->size(), 2u) << "the interrupted one is told, too";
    EXPECT_EQ((*events)[0].what, "backup");
    EXPECT_EQ((*events)[1].what, "restore");
    EXPECT_GE((*events)[0].time, before);
    EXPECT_EQ((*events)[0].user, current_user());
    EXPECT_FALSE((*events)[0].host.empty());
    EXPECT_EQ((*events)[0].varve_version, VARVE_VERSION);
  }
  EXPECT_TRUE(list_events(*t.repo, {}, now() + Seconds(1))->empty());
  t.overwrite(t.names("events/").front(), as_bytes("rot"));
  EXPECT_EQ(list_events(*t.repo, {}, before)->size(), 1u);
}

TEST(EventsTest, AFailureToRecordIsNotAFailure) {
  TestRepository t;
  auto full = std::make_shared<store::FaultStore>(t.mem);
  auto repo = t.open(full);
  full->set_policy(store::full_from(1));
  AuditEvent e;
  e.what = "backup";
  record_event(**repo, {}, e);
  EXPECT_TRUE(t.names("events/").empty());
}

TEST(HoldTest, PlacedOnceReleasedOnce) {
  TestRepository t;
  EXPECT_EQ(place_hold(*t.repo, {}, "app", "b1", "audit").error().code, Code::kNotFound);
  ASSERT_TRUE(t.repo->put_object({}, "manifest", manifest_key("app", "b1"), as_bytes("x")));
  ASSERT_TRUE(t.repo->put_object({}, "manifest", manifest_key("app", "b2"), as_bytes("x")));
  ASSERT_TRUE(place_hold(*t.repo, {}, "app", "b1", "audit"));
  EXPECT_EQ(place_hold(*t.repo, {}, "app", "b1", "again").error().code, Code::kExists);
  ASSERT_TRUE(place_hold(*t.repo, {}, "app", "b2", ""));
  t.overwrite(hold_key("app", "b2"), as_bytes("rot"));
  auto holds = list_holds(*t.repo, {}, "app");
  ASSERT_TRUE(holds);
  ASSERT_EQ(holds->size(), 2u);
  EXPECT_EQ((*holds)[0].backup, "b1");
  EXPECT_EQ((*holds)[0].reason, "audit");
  EXPECT_EQ((*holds)[0].user, current_user());
  EXPECT_EQ((*holds)[1].backup, "b2") << "counts also when it cannot be read";
  EXPECT_TRUE(release_hold(*t.repo, {}, "app", "b1"));
  EXPECT_EQ(release_hold(*t.repo, {}, "app", "b1").error().code, Code::kNotFound);
  EXPECT_EQ(release_hold(*t.repo, {}, "../x", "b1").error().code, Code::kUsage);
  EXPECT_EQ(list_holds(*t.repo, {}, "app")->size(), 1u);
}

}  // namespace
}  // namespace varve::repo
