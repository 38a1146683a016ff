#!/usr/bin/env python3
"""PostgreSQL: one whole database of a cluster at one moment, beside the living ones. What pg_dump tells of it then and of
the restored one must be the same, and no other database may change."""

import random
import signal
import time

import postgres_table_test as tables
from postgres_case import give_to_postgres, run
from varve_harness import main

MORE = """
CREATE EXTENSION hstore; CREATE TABLE shop.pairs(a int PRIMARY KEY, b hstore); INSERT INTO shop.pairs VALUES (1, 'a=>1');
CREATE MATERIALIZED VIEW shop.sums AS SELECT mood, count(*) FROM shop.orders GROUP BY 1; CREATE INDEX ON shop.sums(mood);
CREATE VIEW shop.glad AS SELECT * FROM shop.orders WHERE mood = 'glad';
SELECT lo_from_bytea(4711, decode(repeat('cafe', 5000), 'hex')); COMMENT ON LARGE OBJECT 4711 IS 'a large one';
CREATE PUBLICATION everything FOR ALL TABLES; ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO reader;
CREATE EVENT TRIGGER watch ON ddl_command_start EXECUTE FUNCTION shop.watch();
"""
WATCH = "CREATE FUNCTION shop.watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;"


class OneDatabase(tables.TableTest):
    def begin_shop(self):
        (self.folder / "aside").mkdir()
        give_to_postgres(self.folder / "aside")
        server = self.begin(max_prepared_transactions=4)
        server.psql(f"CREATE TABLESPACE aside LOCATION '{self.folder}/aside'")
        server.psql("CREATE DATABASE shop ENCODING 'UTF8' LC_COLLATE 'C' TEMPLATE template0")
        server.psql(tables.SHOP, database="shop")
        server.psql(WATCH + MORE, database="shop")
        server.psql("ALTER DATABASE shop OWNER TO alice; ALTER DATABASE shop SET work_mem = '7MB'; "
                    "COMMENT ON DATABASE shop IS 'the shop''s'; REVOKE CONNECT ON DATABASE shop FROM public; "
                    "GRANT CONNECT ON DATABASE shop TO reader; ALTER DATABASE shop CONNECTION LIMIT 50")
        server.psql("CREATE TABLE filler AS SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 100000) i")
        self.backup()
        server.psql(tables.CHANGES, database="shop")
        server.psql("VACUUM FULL shop.rewritten", database="shop")
        server.psql("UPDATE filler SET repeat = 'x' WHERE i % 3 = 0; VACUUM (FREEZE) filler")
        return server

    def accident(self):
        server = self.server
        self.expected = self.whole("shop")
        server.psql("SELECT pg_create_restore_point('before-accident')")
        server.psql("DROP DATABASE shop WITH (FORCE)")
        server.psql("INSERT INTO filler VALUES (-1)")
        self.shipped()

    def whole(self, database, server=None):
        return self.dump_tables(server or self.server, "--create", "--no-unlogged-table-data", database=database)

    def content(self, database):
        return self.dump_tables(self.server, "--no-unlogged-table-data", database=database)

    def database(self, *arguments, into=None, status=0, **options):
        return self.varve("restore", "app", "--database", "shop", "--to", "name:before-accident", "--into-connection",
                          into or self.server.connection, *arguments, status=status, **options)

    def names(self, server=None):
        return (server or self.server).psql("SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database")

    def test_everything(self):
        server = self.begin_shop()
        self.accident()
        others = self.whole("postgres")

        with self.subTest("dry run"):
            plan = self.varve("restore", "app", "--database", "shop", "--to", "name:before-accident", "--dry-run", "--json")
            estimate, = plan.json["restore"]["estimates"]
            self.assertEqual(estimate["name"], "shop")
            self.assertGreater(estimate["bytes"], 8 << 20)
            self.assertLess(estimate["bytes"], 40 << 20)

        with self.subTest("back under its name"):
            done = self.database("--json").json["restore"]
            self.assertEqual(done["database"], "shop")
            self.assertEqual(done["notes"], ["shop.fleeting is unlogged: no backup holds its rows"])
            self.assertSameDump(self.whole("shop"), self.expected)
            run(server.bin / "pg_amcheck", "-h", server.folder, "-p", server.port, "-U", "postgres", "-d", "shop",
                "--heapallindexed", "--install-missing", timeout=300)
            server.psql("DROP EXTENSION amcheck", database="shop")
            self.assertClean()

        with self.subTest("beside the living one"):
            self.assertFails(self.database(status=7), 7, "has a database shop already", "--as shop_restored")
            out = self.database("--as", "then's \"shop\"").out
            self.assertIn("restored the database then's \"shop\" of app into", out)
            self.assertSameDump(self.content("then's \"shop\""), self.content("shop"))
            server.psql('DROP DATABASE "then\'s ""shop"""')

        with self.subTest("files"):
            for file, load in (("shop.sql", ["psql", "-q", "-v", "ON_ERROR_STOP=1", "-f"]), ("shop.dump", ["pg_restore", "-e"])):
                out = self.varve("restore", "app", "--database", "shop", "--to", "name:before-accident", "--target",
                                 self.folder / file)
                self.assertEqual("is an archive: pg_restore" in out.err, file == "shop.dump", out)
                server.psql("CREATE DATABASE loaded ENCODING 'UTF8' LC_COLLATE 'C' TEMPLATE template0")
                run(server.bin / load[0], "-h", server.folder, "-p", server.port, "-U", "postgres", "-d", "loaded", *load[1:],
                    self.folder / file)
                # Loaded line by line into a table that has been committed, rows may lie in another order.
                in_order = lambda name: "".join(sorted(self.content(name).splitlines(True)))
                self.assertSameDump(in_order("loaded"), in_order("shop"))
                server.psql("DROP DATABASE loaded")
            self.assertFails(self.varve("restore", "app", "--database", "shop", "--target", self.folder / "shop.sql", status=7), 7,
                             "exists")

        with self.subTest("where roles, tablespaces and rights are others"):
            other = self.new_server("other")
            other.initdb()
            other.start()
            other.psql("CREATE ROLE reader; CREATE ROLE maker LOGIN CREATEDB; CREATE ROLE plain LOGIN")
            notes = " ".join(self.database("--json", into=other.connection).json["restore"]["notes"])
            self.assertIn("there is no role alice", notes)
            self.assertIn("none called aside", notes)
            count = "SELECT count(*), sum(hashtextextended(t::text, 0)::numeric) FROM shop.orders t"
            self.assertEqual(other.psql(count, database="shop"), server.psql(count, database="shop"))
            self.assertEqual(other.psql("SELECT has_table_privilege('reader', 'shop.orders', 'SELECT')", database="shop"), "t")
            as_user = lambda user: other.connection.replace("user=postgres", f"user={user}")
            self.assertFails(self.database("--as", "x", into=as_user("plain"), status=5), 5, "may make no database", "CREATEDB")
            self.assertEqual(self.names(other), "postgres shop template0 template1")

        with self.subTest("refused"):
            no = lambda *arguments, status=2: self.varve("restore", "app", *arguments, status=status)
            self.assertFails(no("--database", "shop"), 2, "where to?")
            self.assertFails(no("--database", "template1", "--target", "x.sql"), 2, "is a template")
            self.assertFails(no("--database", "shop", "--database", "postgres", "--target", "x.sql"), 2, "one --database at a time")
            self.assertFails(no("--database", "shop", "--target", "x.sql", "--start"), 2, "for whole clusters")
            self.assertFails(no("--database", "shop", "--target", "x.sql", "--as", "y"), 2, "--as names the database")
            self.assertFails(no("--database", "shopp", "--target", "x.sql", status=3), 3, "there was no database shopp")
            self.assertFalse((self.folder / "x.sql").exists())
        self.assertSameDump(self.whole("postgres"), others)
        self.assertClean()

    def test_made_after_the_backup(self):
        server = self.begin()
        server.psql("CREATE TABLE t AS SELECT generate_series(1, 1000)")
        self.backup()
        for strategy in ("wal_log", "file_copy"):
            server.psql(f"CREATE DATABASE {strategy} STRATEGY {strategy}")
            server.psql("CREATE TABLE late AS SELECT generate_series(1, 5000) AS a", database=strategy)
        expected = {name: self.whole(name) for name in ("wal_log", "file_copy")}
        server.psql("SELECT pg_create_restore_point('then')")
        for name in expected:
            server.psql(f"DROP DATABASE {name}")
        self.shipped()
        for name in expected:
            self.varve("restore", "app", "--database", name, "--to", "name:then", "--into-connection", server.connection)
            self.assertEqual(self.whole(name), expected[name])
        self.assertClean()

    def test_ended_in_the_midst(self):
        """It is there whole, or not at all."""
        server = self.begin_shop()
        self.accident()
        before = self.names()
        rng = random.Random(5)
        took = time.monotonic()
        self.database()
        took = time.monotonic() - took
        server.psql("DROP DATABASE shop")
        for n in range(10):
            running = self.start("restore", "app", "--database", "shop", "--to", "name:before-accident", "--into-connection",
                                 server.connection)
            time.sleep(rng.uniform(0.3, 1.0) * took if n else took * 0.9)
            kill = n % 2
            if kill:
                running.kill()
            else:
                running.process.send_signal(signal.SIGINT)
                self.assertIn(running.wait(60), (0, 130), running)
            # What a killed one was in the midst of ends by itself.
            server.wait_until(lambda: server.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'varve restore%'")
                              == "0", "pg_restore goes on")
            names = self.names().split()
            if "shop" in names:
                self.assertSameDump(self.whole("shop"), self.expected)
                server.psql("DROP DATABASE shop")
            if "shop.varve-part" in names:
                self.assertTrue(kill)
                self.assertFails(self.database(status=7), 7, "under way, or was killed", 'DROP DATABASE "shop.varve-part"')
                server.psql('DROP DATABASE "shop.varve-part"')
            self.assertEqual(self.names(), before)
        self.database()
        self.assertSameDump(self.whole("shop"), self.expected)
        self.assertClean()


if __name__ == "__main__":
    main()
