"""PostgreSQL of each version as a source: from packages that have no client programs. The oracle is what the server itself
says of all its tables, its amcheck and its pg_visibility."""

import shutil

import pg_wal_server
from postgres_case import PostgresTest
from postgres_server import Server, binaries, run

CATALOGUE = """
SELECT c.oid::regclass, c.relkind, c.relpersistence, coalesce(pg_get_viewdef(c.oid), '') FROM pg_class c
  WHERE c.relnamespace = 'public'::regnamespace ORDER BY c.relname;
SELECT a.attrelid::regclass, a.attnum, a.attname, a.atttypid::regtype, a.attnotnull FROM pg_attribute a
  JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'public'::regnamespace AND NOT a.attisdropped
  ORDER BY c.relname, a.attnum;
SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
  WHERE c.relnamespace = 'public'::regnamespace ORDER BY 1;
SELECT rolname FROM pg_roles ORDER BY 1; SELECT spcname FROM pg_tablespace ORDER BY 1;
"""
TABLES = ("SELECT c.oid::regclass FROM pg_class c WHERE c.relkind IN ('r', 'm', 'S') AND c.relpersistence = 'p' AND "
          "c.relnamespace = 'public'::regnamespace AND c.relname <> 'locked' ORDER BY c.relname")
HEAPS = """
SELECT c.oid::regclass, v.* FROM pg_class c, verify_heapam(c.oid, check_toast => true) v
  WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence = 'p' AND c.relname <> 'locked';
"""
MAPS = """
SELECT c.oid::regclass, v.* FROM pg_class c, pg_check_visible(c.oid) v
  WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence = 'p' AND c.relname <> 'locked';
SELECT c.oid::regclass, v.* FROM pg_class c, pg_check_frozen(c.oid) v
  WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence = 'p' AND c.relname <> 'locked';
"""
INDEXES = ("SELECT c.oid::regclass, bt_index_check(c.oid, true) FROM pg_class c JOIN pg_am m ON m.oid = c.relam "
           "WHERE m.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence = 'p'")


class PackagedServer(Server):
    """A server from another package, asked by the system's psql."""

    def __init__(self, version, programs, folder, data=None):
        super().__init__(folder, data=data)
        self.version = version
        self.bin = programs

    def _client(self, program, *arguments, **more):
        return run(binaries() / program, "-h", self.folder, "-p", self.port, "-U", "postgres", *arguments, **more)

    def dump(self):
        out = []
        for database in self.psql("SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1").splitlines():
            out += [f"=== {database}", self.psql(CATALOGUE, database)]
            for table in self.psql(TABLES, database).splitlines():
                out += [f"--- {table}",
                        self.psql(f'COPY (SELECT t FROM (SELECT * FROM {table}) t ORDER BY t::text COLLATE "C") TO STDOUT', database)]
        return "\n".join(out)

    def damage(self):
        """What the server finds wrong in itself; btree indexes that lack a row are an error."""
        found = []
        for database in self.psql("SELECT datname FROM pg_database WHERE datallowconn AND datname <> 'template0'").splitlines():
            self.psql("CREATE EXTENSION IF NOT EXISTS amcheck; CREATE EXTENSION IF NOT EXISTS pg_visibility", database)
            found.append(self.psql((HEAPS if self.version >= 14 else "") + MAPS, database))
            self.psql(INDEXES, database)
        return "".join(found)


class PackagedTest(PostgresTest):
    version = pg_wal_server.SYSTEM

    def setUp(self):
        super().setUp()
        self.server.close()

    def new_server(self, name, **options):
        server = PackagedServer(self.version, self.programs(), self.folder / name, **options)
        self.addCleanup(server.close)
        return server

    def programs(self):
        """Where the user postgres can enter."""
        if self.version == pg_wal_server.SYSTEM:
            return pg_wal_server.programs(self.version)
        native = self.folder / f"native-{self.version}"
        if not native.exists():
            shutil.copytree(pg_wal_server.programs(self.version).parent, native, symlinks=True)
        return native / "bin"

    def begin_with(self, version, *initdb, **settings):
        self.version = version
        self.server = self.new_server("packaged")
        return self.begin(*initdb, **settings)

    def assertRestoresTo(self, expected, *arguments):
        self.count = getattr(self, "count", 0) + 1
        restored = self.restored(f"restored-{self.count}", *arguments)
        self.assertEqual(expected, restored.dump(), msg=f"restored by {arguments}")
        self.assertEqual("", restored.damage(), msg=f"restored by {arguments}")
        restored.stop()
        shutil.rmtree(restored.data)
