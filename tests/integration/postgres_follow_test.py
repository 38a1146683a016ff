#!/usr/bin/env python3
"""PostgreSQL's log, followed: nothing that was committed a second ago is missing, whatever ends in between. The
server's own dump is the oracle."""

import datetime
import json
import os
import random
import re
import shutil
import signal
import time

from postgres_case import PostgresTest, give_to_postgres
from varve_harness import main

SLOT = "varve_app"


def parse(time_text):
    return datetime.datetime.fromisoformat(time_text.replace("Z", "+00:00")).timestamp()


def lsn_number(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


class FollowTest(PostgresTest):
    def begin(self, *initdb, archive=False, **settings):
        """A repository and a server, which archives nothing by itself unless told to."""
        self.server.initdb(*initdb)
        self.configure()
        self.init("--repo", "main")
        self.server.start(**{"max_wal_size": "256MB", **(self.archiving() if archive else {}), **settings})
        return self.server

    def follow(self, *arguments, wait=True):
        running = self.start("log", "follow", "app", *arguments)
        self.addCleanup(lambda: print(running) if self.failed() else None)
        if wait:
            self.eventually(lambda: re.search(r"following from|\"message\": ?\"following from", running.out) or
                            running.process.poll() is not None, 60, f"following\n{running}")
            self.assertIsNone(running.process.poll(), running)
        return running

    def failed(self):
        outcome = getattr(self, "_outcome", None)
        result = getattr(outcome, "result", None)
        return bool(result and (result.failures or result.errors))

    def stored(self, server=None, seconds=30):
        """Waits until all that the server has written is in the repository, as the slot tells."""
        server = server or self.server
        lsn = server.psql("SELECT pg_current_wal_flush_lsn()")
        server.wait_until(lambda: server.psql(f"SELECT restart_lsn >= '{lsn}' FROM pg_replication_slots WHERE slot_name = '{SLOT}'")
                          == "t", f"{lsn} was not stored", seconds)
        return lsn

    def state(self):
        return self.varve("list", "app", "--json").json["sources"][0]

    def verified(self):
        self.assertEqual(self.varve("verify", "--json").json["problems"], [])

    def assertNoGap(self):
        self.assertNotIn("gap", self.varve("status", "app").out)

    def lose(self, server=None):
        """The host is gone, its disks too."""
        server = server or self.server
        server.kill()
        shutil.rmtree(server.data)


class Following(FollowTest):
    def test_a_second_after_the_commit(self):
        server = self.begin()
        server.pgbench("-i", "-s", "2")
        server.psql("CREATE TABLE last(a int)")
        follower = self.follow()
        self.assertEqual([b["type"] for b in self.state()["backups"]], ["full"])
        server.pgbench("-T", "6", "-c", "2")
        expected = server.dump()
        server.psql("INSERT INTO last VALUES (1)")
        time.sleep(1)
        self.lose()
        follower.kill()
        restored = self.restored("restored", "--to", "latest")
        self.assertEqual(restored.psql("SELECT * FROM last"), "1")
        restored.psql("DELETE FROM last")
        self.assertEqual(expected, restored.dump())
        self.amcheck(restored)
        self.verified()

    def test_each_commit_is_there_within_a_second(self):
        server = self.begin()
        server.psql("CREATE TABLE t(a int)")
        follower = self.follow("--json")
        load = server.start_pgbench("-n", "-T", "20", "-f", self.script("INSERT INTO t VALUES (1);"), "-R", "50")
        late = []
        for _ in range(8):
            time.sleep(random.uniform(0.2, 1))
            lsn = lsn_number(server.psql("INSERT INTO t VALUES (2); SELECT pg_current_wal_flush_lsn()"))
            begin = time.monotonic()
            self.eventually(lambda: any(lsn_number(json.loads(line)["follow"]["lsn"]) >= lsn
                                        for line in follower.out.splitlines()[-20:] if line.endswith("}")
                                        and "lsn" in json.loads(line)["follow"]), every=0.01)
            late.append(time.monotonic() - begin)
        load.terminate()
        load.wait(30)
        print("stored after", ", ".join(f"{s:.2f} s" for s in late))
        self.assertLess(sorted(late)[len(late) // 2], 1.0, late)
        self.assertEqual(follower.stop(), 0, follower)
        last = json.loads(follower.out.splitlines()[-1])["follow"]
        self.assertTrue(last["finished"])
        self.assertNotIn("txn", last)

    def script(self, sql):
        path = self.folder / "script.sql"
        path.write_text(sql + "\n")
        return path

    def test_killed_ten_times(self):
        server = self.begin()
        server.pgbench("-i", "-s", "2")
        self.backup()
        load = server.start_pgbench("-T", "300", "-c", "2")
        rng = random.Random(3)
        for _ in range(10):
            follower = self.follow(wait=False)
            time.sleep(rng.uniform(0.1, 3))
            self.assertIsNone(follower.process.poll(), follower)
            follower.kill()
        load.terminate()
        load.wait(30)
        once = self.follow("--once", wait=False)
        self.assertEqual(once.wait(), 0, once)
        expected = server.dump()
        self.assertNoGap()
        self.assertEqual(len(self.state()["backups"]), 1)
        self.assertRestores(expected)
        self.verified()

    def test_an_idle_database_is_recoverable_to_now(self):
        server = self.begin()
        server.psql("CREATE TABLE t AS SELECT 1")
        follower = self.follow()
        expected = server.dump()
        for _ in range(3):
            time.sleep(5)
            window = self.state()["windows"][-1]
            self.assertTrue(window["live"])
            self.assertLess(time.time() - parse(window["to"]), 8, window)
        self.assertIn("followed now", self.varve("status", "app").out)
        moment = self.state()["windows"][-1]["to"]
        self.assertEqual(follower.stop(), 0, follower)
        self.assertRestores(expected, "--to", moment)
        # Any moment while nothing happened, too.
        begun = parse(self.state()["windows"][-1]["from"])
        between = datetime.datetime.fromtimestamp(begun + (parse(moment) - begun) * 0.7, datetime.timezone.utc)
        self.assertRestores(expected, "--to", between.isoformat().replace("+00:00", "Z"))
        self.verified()

    def test_once(self):
        server = self.begin()
        server.psql("CREATE TABLE t(a int)")
        for n in range(3):
            server.psql(f"INSERT INTO t VALUES ({n})")
            once = self.follow("--once", wait=False)
            self.assertEqual(once.wait(), 0, once)
            self.assertRegex(once.out, r"followed app: .*recoverable to .*\(lsn [0-9A-F]+/[0-9A-F]+\)")
        self.assertEqual(server.psql("SELECT count(*) FROM pg_replication_slots"), "0")
        self.assertEqual(len(self.state()["backups"]), 1)
        expected = server.dump()
        self.lose()
        self.assertRestores(expected)
        self.verified()

    def test_all_at_once(self):
        """archive_command, the follower and backups ship the same WAL, in pieces of all sizes."""
        server = self.begin("--wal-segsize=1", archive=True)
        server.pgbench("-i", "-s", "2")
        follower = self.follow()
        load = server.start_pgbench("-T", "25", "-c", "2")
        for _ in range(3):
            time.sleep(3)
            server.switch_wal()
            self.backup()
        load.wait(60)
        for n in range(3):
            server.psql(f"CREATE TABLE small{n}(a int)")
            self.stored()
        expected = server.dump()
        self.assertIsNone(follower.process.poll(), follower)
        self.assertNoGap()
        self.verified()
        self.assertEqual(follower.stop(), 0, follower)
        self.assertGreater(len(self.small_pieces(1 << 20)), 2)
        self.assertRestores(expected)
        # What lies in whole segments goes when a follower begins anew; nothing is lost by it.
        server.switch_wal()
        for _ in range(2):
            self.assertEqual(self.follow("--once", wait=False).wait(), 0)
        self.assertLess(len(self.small_pieces(1 << 20)), 8)
        self.assertNoGap()
        self.assertRestores(expected)
        self.verified()

    def small_pieces(self, unit):
        out = []
        for name in self.place.names():
            found = re.search(r"/log/\d+-[0-9a-f]{8}/([0-9a-f]{16})-([0-9a-f]{16})$", name)
            if found and int(found[2], 16) - int(found[1], 16) + 1 < unit:
                out.append(name)
        return out


class Unkind(FollowTest):
    def test_a_server_that_restarts(self):
        server = self.begin()
        server.pgbench("-i", "-s", "1")
        follower = self.follow()
        for how in ("fast", "immediate", "kill", "smart"):
            load = server.start_pgbench("-T", "2", "-c", "2")
            load.wait(30)
            began = time.monotonic()
            if how == "kill":
                server.kill()
            else:
                server.stop(how)
            self.assertLess(time.monotonic() - began, 30, how)
            time.sleep(0.5)
            server.start()
            server.wait_recovered()
        expected = server.dump()
        self.stored()
        self.assertIn("the server cannot be followed now", follower.out)
        self.assertIn("going on at", follower.out)
        self.assertNoGap()
        self.assertEqual(follower.stop(), 0, follower)
        self.assertRestores(expected)
        self.verified()

    def test_a_store_that_is_away(self):
        if not self.place.is_folder:
            self.skipTest("only a folder can be moved away")
        server = self.begin()
        server.pgbench("-i", "-s", "1")
        follower = self.follow()
        load = server.start_pgbench("-T", "20", "-c", "2")
        time.sleep(2)
        os.rename(self.repo, self.folder / "away")
        self.eventually(lambda: "the repository cannot be reached" in follower.out, 30, "telling")
        time.sleep(5)
        self.assertFalse(self.repo.exists())
        os.rename(self.folder / "away", self.repo)
        self.eventually(lambda: "the repository is back" in follower.out, 30, "going on")
        load.wait(60)
        expected = server.dump()
        self.stored()
        self.assertIsNone(follower.process.poll(), follower)
        self.assertNoGap()
        self.assertEqual(follower.stop(), 0, follower)
        self.assertRestores(expected)
        self.verified()

    def test_a_slot_that_was_dropped(self):
        server = self.begin()
        server.pgbench("-i", "-s", "1")
        follower = self.follow()
        load = server.start_pgbench("-T", "8", "-c", "2")
        for n in range(3):
            time.sleep(1.5)
            self.drop_slot()
            self.eventually(lambda: follower.out.count("somebody dropped the replication slot") > n, 30, "telling")
        load.wait(60)
        expected = server.dump()
        self.stored()
        self.assertNoGap()
        self.assertEqual(follower.stop(), 0, follower)
        self.assertRestores(expected)
        self.verified()

    def drop_slot(self):
        sql = (f"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{SLOT}' AND active;"
               f"SELECT pg_drop_replication_slot('{SLOT}')")
        for _ in range(50):
            try:
                return self.server.psql(sql)
            except AssertionError:
                time.sleep(0.02)
        return self.server.psql(sql)

    def test_wal_that_is_gone_is_a_gap_and_is_told(self):
        server = self.begin(min_wal_size="32MB", max_wal_size="32MB")
        server.pgbench("-i", "-s", "1")
        follower = self.follow()
        server.psql("CREATE TABLE t AS SELECT 1 AS a")
        before = server.dump()
        lsn = self.stored()
        self.assertEqual(follower.stop(), 0, follower)
        server.psql(f"SELECT pg_drop_replication_slot('{SLOT}')")
        needed = server.data / "pg_wal" / server.psql(f"SELECT pg_walfile_name('{lsn}')")
        for _ in range(20):
            server.pgbench("-i", "-s", "3")
            server.psql("CHECKPOINT; SELECT pg_switch_wal(); CHECKPOINT")
            if not needed.exists():
                break
        self.assertFalse(needed.exists(), server.psql("SELECT slot_name, active, restart_lsn FROM pg_replication_slots"))
        follower = self.follow()
        self.eventually(lambda: "the log has a gap" in follower.out, 60, f"a gap that is told\n{follower}")
        self.assertIn("varve backup app", follower.out)
        server.psql("INSERT INTO t VALUES (2)")
        self.stored()
        self.assertIn("gap", self.varve("status", "app").out)
        # What was there before the gap still is, and a new backup mends the rest.
        self.assertRestores(before, "--to", f"lsn:{lsn}", check=False)
        self.backup()
        server.psql("INSERT INTO t VALUES (3)")
        expected = server.dump()
        self.stored()
        self.assertEqual(follower.stop(), 0, follower)
        self.assertRestores(expected)

    def test_a_lost_slot_is_told(self):
        server = self.begin(max_slot_wal_keep_size="32MB", min_wal_size="32MB", max_wal_size="32MB")
        server.psql("CREATE TABLE t AS SELECT 1 AS a")
        follower = self.follow()
        self.stored()
        # A follower that does not come forward: its slot holds WAL until the server gives it up.
        follower.process.send_signal(signal.SIGSTOP)
        server.psql(f"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{SLOT}'")
        for _ in range(4):
            server.pgbench("-i", "-s", "3")
            server.psql("CHECKPOINT; SELECT pg_switch_wal(); CHECKPOINT")
        server.wait_until(lambda: server.psql("SELECT wal_status FROM pg_replication_slots") == "lost", "it is not lost")
        follower.process.send_signal(signal.SIGCONT)
        self.eventually(lambda: "has lost WAL" in follower.out and "the log has a gap" in follower.out, 60, "telling")
        self.stored()
        self.backup()
        expected = server.dump()
        self.stored()
        self.assertEqual(follower.stop(), 0, follower)
        self.assertRestores(expected)

    def test_a_shutdown_is_not_held_up_by_a_store_that_is_away(self):
        if not self.place.is_folder:
            self.skipTest("only a folder can be moved away")
        server = self.begin()
        server.psql("CREATE TABLE t(a int)")
        follower = self.follow()
        os.rename(self.repo, self.folder / "away")
        server.psql("INSERT INTO t SELECT generate_series(1, 1000)")
        self.eventually(lambda: "the repository cannot be reached" in follower.out, 30, "telling")
        began = time.monotonic()
        server.stop("fast")
        self.assertLess(time.monotonic() - began, 60)
        os.rename(self.folder / "away", self.repo)
        server.start()
        expected = server.dump()
        self.stored()
        self.assertEqual(follower.stop(), 0, follower)
        self.assertNoGap()
        self.assertRestores(expected)

    def test_what_is_refused(self):
        server = self.begin()
        server.psql("CREATE ROLE plain LOGIN; CREATE ROLE streamer LOGIN REPLICATION")
        follower = self.follow()
        second = self.varve("log", "follow", "app", status=7)
        self.assertFails(second, 7, "follow of app is under way")
        self.assertEqual(follower.stop(), 0, follower)
        self.configure_as("plain")
        self.assertFails(self.varve("log", "follow", "app", status=6), 6, "may not stream the log", "REPLICATION")
        self.configure_as("streamer")
        hba = server.data / "pg_hba.conf"
        lines = hba.read_text()
        hba.write_text("local all all trust\n")
        server.psql("SELECT pg_reload_conf()")
        server.wait_until(lambda: self.run_varve("log", "follow", "app", "--once").status == 6, "it lets replication in")
        self.assertFails(self.run_varve("log", "follow", "app", "--once"), 6, "pg_hba.conf", "host replication")
        hba.write_text(lines)
        server.psql("SELECT pg_reload_conf()")
        server.wait_until(lambda: self.run_varve("log", "follow", "app", "--once").status == 0, "it does not let us in")
        self.assertFails(self.run_varve("log", "follow", "app", "--slot", "Not-a-slot"), 2, "no name for a replication slot")
        server.stop()
        self.assertFails(self.run_varve("log", "follow", "app", "--once"), 6, "cannot connect")

    def configure_as(self, role):
        self.configure()
        path = self.folder / "varve.toml"
        path.write_text(path.read_text().replace("user=postgres", f"user={role}"))
        give_to_postgres(path)


class Failover(FollowTest):
    def standby_of(self, primary, name):
        self.restore(name, "--standby")
        standby = self.new_server(f"{name}-server", data=self.folder / name)
        standby.start(archive_mode="off", primary_conninfo=primary.connection, hot_standby="on")
        self.caught_up(primary, standby)
        return standby

    @staticmethod
    def caught_up(primary, standby):
        lsn = primary.lsn()
        standby.wait_until(lambda: standby.psql(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'") == "t", "the standby lags")

    def test_the_follower_goes_to_the_new_primary(self):
        primary = self.begin()
        primary.pgbench("-i", "-s", "1")
        follower = self.follow()
        self.stored()
        standby = self.standby_of(primary, "standby")
        primary.pgbench("-t", "100", "-c", "2")
        self.caught_up(primary, standby)
        before = primary.dump()
        lsn = self.stored()
        # The old primary's last words reach the repository, not the standby.
        standby.stop()
        primary.psql("CREATE TABLE lost AS SELECT 1")
        self.stored()
        primary.kill()
        standby.start(archive_mode="off", restore_command="false")
        standby.psql("SELECT pg_promote()")
        standby.wait_recovered()
        self.assertEqual(follower.stop(), 0, follower)
        self.configure(standby)
        standby.pgbench("-t", "100", "-c", "2")
        follower = self.follow()
        standby.psql("CREATE TABLE found AS SELECT 1")
        after = standby.dump()
        self.stored(standby)
        self.assertIn("on timeline", follower.out)
        self.assertNoGap()
        self.assertEqual(len(self.state()["backups"]), 1)
        self.assertRestores(after)
        self.assertRestores(before, "--to", f"lsn:{lsn}")
        standby.pgbench("-t", "50")
        after = standby.dump()
        self.stored(standby)
        self.assertEqual(follower.stop(), 0, follower)
        self.assertRestores(after)
        self.verified()

    def test_a_followed_standby_is_promoted(self):
        primary = self.begin()
        primary.pgbench("-i", "-s", "1")
        self.backup()
        once = self.follow("--once", wait=False)
        self.assertEqual(once.wait(), 0, once)
        standby = self.standby_of(primary, "standby")
        self.configure(standby)
        follower = self.follow()
        primary.pgbench("-t", "100", "-c", "2")
        self.caught_up(primary, standby)
        primary.stop()
        standby.psql("SELECT pg_promote()")
        standby.wait_recovered()
        standby.pgbench("-t", "100", "-c", "2")
        standby.psql("CREATE TABLE found AS SELECT 1")
        expected = standby.dump()
        self.stored(standby)
        self.assertIn("on timeline 2", follower.out)
        self.assertNoGap()
        self.assertEqual(follower.stop(), 0, follower)
        self.lose(standby)
        self.assertRestores(expected)
        self.verified()


if __name__ == "__main__":
    main()
