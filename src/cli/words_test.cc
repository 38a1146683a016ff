#include "cli/words.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/report.h"

namespace varve::cli {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::Not;

const Timestamp kNow = parse_rfc3339("2026-11-23T14:32:05Z").value();

class WordsTest : public testing::Test {
 protected:
  WordsTest() {
    setenv("TZ", "UTC", 1);
    tzset();
  }
};

repo::Manifest manifest(const std::string& id, const std::string& type, Timestamp moment) {
  repo::Manifest m;
  m.id = id;
  m.source = "app-3f9a1c04";
  m.engine = "sqlite";
  m.type = type;
  m.address = "sqlite:/srv/app.db";
  m.started = m.moment = moment;
  m.finished = moment + seconds(4);
  m.size = 1288490189;
  m.read = 1288490189;
  m.stored = 310ull << 20;
  return m;
}

TEST_F(WordsTest, WhenIsShortOnTheSameDay) {
  EXPECT_EQ(when(kNow - hours(2), kNow), "12:32:05");
  EXPECT_EQ(when(kNow - hours(24), kNow), "2026-11-22 14:32:05 +00:00");
}

TEST_F(WordsTest, Took) {
  EXPECT_EQ(took(0.34), "0.3 s");
  EXPECT_EQ(took(64), "1 min 4 s");
}

TEST_F(WordsTest, BackedUp) {
  EXPECT_EQ(backed_up(manifest("x", "full", kNow), 4.2, kNow),
            "backed up app.db (app-3f9a1c04): full, 1.2 GiB read, 310 MiB stored in 4.2 s; recoverable to "
            "14:32:05");
}

TEST_F(WordsTest, RestoredTellsTheTransactionOnly) {
  backup::RestoreReport r;
  r.source = "app";
  r.target = "/srv/back.db";
  r.point = "txn:42";
  r.moment = kNow;
  r.files = 1;
  r.bytes = 1 << 20;
  r.fetched = 1 << 19;
  r.commits = 1;
  r.seconds = 0.5;
  EXPECT_EQ(
      restored(r, kNow),
      "restored app to /srv/back.db, as of 14:32:05 (txn:42): 1.0 MiB written, 512 KiB fetched, 1 commit "
      "replayed in 0.5 s");
  r.point = "wal:00:0";
  EXPECT_THAT(restored(r, kNow), Not(HasSubstr("wal:")));
}

TEST_F(WordsTest, WindowsAndHolds) {
  backup::SourceState state;
  state.source = "app";
  state.backups.manifests = {manifest("20261123-1", "full", kNow - hours(3)),
                             manifest("20261123-2", "incremental", kNow)};
  state.held = {"20261123-1"};
  state.windows = {{kNow - hours(3), kNow - hours(3), "", 0, 0, false},
                   {kNow - hours(1), kNow, "20261123-2", 1, 42, true}};
  const std::string text = source_text(state, kNow, Style{});
  EXPECT_THAT(text,
              HasSubstr("20261123-1  full         2026-11-23 11:32:05 +00:00  1.2 GiB  310 MiB  held\n"));
  EXPECT_THAT(text,
              HasSubstr("  any moment can be recovered from\n    13:32:05 to 14:32:05, followed now\n"));
  EXPECT_THAT(text, Not(HasSubstr("11:32:05 to")));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

TEST_F(WordsTest, ManyWindowsOfOneLogAreOneLine) {
  backup::SourceState state;
  state.source = "app";
  for (int i = 0; i < 9; ++i)
    state.windows.push_back({kNow - hours(9 - i), kNow - hours(9 - i) + Seconds(2), "e", 1, 42, false});
  state.windows.push_back({kNow, kNow + Seconds(3), "f", 43, 50, true});
  EXPECT_THAT(
      source_text(state, kNow, Style{}),
      HasSubstr("    05:32:05 to 13:32:07, but for 8 stretches that nobody followed; --json tells them\n"
                "    14:32:05 to 14:32:08, followed now\n"));
}

TEST_F(WordsTest, ADamagedSourceSaysSo) {
  backup::SourceState state;
  state.source = "app\x1b[31m";
  state.backups.unreadable = {{"sources/app/backups/x", Error{Code::kDamaged, "it does not authenticate"}}};
  backup::EpochLog log;
  log.epoch = "20261123-143205-log-3f9a";
  log.last = 9;
  log.gap = true;
  log.gap_after = 7;
  state.epochs.push_back(log);
  const std::string text = source_text(state, kNow, Style{});
  EXPECT_THAT(text, HasSubstr("no readable backup"));
  EXPECT_THAT(text, HasSubstr("unreadable sources/app/backups/x: it does not authenticate"));
  EXPECT_THAT(text, HasSubstr("gap in the log of 20261123-143205-log-3f9a after txn:7"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

TEST_F(WordsTest, HistoryLinesUp) {
  const engine::Event event{kNow, "txn:731", "", "delete", "orders", 48210};
  EXPECT_EQ(history_line(event),
            "2026-11-23 14:32:05 +00:00  txn:731       delete            48,210  orders");
  EXPECT_TRUE(is_destructive(event));
  EXPECT_EQ(history_header(Style{}).find("table"), history_line(event).find("orders"));
}

TEST_F(WordsTest, VerifiedTellsWhatIsStillRestorable) {
  backup::VerifyReport r;
  r.objects = 1234;
  r.bytes = 5 << 20;
  r.problems = {{"packs/0b/x", "damaged", "one bit is wrong", {"app/b2"}}};
  r.restorable = {"app/b1"};
  r.broken = {"app/b2"};
  const std::string text = verified(r, 1, Style{});
  EXPECT_THAT(text, HasSubstr("checked 1,234 objects, 5.0 MiB in 1.0 s: 1 problem\n"));
  EXPECT_THAT(text, HasSubstr("damaged packs/0b/x: one bit is wrong\n      affects app/b2\n"));
  EXPECT_THAT(text, HasSubstr("still restorable: 1 of 2 backups\n  whole  app/b1\n  broken app/b2\n"));
}

TEST(TableTest, AlignsByWhatATerminalShows) {
  Table table({{"name", Table::Align::kLeft}, {"size", Table::Align::kRight}, {"", Table::Align::kLeft}});
  const Style colours{true};
  table.add({"café", colours.red("1 B"), ""});
  table.add({"x", "100 MiB", "held"});
  EXPECT_EQ(table.render(Style{}, 0), "name     size\ncafé      \x1b[31m1 B\x1b[0m\nx     100 MiB  held\n");
  EXPECT_EQ(display_width("\x1b[1mcafé\x1b[0m"), 4u);
}

// --- status ---

repo::AuditEvent event(const char* what, Timestamp time, const char* outcome, const std::string& detail = {},
                       const std::string& source = {}) {
  repo::AuditEvent e;
  e.what = what;
  e.time = time;
  e.outcome = outcome;
  e.detail = detail;
  e.source = source;
  return e;
}

TEST(StatusTest, NothingThere) {
  const SourceStatus s = assess({}, {});
  EXPECT_FALSE(s.recoverable);
  EXPECT_FALSE(s.recoverable_to);
  EXPECT_FALSE(s.restore_time);
}

TEST(StatusTest, EstimatesFromTheLastRestore) {
  backup::SourceState state;
  state.source = "app";
  state.backups.manifests = {manifest("b", "full", kNow)};
  state.backups.manifests[0].size = 1000;
  state.windows = {{kNow - hours(1), kNow, "b", 1, 4, true}};
  backup::EpochLog log;
  log.epoch = "b";
  log.pieces = {{"k1", 1, 1, 70}, {"k2", 2, 4, 400}, {"k3", 2, 2, 100}, {"k4", 3, 3, 100}};
  log.last = 4;
  log.covered_until = kNow;
  state.epochs.push_back(log);
  const std::vector<repo::AuditEvent> events = {
      event("verify", kNow - hours(3), "done", measured_detail({1000, 1}), ""),
      event("restore", kNow - hours(2), "done", measured_detail({100, 1}), "app"),
      event("restore", kNow - hours(1), "done", measured_detail({5, 1}), "another")};
  const SourceStatus s = assess(state, events);
  EXPECT_TRUE(s.recoverable);
  EXPECT_TRUE(s.following);
  EXPECT_EQ(s.recoverable_to, kNow);
  EXPECT_EQ(s.rate_from, "restore");
  EXPECT_EQ(s.restore_time, seconds(15));  // 1000 and 470 of the log, at 100 a second
  EXPECT_EQ(s.proven, kNow - hours(3));
}

TEST(StatusTest, AFailedVerificationIsAProblemUntilAGoodOne) {
  backup::SourceState state;
  state.source = "app";
  std::vector<repo::AuditEvent> events = {event("verify", kNow - hours(3), "done"),
                                          event("verify", kNow - hours(2), "problems"),
                                          event("verify", kNow - hours(1), "done", "", "another")};
  EXPECT_EQ(assess(state, events).problems.size(), 1u);
  EXPECT_EQ(assess(state, events).proven, kNow - hours(3));
  events.push_back(event("verify", kNow, "done", "", "app"));
  EXPECT_TRUE(assess(state, events).problems.empty());
}

TEST(StatusTest, MeasuredGoesThroughText) {
  const auto m = parse_measured(measured_detail({123456789012345, 1.5}));
  ASSERT_TRUE(m);
  EXPECT_EQ(m->bytes, 123456789012345u);
  EXPECT_DOUBLE_EQ(m->seconds, 1.5);
  EXPECT_FALSE(parse_measured("encryption=none"));
}

}  // namespace
}  // namespace varve::cli
