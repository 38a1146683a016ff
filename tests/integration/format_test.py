"""What docs/format says is what is stored: another reader, written from those pages, opens it."""

from format_reader import Reader, fields
from varve_harness import PASSPHRASE, VarveTest, main


class Format(VarveTest):
    def check(self, reader, backup):
        source = backup["source"]
        name = f"sources/{source}/backups/{backup['id']}"
        self.assertEqual(reader.names("sources/*/backups/*"), [name])
        manifest = list(fields(reader.read("manifest", name)))
        self.assertIn((1, backup["id"].encode()), manifest)
        self.assertIn((2, source.encode()), manifest)
        packs = [dict(fields(value)) for number, value in manifest if number == 25]
        stored = {p.rsplit("/", 1)[1]: p for p in reader.names("packs/*/*")}
        self.assertEqual(sorted(p[1].hex() for p in packs), sorted(stored))
        for pack in packs:
            path = stored[pack[1].hex()]
            self.assertEqual((self.repo / path).stat().st_size, pack[2])
            self.assertEqual(path.split("/")[1], f"{pack[1][0] ^ pack[1][-1]:02x}")
        events = [dict(fields(reader.read("event", n))) for n in reader.names("events/*/*")]
        self.assertIn((b"backup", source.encode()), [(e[2], e.get(3)) for e in events])
        self.assertEqual(reader.names("pins/*"), [])

    def backup(self, **options):
        self.sql("app.db", "CREATE TABLE t(a); INSERT INTO t VALUES (1);")
        return self.varve("backup", "sqlite:app.db", "--json", **options).json["backup"]

    def test_by_passphrase_and_by_key_file(self):
        self.init()
        backup = self.backup()
        self.varve("key", "add", "--new-key-file", "spare.key", "--generate", "--label", "im Schließfach")
        self.check(Reader(self.repo, passphrase=PASSPHRASE.encode()), backup)
        self.check(Reader(self.repo, key_file=self.path("spare.key").read_bytes()), backup)
        with self.assertRaises(ValueError):
            Reader(self.repo, passphrase=b"another")

    def test_unencrypted(self):
        self.init("--encryption", "none", env={"VARVE_PASSPHRASE": None})
        self.check(Reader(self.repo), self.backup(env={"VARVE_PASSPHRASE": None}))


if __name__ == "__main__":
    main()
