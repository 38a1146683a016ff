"""A PostgreSQL cluster under load, backed up, shipped and brought back while 5 % of the requests to the store fail and 1 % of the
bodies are cut. The server's own dump is the oracle.

Runs below tests/services/with.py with $VARVE_TEST_ON, on stores that speak HTTP."""

import os
import shutil
from unittest import mock

import bad_weather
from postgres_follow_test import FollowTest
from postgres_server import give_to_postgres
from varve_harness import main


class WeatherProof(FollowTest):
    def setUp(self):
        super().setUp()
        self.weather = bad_weather.before(self, seed=29)
        if not self.weather:
            self.skipTest("not a store that is reached over HTTP")
        self.place.url = self.env.pop("VARVE_REPO")  # it goes into the configuration
        if "GOOGLE_APPLICATION_CREDENTIALS" in self.env:  # where the user postgres can read it
            copy = self.path("credentials.json")
            shutil.copy(self.env["GOOGLE_APPLICATION_CREDENTIALS"], copy)
            give_to_postgres(copy)
            self.env["GOOGLE_APPLICATION_CREDENTIALS"] = str(copy)
            self.enterContext(mock.patch.dict(os.environ, GOOGLE_APPLICATION_CREDENTIALS=str(copy)))  # for servers

    def load(self, server, seconds):
        return server.start_pgbench("-T", seconds, "-c", "2", "-R", "100")

    def cleared(self, least):
        """Fair weather again, after a storm that was one."""
        struck = {f.name: n for f, n in self.weather.struck.items()}
        print(f"\n{sum(self.weather.counts.values())} requests, struck: {struck}", flush=True)
        self.assertGreater(sum(struck.values()), least)
        self.weather.clear()

    def test_followed(self):
        server = self.begin()
        server.pgbench("-i", "-s", "5")
        bad_weather.storm(self.weather)
        load = self.load(server, 15)
        self.assertEqual(self.backup("full")["type"], "full")
        follower = self.follow()
        self.assertEqual(load.wait(60), 0)
        middle = server.dump()
        server.psql("SELECT pg_create_restore_point('middle')")
        for _ in range(3):
            load = self.load(server, 8)
            self.assertEqual(self.backup("incremental")["type"], "incremental")
            self.assertEqual(load.wait(60), 0)
        self.stored(seconds=60)
        end = server.dump()
        self.assertEqual(follower.stop(), 0, follower)
        self.assertRestores(middle, "--to", "name:middle")
        self.assertRestores(end, "--to", "latest")
        self.cleared(least=5)
        self.assertNoGap()
        self.verified()
        self.assertRestores(end, "--to", "latest")

    def test_archived(self):
        server = self.begin(archive=True)
        server.pgbench("-i", "-s", "2")
        bad_weather.storm(self.weather)
        self.assertEqual(self.backup("full")["type"], "full")
        for _ in range(4):
            load = self.load(server, 4)
            self.assertEqual(self.backup("incremental")["type"], "incremental")
            self.assertEqual(load.wait(60), 0)
            self.shipped()
        end = server.dump()
        self.assertRestores(end, "--to", "latest")
        self.cleared(least=5)
        self.assertEqual(server.psql("SELECT failed_count FROM pg_stat_archiver"), "0", "what may pass is tried again")
        self.assertNoGap()
        self.verified()


if __name__ == "__main__":
    main()
